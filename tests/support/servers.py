"""Servers beside the suite's: poolers in front of it, a primary with its standbys, and an older PostgreSQL."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.development.postgres import SUPERUSER, EmbeddedPostgres, _as_unprivileged
from cath_dagster.development.samples.cath import sample as cath_sample
from tests.support.parts import find_postgres_15, find_program

ENOUGH_MEMORY = 2 * 1024**3
POOLER_PORT = 6432
READY_SECONDS = 60.0
FAST = {"fsync": "off", "max_connections": "100", "shared_buffers": "32MB"}


def memory() -> Path | None:
    """Return a folder in memory if there is one with room: a thousand databases are created and dropped."""
    shared = Path("/dev/shm")
    return shared if shared.is_dir() and shutil.disk_usage(shared).free > ENOUGH_MEMORY else None


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Yield a folder of a path short enough for a socket, in memory where there is room, owned by whoever runs servers."""
    home = Path(tempfile.mkdtemp(prefix="cath-dagster-test-", dir=memory()))
    if user := _as_unprivileged():
        shutil.chown(home, user["user"], user["group"])
    try:
        yield home
    finally:
        shutil.rmtree(home)


# Poolers


@dataclass(frozen=True)
class Pooler:
    """A pgbouncer in front of one server, for all of its databases."""

    home: Path

    def url(self, direct: str) -> str:
        """Return the URL that leads to the same database through the pooler."""
        database = urlsplit(direct).path
        return f"postgresql://{SUPERUSER}@{database}?host={self.home}&port={POOLER_PORT}"


@contextlib.contextmanager
def pooling(server: str, mode: str, **settings: object) -> Iterator[Pooler]:
    """Yield a pooler in front of the server of a URL; `mode` is `session` or `transaction`."""
    program = find_program("pgbouncer", "pgbouncer")
    with folder() as home:
        (home / "pgbouncer.ini").write_text(_pooler_settings(server, home, {"pool_mode": mode, **settings}))
        with (home / "pgbouncer.log").open("w") as log:
            process = subprocess.Popen(
                [program, home / "pgbouncer.ini"], stdout=log, stderr=log, cwd=home, **_as_unprivileged()
            )
            try:
                pooler = Pooler(home)
                await_answer(pooler.url(server), process, home / "pgbouncer.log")
                yield pooler
            finally:
                process.terminate()
                process.wait()


def _pooler_settings(server: str, home: Path, settings: Mapping[str, object]) -> str:
    target = {name: value for name, value in conninfo_to_dict(server).items() if name in {"host", "port", "password"}}
    user = conninfo_to_dict(server).get("user", SUPERUSER)
    all_settings = {
        "unix_socket_dir": home,
        "listen_port": POOLER_PORT,
        "auth_type": "any",
        "pool_mode": "session",
        "max_client_conn": 200,
        # What the driver of a service sends, and the pooler does not know.
        "ignore_startup_parameters": "extra_float_digits",
        **settings,
    }
    lines = [f"{name} = {value}" for name, value in all_settings.items()]
    return "\n".join(["[databases]", f"* = {make_conninfo('', user=user, **target)}", "[pgbouncer]", *lines, ""])


def await_answer(url: str, process: "subprocess.Popen[Any]", log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture(scope="session")
def session_pooler(suite_server: str) -> Iterator[Pooler]:
    with pooling(suite_server, "session") as pooler:
        yield pooler


@pytest.fixture(scope="session")
def transaction_pooler(suite_server: str) -> Iterator[Pooler]:
    with pooling(suite_server, "transaction") as pooler:
        yield pooler


# A primary with standbys


@dataclass(frozen=True)
class Primary(EmbeddedPostgres):
    """A server that others may follow."""

    def _initialise(self) -> None:
        super()._initialise()
        with (self.data / "pg_hba.conf").open("a") as file:
            file.write("local replication all trust\n")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


@dataclass(frozen=True)
class Standby(EmbeddedPostgres):
    """A server that follows a primary, by the name `standby` unless told otherwise."""

    primary: Primary = field(kw_only=True)
    name: str = "standby"
    slot: str | None = None

    @property
    def bin(self) -> Path:
        return self.primary.bin

    def _initialise(self) -> None:
        unfinished = self.home / "data.new"
        primary = make_conninfo(host=str(self.primary.home), port=5432, user=SUPERUSER, application_name=self.name)
        slot = ("-C", "-S", self.slot) if self.slot else ()
        self._run("pg_basebackup", "-D", str(unfinished), "-d", primary, "-R", "-c", "fast", *slot)
        with (unfinished / "postgresql.auto.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{self.home}'\n")
        unfinished.rename(self.data)

    def suspend(self) -> None:
        """Receive nothing more, and stay connected."""
        self._signal_receiver(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_receiver(signal.SIGCONT)

    def _signal_receiver(self, number: signal.Signals) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            row = connection.execute("SELECT pid FROM pg_stat_wal_receiver").fetchone()
        assert row is not None
        os.kill(row[0], number)

    def promote(self) -> None:
        self._pg_ctl("promote", "-w")


@contextlib.contextmanager
def primary(**settings: str) -> Iterator[Primary]:
    """Yield a server of its own whose write-ahead log may be followed."""
    with folder() as home, _running(Primary(home, {**FAST, "wal_level": "logical", **settings})) as started:
        yield started


@contextlib.contextmanager
def standby(of: Primary, name: str = "standby", *, slot: str | None = None) -> Iterator[Standby]:
    """Yield a standby that follows, once it streams."""
    with folder() as home, _running(Standby(home, {}, primary=of, name=name, slot=slot)) as started:
        await_true(
            of.url("postgres"),
            f"SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = '{name}' AND state = 'streaming')",
        )
        yield started


def await_true(url: str, query: str) -> None:
    """Return once a query says so."""
    deadline = time.monotonic() + READY_SECONDS
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(query).fetchone() != (True,):
            assert time.monotonic() < deadline, query
            time.sleep(0.01)


# An older version


@dataclass(frozen=True)
class DebianPostgres(EmbeddedPostgres):
    """A cluster of the version that Debian's packages install beside others."""

    programs: Path = field(kw_only=True)

    @property
    def bin(self) -> Path:
        return self.programs


@contextlib.contextmanager
def postgres_15(**settings: str) -> Iterator[EmbeddedPostgres]:
    programs = find_postgres_15()
    with folder() as home, _running(DebianPostgres(home, {**FAST, **settings}, programs=programs)) as started:
        yield started


@contextlib.contextmanager
def _running(cluster: Any) -> Iterator[Any]:
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def make_cath(server: Primary) -> None:
    server.execute("CREATE DATABASE cath")
    with psycopg.connect(server.url("cath")) as connection:
        cath_sample.create_schema(connection)
    engine = open_engine(server.url("cath"), variable="CATH_DATABASE_URL", application_name="migrate")
    migrate(engine, CATH)
    engine.dispose()
