"""The services on one machine: an embedded PostgreSQL with a sample of each, and Dagster."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.mounted import forget, inherited
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.backends import Reporter
from cath_dagster.development.postgres import EmbeddedPostgres, embedded_postgres, free_port
from cath_dagster.development.sample import Filling, Sample
from cath_dagster.development.samples import samples
from cath_dagster.development.winding_down import graceful_seconds, wind_down
from cath_dagster.registry import locations

REPOSITORY = Path(__file__).parents[2]
STORAGE = "dagster"
"""Dagster's own database on the embedded server, beside one for each sample, of its location's name."""
OURS = (*(f"{location.prefix}_" for location in locations()), "DAGSTER_", "CONSOLE_")
"""How the names of variables begin that the jobs heed."""
UNFINISHED = "cath_dagster_unfinished_sample_"
"""How the name of a sample begins while it is made; nobody else's begins so."""
MARKER = "a sample made by cath-dagster"
"""Stands as comment on the schema `maintenance` of every database that the sample commands may touch."""
READY_SECONDS = 90.0
GRACE_SECONDS = 15.0
POLL_SECONDS = 0.1
LAST_PORT = 65_535


class LocalError(MaintenanceError):
    """Something on this machine does not start, or is not what it should be."""


def forget_outside() -> None:
    """Remove from this process what a shell exports for real services, and what libpq would heed over a URL.

    Nobody should lose data because a variable was exported.
    """
    forget((*OURS, "PG"))


