"""Runs of the command line that are killed: before their work is done, and after it, before their end is written."""

import subprocess
from datetime import UTC, datetime

import psycopg
import pytest

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.scheduler.closing import LOST, close_lost
from tests.operations.history import rows, totals
from tests.operations.instance import Instance
from tests.operations.waiting import until
from tests.support.cli import add_entries
from tests.support.command import PROGRAM, environment
from tests.support.held import hold, let_go
from tests.support.service import Service
from tests.support.warm import COMMAND, start

pytestmark = pytest.mark.stack


def begin_run(instance: Instance, service: Service) -> subprocess.Popen[bytes]:
    """Start a run of the command line as a shell does."""
    environ = environment(service.environ, {"DAGSTER_POSTGRES_URL": instance.url})
    arguments = [PROGRAM, "run", "cath/clear_audit", "--as-of", service.as_of.isoformat()]
    return start(arguments, environ=environ, modules=COMMAND)


def closed(instance: Instance, run: subprocess.Popen[bytes]) -> list[tuple[object, ...]]:
    """Kill a run, and return what the history has of it once the monitor has looked."""
    engine_sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'history:%%'"
    run.kill()
    run.wait()
    until(lambda: instance.value(engine_sessions) == 0)
    return rows(instance, "status, error")


def test_a_killed_run_is_lost_whether_its_work_was_done_or_not(
    instance: Instance, database: Database, service: Service
) -> None:
    add_entries(service, 50)
    hold(service.connection, "ingestion_log")
    run = begin_run(instance, service)
    until(lambda: service.count("ingestion_log") < 50)
    until(lambda: rows(instance, "status") == [("running",)])
    assert close_lost(instance.dagster, database, datetime.now(UTC)) == 0
    assert closed(instance, run) == [("running", None)]

    assert close_lost(instance.dagster, database, datetime.now(UTC)) == 1

    assert rows(instance, "status, error, trigger") == [("failed", LOST, "cli")]
    assert totals(instance)[:2] == (1, 1)
    let_go(service.connection)
    until(lambda: service.count("pg_stat_activity", "application_name LIKE 'clear_audit:%'") == 0)
    instance.connection.execute("DELETE FROM operations.scheduled_job_history")

    with psycopg.connect(instance.url) as holder:
        hold(service.connection, "ingestion_log")
        run = begin_run(instance, service)
        until(lambda: rows(instance, "status") == [("running",)])
        # Nothing can be written any more, and the work is done all the same.
        holder.execute("LOCK TABLE operations.scheduled_job IN EXCLUSIVE MODE")
        let_go(service.connection)
        until(lambda: service.count("ingestion_log") == 0)
        until(lambda: service.count("maintenance.ledger_event", "kind = 'finished'") > 0)
        run.kill()
        run.wait()
    assert closed(instance, run) == [("running", None)]

    assert close_lost(instance.dagster, database, datetime.now(UTC)) == 1
    assert rows(instance, "status, error") == [("failed", LOST)]
