"""A whole CaTH on one machine: an embedded PostgreSQL, the sample in it, a Notify that listens, and Dagster."""

import contextlib
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
from pathlib import Path

import psycopg
from psycopg import sql

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import LOCATION
from cath_dagster.cath.messages import TEMPLATES
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.job_run import Reporter
from cath_dagster.core.maintenance import SCHEMA
from cath_dagster.core.migrations import migrate
from cath_dagster.development import cath_sample
from cath_dagster.development.postgres import EmbeddedPostgres, embedded_postgres, free_port

REPOSITORY = Path(__file__).parents[2]
SAMPLE, STORAGE = "cath", "dagster"
"""The two databases of the embedded server: the service's sample, and Dagster's own."""
UNFINISHED = "cath_dagster_unfinished_sample_"
"""How the name of a sample begins while it is made; nobody else's begins so."""
MARKER = "a sample made by cath-dagster"
"""Stands as comment on the schema `maintenance` of every database that the sample commands may touch."""
READY_SECONDS = 90.0
GRACE_SECONDS = 15.0
POLL_SECONDS = 0.1
_NAMESPACE = uuid.UUID("5d1f2e0a-7a6e-4b56-9a5b-0c7f3b1f9c11")


class LocalError(MaintenanceError):
    """Something on this machine does not start, or is not what it should be."""


def forget_outside() -> None:
    """Remove from this process what a shell exports for real services, and what libpq would heed over a URL.

    Nobody shall lose data because a variable was exported.
    """
    for name in [name for name in os.environ if name.startswith(("CATH_", "DAGSTER_", "PG"))]:
        del os.environ[name]


def template_id(name: str) -> str:
    """Return the provider's id of a template of ours, the same on every machine."""
    return str(uuid.uuid5(_NAMESPACE, name))


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
    def mail_log(self) -> Path:
        return self.folder / "notify.jsonl"

    def start_database(self) -> None:
        """Start the embedded PostgreSQL and make Dagster's database if it is missing."""
        self.postgres.start()
        if not self._has_database(STORAGE):
            self._create_database(STORAGE)

    def make_sample(self, *, scale: float, fresh: bool, reporter: Reporter) -> None:
        """Create and fill the sample database unless it is there.

        Raises `LocalError` for a database of that name which no sample command made.
        """
        if self._has_database(SAMPLE) and not self._is_ours(SAMPLE):
            raise LocalError(
                f"the database {SAMPLE!r} on {self.postgres.home} was not made by cath-dagster and is left alone; "
                "remove it yourself, or run make clean"
            )
        # Without its blobs, such as after .local was removed by hand, an old sample is of no use.
        if self._has_database(SAMPLE) and not fresh and self.blob_root.is_dir():
            return
        self._drop_sample()
        reporter.info(f"making the sample, scale {scale:g}")
        started = time.perf_counter()
        # Under another name first: a kill leaves no half-filled database that looks like the sample.
        for name in self._unfinished():
            self._drop_database(name)
        unfinished = f"{UNFINISHED}{uuid.uuid4().hex}"
        self._create_database(unfinished)
        rows = self._fill(unfinished, scale, reporter)
        with self._admin() as admin:
            admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (unfinished, SAMPLE))))
        reporter.info(f"{rows:,} rows in {time.perf_counter() - started:.1f} s")

    def environment(self, notify_url: str, notify_key: str) -> dict[str, str]:
        """Return the environment of every process started here; `forget_outside` comes first."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
        return (
            outside
            | self.shell_environment()
            | {
                "CATH_NOTIFY_BASE_URL": notify_url,
                "CATH_NOTIFY_API_KEY": notify_key,
                "CATH_TEAM_EMAIL": "team@example.org",
                "CATH_ENV_NAME": "local",
                "CATH_CFT_SIGN_IN_LINK": "http://localhost/cft-login",
                "CATH_CRIME_SIGN_IN_LINK": "http://localhost/crime-login",
                "CATH_MEDIA_VERIFICATION_LINK": "http://localhost/media-verification",
                **{f"CATH_NOTIFY_TEMPLATE_{name.upper()}": template_id(name) for name in TEMPLATES},
                "DAGSTER_HOME": str(self._dagster_home()),
                "DAGSTER_POSTGRES_URL": self.postgres.url(STORAGE),
                "PYTHONUNBUFFERED": "1",
            }
        )

    def shell_environment(self) -> dict[str, str]:
        """Return what a shell needs to run jobs on the sample; without a mail provider nothing is sent."""
        return {
            "CATH_DATABASE_URL": self.postgres.url(SAMPLE),
            "CATH_BLOB_URL": self.blob_root.resolve().as_uri(),
            "CATH_REPORT_URL": self.report_root.resolve().as_uri(),
        }

    def _fill(self, name: str, scale: float, reporter: Reporter) -> int:
        url = self.postgres.url(name)
        with psycopg.connect(url) as connection:
            cath_sample.create_schema(connection)
        engine = open_engine(url, variable="sample", application_name="sample")
        migrate(engine, LOCATION)
        engine.dispose()
        for folder in (self.blob_root, self.report_root):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        with psycopg.connect(url) as connection:
            connection.execute(
                sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(SCHEMA), sql.Literal(MARKER))
            )
            summary = cath_sample.fill(
                connection,
                as_of=datetime.now(UTC),
                scale=scale,
                blob_root=self.blob_root,
                progress=lambda table, done, total: reporter.progress("tables", done, total),  # noqa: ARG005
            )
        return summary.total

    def _is_ours(self, name: str) -> bool:
        with psycopg.connect(self.postgres.url(name)) as connection:
            row = connection.execute(
                "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s", [SCHEMA]
            ).fetchone()
        return row is not None and row[0] == MARKER

    def _drop_sample(self) -> None:
        self._drop_database(SAMPLE)
        self.mail_log.unlink(missing_ok=True)

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

    def stop(self) -> None:
        """End every process and what it started: asked first, then killed."""
        for process in self.processes.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for process in self.processes.values():
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
    local: Local, notify_url: str, notify_key: str, *, port: int | None = None, schedules: bool
) -> Iterator[tuple[Stack, int]]:
    """Start code server, daemon and UI on the sample, as production has them; stop all at the end.

    Without `schedules` they are stopped by default, so that nothing runs that was not asked for.
    """
    environ = local.environment(notify_url, notify_key)
    if not schedules:
        environ["CATH_SCHEDULES"] = "stopped"
    stack = Stack(environ, local.folder / "logs")
    code_port, web_port = free_port(), port or free_port()
    workspace = local.folder / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code_port}, location_name: {LOCATION.name}}}\n"
    )
    module = f"{LOCATION.package}.definitions"
    server = ["dagster", "api", "grpc", "-m", module, "-h", "127.0.0.1", "-p", str(code_port)]
    try:
        stack.start("code-server", [*server, "--location-name", LOCATION.name])
        wait_until(lambda: _listens(code_port), "the code server does not listen", stack)
        stack.start("daemon", ["dagster-daemon", "run", "-w", str(workspace)])
        stack.start("ui", ["dagster-webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(web_port)])
        wait_until(lambda: answers(f"http://127.0.0.1:{web_port}/server_info"), "the UI does not answer", stack)
        yield stack, web_port
    finally:
        stack.stop()


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