@dataclass(frozen=True)
class Local:
    """The state of one checkout, in a folder of its own; `make clean` removes it."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> "Local":
        """Return the state of this checkout, of the working directory where the package is installed elsewhere."""
        checkout = REPOSITORY if (REPOSITORY / "workspace.yaml").exists() else Path.cwd()
        return cls(checkout / ".local")

    @property
    def postgres(self) -> EmbeddedPostgres:
        return embedded_postgres(self.folder, "postgres", self.settings)

    @property
    def blob_root(self) -> Path:
        return self.folder / "blobs"

    @property
    def report_root(self) -> Path:
        return self.folder / "reports"

    @property
    def media_root(self) -> Path:
        return self.folder / "media"

    @property
    def mail_log(self) -> Path:
        return self.folder / "notify.jsonl"

    @property
    def mail_folder(self) -> Path:
        """Where the local mail server puts what it takes."""
        return self.folder / "mail"

    def ledger_url(self, location: CodeLocation) -> str:
        """Return where a location keeps its ledger: in its sample, or in Dagster's own database where it has none."""
        has_sample = any(sample.location == location for sample in samples())
        return self.postgres.url(location.name if has_sample else STORAGE)

    def start_database(self) -> None:
        """Start the embedded PostgreSQL and make Dagster's database if it is missing."""
        self.postgres.start()
        if not self._has_database(STORAGE):
            self._create_database(STORAGE)

    def make_samples(self, *, scale: float, fresh: bool, reporter: Reporter) -> None:
        """Create and fill the sample databases that are not there.

        Raises `LocalError` for a database of such a name which no sample command made.
        """
        for sample in samples():
            self._make_sample(sample, scale=scale, fresh=fresh, reporter=reporter)
            for variable, tables in sample.readers.items():
                self._make_reader(sample, sample.reader(variable), tables)

    def _make_sample(self, sample: Sample, *, scale: float, fresh: bool, reporter: Reporter) -> None:
        is_there = self._has_database(sample.name)
        if is_there and not self._is_ours(sample.name):
            raise LocalError(
                f"the database {sample.name!r} on {self.postgres.home} was not made by cath-dagster and is left alone; "
                "remove it yourself, or run make clean"
            )
        # Without its files, such as after .local was removed by hand, an old sample is of no use.
        has_files = sample.files is None or (self.folder / sample.files).is_dir()
        if is_there and not fresh and has_files:
            return
        self._drop_database(sample.name)
        reporter.info(f"making the sample of {sample.name}, scale {scale:g}")
        started = time.perf_counter()
        # Under another name first: a kill leaves no half-filled database that looks like the sample.
        for name in self._unfinished():
            self._drop_database(name)
        unfinished = f"{UNFINISHED}{uuid.uuid4().hex}"
        self._create_database(unfinished)
        rows = self._fill(sample, unfinished, scale, reporter)
        with self._admin() as admin:
            names = map(sql.Identifier, (unfinished, sample.name))
            admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*names))
        reporter.info(f"{rows:,} rows in {time.perf_counter() - started:.1f} s")

    def _make_reader(self, sample: Sample, name: str, tables: Sequence[str]) -> None:
        """Let a role, which nobody may log in as, read these tables; roles are the server's, whatever became of a sample."""
        with psycopg.connect(self.postgres.url(sample.name)) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [name]).fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
            names = sql.SQL(", ").join(sql.Identifier("public", table) for table in tables)
            connection.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(names, sql.Identifier(name)))

    def environment(self, outside: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of every process started here; `outside` says where what it speaks to listens.

        `forget_outside` comes first.
        """
        return (
            inherited(without=OURS)
            | self.shell_environment()
            | dict(outside)
            | {
                "DAGSTER_HOME": str(self._dagster_home()),
                "DAGSTER_POSTGRES_URL": self.postgres.url(STORAGE),
                "PYTHONUNBUFFERED": "1",
            }
        )

    def shell_environment(self) -> dict[str, str]:
        """Return what a shell needs to run jobs on the samples; without a mail provider nothing is sent."""
        return {
            **{f"{sample.location.prefix}_DATABASE_URL": self.postgres.url(sample.name) for sample in samples()},
            **{name: url for sample in samples() for name, url in sample.store_urls(self.folder).items()},
            **{name: role for sample in samples() for name, role in sample.reader_roles().items()},
        }

    def _fill(self, sample: Sample, name: str, scale: float, reporter: Reporter) -> int:
        url = self.postgres.url(name)
        with psycopg.connect(url) as connection:
            sample.create_schema(connection)
        backends = EnvironmentBackends("SAMPLE", {"SAMPLE_DATABASE_URL": url})
        with backends.disposed_engine("sample") as engine:
            migrate(engine, sample.location)
        self._forget_effects(sample)
        with psycopg.connect(url) as connection:
            connection.execute(
                sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(SCHEMA), sql.Literal(MARKER))
            )
            file_root = self.folder / (sample.files or "")
            return sample.fill(connection, Filling(datetime.now(UTC), scale, file_root, reporter))

    def _forget_effects(self, sample: Sample) -> None:
        """Remove files and mails of an earlier sample, and make the folder of the new one's files."""
        for path in (self.folder / name for name in (*sample.effects, *sample.stores.values())):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for path in (self.folder / name for name in sample.stores.values()):
            path.mkdir(parents=True, exist_ok=True)

    def _is_ours(self, name: str) -> bool:
        with psycopg.connect(self.postgres.url(name)) as connection:
            row = connection.execute(
                "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [SCHEMA]
            ).fetchone()
        return row is not None and row[0] == MARKER

    def _dagster_home(self) -> Path:
        home = self.folder / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        link = home / "dagster.yaml"
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(REPOSITORY / "dagster.yaml")
        return home

    def _admin(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.postgres.url("postgres"), autocommit=True)

    def _unfinished(self) -> list[str]:
        with self._admin() as admin:
            found = admin.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [UNFINISHED])
            return [str(name) for (name,) in found]

    def _has_database(self, name: str) -> bool:
        with self._admin() as admin:
            return admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is not None

    def _create_database(self, name: str) -> None:
        with self._admin() as admin:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _drop_database(self, name: str) -> None:
        with self._admin() as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass
