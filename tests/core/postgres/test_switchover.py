"""A switchover in the midst of the work: for some seconds the address leads to a server that takes no writes."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.errors import DatabaseUnavailableError, NoWritesNowError
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.postgres.database import MAX_ATTEMPTS, Database
from cath_dagster.development.simulators.notify import NotifySimulator
from tests.support.servers import Primary, Standby, await_true, folder, make_cath, primary, standby
from tests.support.service import Service

pytestmark = pytest.mark.stack

LOCK = 4_711
STARTING = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
FULL = b"SFATAL\0VFATAL\0C53300\0Msorry, too many clients already\0\0"
ADD = sa.text("INSERT INTO mark VALUES (1)")


@dataclass
class Address:
    """A folder of sockets that leads to one server and then to another, as a name in DNS does."""

    link: Path

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.link}&port=5432"

    def lead_to(self, home: Path) -> None:
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(home)


@pytest.fixture
def address() -> Iterator[Address]:
    with folder() as home:
        yield Address(home / "to")


@dataclass(frozen=True)
class Pair:
    """A primary and the standby that is to take its place."""

    old: Primary
    new: Standby
    address: Address

    def fail_over(self) -> None:
        """End the primary once the standby has all that it wrote; the standby takes no writes yet."""
        with psycopg.connect(self.old.url("postgres"), autocommit=True) as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert row is not None
        await_true(self.new.url("postgres"), f"SELECT pg_last_wal_replay_lsn() >= '{row[0]}'")
        self.old.stop()
        self.address.lead_to(self.new.home)


@pytest.fixture
def pair(address: Address) -> Iterator[Pair]:
    with primary() as old:
        old.execute("CREATE TABLE mark (n int)")
        with standby(old) as new:
            address.lead_to(old.home)
            yield Pair(old, new, address)


def connect(url: str, sleep: Callable[[float], None]) -> Database:
    return Database(open_engine(url, variable="CATH_DATABASE_URL", application_name="tidy:run-1"), sleep=sleep)


def add(connection: sa.Connection) -> None:
    connection.execute(ADD)


def test_a_run_that_was_connected_waits_until_the_standby_takes_writes(pair: Pair) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            pair.new.promote()

    with connect(pair.address.url("postgres"), sleep) as database:
        database.lock("cath/tidy")
        database.transaction(add)
        pair.fail_over()
        database.transaction(add)
        with connect(pair.new.url("postgres"), pauses.append) as other, pytest.raises(Exception, match="at work"):
            other.lock("cath/tidy")

    await_true(pair.new.url("postgres"), "SELECT count(*) = 2 FROM mark")
    assert len(pauses) >= 3


def test_a_run_reads_nothing_from_the_standby_meanwhile(pair: Pair) -> None:
    pauses: list[float] = []
    with connect(pair.address.url("postgres"), pauses.append) as database:
        database.lock("cath/tidy")
        pair.fail_over()
        with pytest.raises(NoWritesNowError, match="standby"):
            database.transaction(lambda connection: connection.scalar(sa.text("SELECT count(*) FROM mark")))

    assert len(pauses) == MAX_ATTEMPTS - 1


def test_a_database_that_takes_no_writes_for_now_is_tried_again_by_a_new_connection(
    empty_database: str,
) -> None:
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute("CREATE TABLE mark (n int)")

    def refuse_once(connection: sa.Connection) -> None:
        if not pauses:
            connection.execute(sa.text("SET TRANSACTION READ ONLY"))
        pids.append(connection.scalar(sa.text("SELECT pg_backend_pid()")))
        add(connection)

    pauses: list[float] = []
    pids: list[Any] = []
    with connect(empty_database, pauses.append) as database:
        database.transaction(refuse_once)

    assert len(set(pids)) == 2


# The first connection


@contextlib.contextmanager
def saying(home: Path, fields: bytes) -> Iterator[None]:
    """Answer whoever connects by an error, as a server that starts or has no room does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / ".s.PGSQL.5432"))
        listener.listen()

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(8_192)
                        client.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("fields", [STARTING, FULL], ids=["starting", "full"])
def test_a_server_that_lets_nobody_in_for_now_is_tried_again(
    address: Address, empty_database: str, fields: bytes
) -> None:
    pauses: list[float] = []
    server = conninfo_to_dict(empty_database)
    if not str(server["host"]).startswith("/"):
        pytest.skip("needs a server on a socket")

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        address.lead_to(Path(str(server["host"])))

    with folder() as home, saying(home, fields):
        address.lead_to(home)
        with connect(address.url(str(server["dbname"])), sleep) as database:
            assert database.transaction(lambda connection: connection.scalar(sa.select(1))) == 1

    assert len(pauses) == 1


def test_a_server_that_starts_for_ever_is_given_up(address: Address) -> None:
    pauses: list[float] = []
    with folder() as home, saying(home, STARTING):
        address.lead_to(home)
        with (
            connect(address.url("cath"), pauses.append) as database,
            pytest.raises(DatabaseUnavailableError, match="starting up"),
        ):
            database.transaction(lambda connection: connection.scalar(sa.select(1)))

    assert len(pauses) == MAX_ATTEMPTS - 1


# A whole run


@pytest.fixture
def cath(pair: Pair, notify: NotifySimulator, tmp_path: Path) -> Iterator[Service]:
    make_cath(pair.old)
    as_of = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
    with Service.open(pair.old.url("cath"), notify, tmp_path, as_of=as_of) as opened:
        opened.environ["CATH_DATABASE_URL"] = pair.address.url("cath")
        yield opened


def test_a_switchover_in_mid_run_loses_nothing(pair: Pair, cath: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cath_dagster.core.postgres.database.FIRST_PAUSE_SECONDS", 0.5)
    cath.connection.execute(
        "INSERT INTO ingestion_log (id, timestamp, source_system, court_id, status)"
        " SELECT gen_random_uuid(), '2026-01-01', 'A', '1', 'SUCCESS' FROM generate_series(1, 2000);"
        "CREATE SEQUENCE deletions;"
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF nextval('deletions') = 500 THEN PERFORM pg_advisory_xact_lock({LOCK}); END IF; RETURN OLD; END $$;"
        "CREATE TRIGGER wait BEFORE DELETE ON ingestion_log FOR EACH ROW EXECUTE FUNCTION wait()"
    )
    cath.connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(cath.run, "clear_audit", run_id="run", allow_large=True)
        await_true(cath.url, "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        pair.fail_over()
        # The run has met the standby before that takes writes.
        await_true(pair.new.url("postgres"), "SELECT sessions > 0 FROM pg_stat_database WHERE datname = 'cath'")
        pair.new.promote()
        done = running.result()

    assert (done.status, done.error) == (Status.SUCCESS, None)
    with psycopg.connect(pair.new.url("cath")) as there:
        assert there.execute("SELECT count(*) FROM ingestion_log").fetchone() == (0,)
        kept = "SELECT sum(deleted)::int FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log'"
        assert there.execute(kept).fetchone() == (2_000,)


def test_a_run_that_begins_in_a_switchover_waits(pair: Pair, cath: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cath_dagster.core.postgres.database.FIRST_PAUSE_SECONDS", 0.5)
    pair.fail_over()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(cath.run, "clear_audit")
        await_true(pair.new.url("postgres"), "SELECT sessions > 0 FROM pg_stat_database WHERE datname = 'cath'")
        pair.new.promote()

        assert running.result().error is None
