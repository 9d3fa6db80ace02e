"""The real daemon and code server: a run that failed becomes a mail, and a daemon that is killed is seen from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import dagster as dg
import pytest

from cath_dagster.core.history.writing import Begun, begin
from cath_dagster.development.local import wait_until
from cath_dagster.development.postgres import free_port
from cath_dagster.development.simulators.smtp import SmtpServer
from cath_dagster.operations.backends import open_backends
from cath_dagster.orchestration.internals.instigators import TickStatus
from tests.operations.instance import Instance, open_instance
from tests.support.dagster_internals import ReconstructableRepository
from tests.support.warm import WarmStack, run
from tests.support.watches import WATCHES

pytestmark = [pytest.mark.daemon, pytest.mark.stack]

PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """Yield an instance of its own: a daemon at work leaves traces everywhere."""
    (home := tmp_path / "home").mkdir()
    with open_instance(home) as opened:
        yield opened


def fail_run(instance: Instance) -> str:
    """Run a job without its database, as `dagster job execute` does; return the run's id."""
    code = ReconstructableRepository.for_module("cath_dagster.cath.definitions", "defs")
    result = dg.execute_job(code.get_reconstructable_job("clear_audit"), instance.dagster)
    assert not result.success
    return result.run_id


def leave_killed_run(instance: Instance) -> str:
    """Leave the row of a run of the command line whose process is gone; return the run's id."""
    backends = open_backends(instance.dagster)
    begun = Begun(
        location="cath", job="clear_audit", run_id="killed", trigger="cli", started_at=datetime.now(UTC)
    )  # fmt: skip
    with backends.database("test") as database:
        database.transaction(partial(begin, begun=begun))
    return begun.run_id


def ended(instance: Instance, run_id: str) -> str:
    status: str = instance.value("SELECT status FROM operations.scheduled_job_history WHERE run_id = %s", run_id)
    return status


def health(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    program = str(PROGRAMS / "cath-dagster")
    return run([program, "health"], environ=environ)


def test_a_failed_run_of_another_location_becomes_a_mail_and_a_killed_daemon_is_seen_from_outside(
    instance: Instance, tmp_path: Path
) -> None:
    run = fail_run(instance)
    port = free_port()
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {port}, location_name: operations}}\n")
    server = ["dagster", "api", "grpc", "-m", "cath_dagster.operations.definitions", "--location-name", "operations"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
    with SmtpServer() as mail:
        address = mail.url.removeprefix("smtp://")
        environ = plain | {
            "DAGSTER_HOME": str(instance.home),
            "DAGSTER_POSTGRES_URL": instance.url,
            "OPERATIONS_ALERT_URLS": f"mailto://{address}?from=dagster@example.org&to=ops@example.org&mode=insecure",
            "OPERATIONS_UI_URL": "https://dagster.example.org",
            "COLUMNS": "250",
        }
        stack = WarmStack(environ, tmp_path / "logs")
        try:
            stack.start("code-server", [*server, "-h", "127.0.0.1", "-p", str(port)])
            stack.start("daemon", ["dagster-daemon", "run", "-w", str(workspace)])
            wait_until(lambda: bool(mail.sent), "no mail came", stack, seconds=150)
            (alert, *_) = mail.sent
            wait_until(lambda: ticked(instance) >= set(WATCHES), "not every watch ticked", stack)
            wait_until(lambda: health(environ).returncode == 0, "it is not healthy", stack)
            # Who is on is known once the daemon has said of each that it follows it.
            wait_until(lambda: registered(instance) == [(2, 2)], "the jobs were not registered as on", stack)
            killed = leave_killed_run(instance)
            wait_until(lambda: ended(instance, killed) == "failed", "the killed run was not closed", stack, seconds=60)

            daemon = stack.processes.pop("daemon")
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()
        finally:
            stack.stop()

    assert alert.subject == "cath/clear_audit failed"
    assert f"https://dagster.example.org/runs/{run}" in alert.text
    assert "CATH_DATABASE_URL not set" in alert.text
    assert instance.count("job_ticks", f"status = '{TickStatus.FAILURE.value}'") == 0
    # Its tables were made after the run: the monitor found it in Dagster's own.
    assert instance.connection.execute(
        "SELECT location, job, trigger, status, error FROM operations.scheduled_job_history WHERE run_id = %s", [run]
    ).fetchall() == [
        (
            "cath",
            "clear_audit",
            "cli",
            "failed",
            "failed: CATH_DATABASE_URL not set; set it in the environment of the run",
        )
    ]
    # Time goes by, and nobody beats.
    instance.connection.execute("UPDATE daemon_heartbeats SET timestamp = timestamp - interval '10 minutes'")
    instance.connection.execute(
        "UPDATE daemon_heartbeats SET body = regexp_replace(body, '\"timestamp\": [0-9.]+', '\"timestamp\": ' || %s)",
        [str(time.time() - 600)],
    )
    dead = health(environ)
    assert dead.returncode == 1
    assert "daemon sensor" in dead.stdout


def registered(instance: Instance) -> list[tuple[int, int]]:
    """Return of the instance's own jobs how many are on, and how many there are."""
    counts = "count(*) FILTER (WHERE enabled), count(*)"
    query = f"SELECT {counts} FROM operations.scheduled_job WHERE location = 'operations'"
    return instance.connection.execute(query).fetchall()


def ticked(instance: Instance) -> set[str]:
    states = instance.dagster.all_instigator_state()
    return {
        state.instigator_name
        for state in states
        if instance.dagster.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    }