class Stack:
    """Processes started together, and stopped together whatever happens."""

    environ: Mapping[str, str]
    log_folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start a program of this virtual environment; what it says goes into a log file."""
        self.log_folder.mkdir(parents=True, exist_ok=True)
        program, *rest = arguments
        # A group of its own: Ctrl-C reaches us, and we stop the others in order.
        with (self.log_folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 - our own programs
                [str(Path(sys.executable).parent / program), *rest],
                env=dict(self.environ),
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise `LocalError` with the last lines of its log if a process has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                log = self.log_folder / f"{name}.log"
                last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise LocalError(f"{name} ended with exit code {process.returncode}; {log} says:\n{last}")

    def stop(self, *names: str) -> None:
        """End these processes, all unless some are named, and what they started: asked first, then killed."""
        ending = {name: each for name, each in self.processes.items() if not names or name in names}
        for process in ending.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for name, process in ending.items():
            del self.processes[name]
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            _signal_group(process, signal.SIGKILL)
            process.wait()


def wait_until(condition: Callable[[], bool], what: str, stack: Stack, *, seconds: float = READY_SECONDS) -> None:
    """Wait until a condition holds; raise `LocalError` if it does not in time or a process ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        stack.check()
        if time.monotonic() > deadline:
            raise LocalError(f"{what} after {seconds:.0f} s; the logs are in {stack.log_folder}")
        time.sleep(POLL_SECONDS)


def answers(url: str) -> bool:
    """Return whether an HTTP server answers at the URL."""
    try:
        with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - loopback
            return True
    except OSError:
        return False


@contextlib.contextmanager
def dagster_stack(
    local: Local, outside: Mapping[str, str], *, port: int | None = None, schedules: bool
) -> Iterator[tuple[Stack, int]]:
    """Start a code server for each location, daemon and UI on the samples, as production has them; stop all at the end,
    with time for the runs that go on.

    Without `schedules` they are stopped by default, so that nothing runs that was not asked for.
    """
    environ, patience = local.environment(outside), graceful_seconds()
    if not schedules:
        environ |= {f"{location.prefix}_SCHEDULES": "stopped" for location in locations()}
    stack = Stack(environ, local.folder / "logs")
    code_ports, web_port = kept_ports(local.folder / "ports.json"), port or free_port()
    servers = [
        f"  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: {name}}}\n"
        for name, port in code_ports.items()
    ]
    workspace = local.folder / "workspace.yaml"
    workspace.write_text("".join(["load_from:\n", *servers]))
    try:
        for location in locations():
            server = ["dagster", "api", "grpc", "-m", f"{location.package}.definitions", "-h", "127.0.0.1"]
            rest = ["-p", str(code_ports[location.name]), "--location-name", location.name]
            stack.start(f"code-server-{location.name}", [*server, *rest])
        for code_port in code_ports.values():
            wait_until(partial(_listens, code_port), "a code server does not listen", stack)
        stack.start("daemon", ["dagster-daemon", "run", "-w", str(workspace)])
        stack.start("ui", ["dagster-webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(web_port)])
        wait_until(lambda: answers(f"http://127.0.0.1:{web_port}/server_info"), "the UI does not answer", stack)
        try:
            yield stack, web_port
        finally:
            # Without it nothing is launched, whether by a tick or from the queue.
            stack.stop("daemon")
            wind_down(web_port, seconds=patience)
    finally:
        stack.stop()


def kept_ports(file: Path) -> dict[str, int]:
    """Return the code servers' ports, those of the last time where nobody else has taken them since.

    Dagster remembers of a schedule where its code server was when it first saw it, as if that were a name in a cluster.
    """
    kept: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        kept = {str(name): int(port) for name, port in dict(json.loads(file.read_text())).items()}
    ports: dict[str, int] = {}
    for name in (location.name for location in locations()):
        port = kept.get(name, 0)
        is_free = 0 < port < LAST_PORT and port not in ports.values() and not _listens(port)
        ports[name] = port if is_free else free_port()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(ports))
    return ports


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
