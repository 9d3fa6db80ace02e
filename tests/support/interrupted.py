"""A run that is interrupted in its midst, and what of it is left on the server."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.service import Service
from tests.support.waiting import FOR_EVER_SECONDS, wait_until

ROOT = Path(__file__).parents[2]
SCRIPT = """
import signal, sys
from datetime import UTC, datetime
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cath import CATH
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs
from tests.support.service import SilentReporter


class Terminated(BaseException):
    pass


def terminate(number, frame):
    raise Terminated


job, run_id, handled = sys.argv[1:4]
if handled == "handled":
    signal.signal(signal.SIGTERM, terminate)
(spec,) = (spec for spec in load_specs(CATH) if spec.name == job)
as_of = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
environ = dict(item.split("=", 1) for item in sys.argv[4:])
result = execute(
    spec, {"as_of": as_of}, run_id=run_id, now=as_of,
    backends=EnvironmentBackends("CATH", environ), reporter=SilentReporter(),
)
sys.exit(0 if result.status == "success" else 1)
"""


@contextlib.contextmanager
def child_running(
    service: Service, job: str, run_id: str, *, handled: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a job in a process of its own, which does not outlive the block."""
    variables = [f"{name}={service.environ[name]}" for name in ("CATH_DATABASE_URL", "CATH_BLOB_URL")]
    command = [sys.executable, "-c", SCRIPT, job, run_id, "handled" if handled else "default", *variables]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as child:
        try:
            yield child
        finally:
            child.kill()
            child.wait()


def assert_no_session(service: Service, run_id: str) -> None:
    """Wait for the end of the run's sessions; those that sleep would not end by themselves."""
    wait_until(lambda: sessions(service, run_id) == 0, f"a session of {run_id} is still there")


def hold_up(service: Service, table: str, after: int = 0) -> None:
    """Let every deletion of a row after the first so many sleep until somebody ends it."""
    service.connection.execute("CREATE SEQUENCE slowly")
    service.connection.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF nextval('slowly') > {after} THEN PERFORM pg_sleep({FOR_EVER_SECONDS}); END IF; RETURN OLD; END $$"
    )
    service.connection.execute(f"CREATE TRIGGER slow BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION slow()")


def is_asleep(service: Service) -> bool:
    return service.count("pg_stat_activity", "datname = current_database() AND wait_event = 'PgSleep'") > 0


def sessions(service: Service, run_id: str) -> int:
    return service.count("pg_stat_activity", f"datname = current_database() AND application_name LIKE '%{run_id}'")
