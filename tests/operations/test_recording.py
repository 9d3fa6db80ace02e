"""A run is recorded beside its work, and whatever happens to what records it, the run goes on."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest

from cath_dagster.adapters import history_writer
from cath_dagster.adapters.history import recorded
from cath_dagster.adapters.history_writer import PATIENCE_SECONDS, History, Origin, finish_writing
from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.operations.definitions import defs
from cath_dagster.orchestration.location_sensors import DEPENDENCIES, STARTUP
from cath_dagster.orchestration.origin import origin_of
from tests.operations.history import rows
from tests.operations.instance import Instance
from tests.operations.waiting import until
from tests.support.command import call
from tests.support.dagster_internals import RemoteJobOrigin

RESULT = RunResult(
    location="cath", job="clear_audit", run_id="r1", dry_run=False, as_of=None, status=Status.SUCCESS,
    outcomes=(Outcome(target="audit_log", matched=2, deleted=2, details={"sample_ids": ["7", "x@example.org"]}),),
)  # fmt: skip
CLI = Origin(trigger="cli", actor="someone")


@pytest.fixture
def tables(instance: Instance, database: object) -> Instance:
    """Return an instance that has our tables."""
    return instance


def record(url: str, *results: RunResult, run_id: str = "r1", given: dict[str, Any] | None = None) -> list[str]:
    """Record a run with these results, the last one its end; return what kept it from being."""
    with recorded(
        History(url=url, origin=CLI), location="cath", job="clear_audit", run_id=run_id, given=given or {},
        begins=True, warn=lambda _: None,
    ) as recording:  # fmt: skip
        for result in results[:-1]:
            recording.step_ended(result)
        recording.ended(results[-1])
    return finish_writing(10)


def test_a_run_is_recorded_with_what_asked_for_it_and_nothing_personal(tables: Instance) -> None:
    told = {
        "max_rows": 5,
        "dry_run": None,
        "reason": 'because "Jane Doe" <jane@example.org> asked',
        "as_of": "2026-11-18 12:00:00Z",
        "who": "Jane Doe",
        "servers": "a, b-2",
    }
    failed = RunResult(**{**vars(RESULT), "status": Status.FAILED, "error": "cannot write to jane@example.org\nat all"})

    assert record(tables.url, failed, given=told) == []

    ((trigger, actor, status, error, parameters, outcomes),) = rows(
        tables, "trigger, actor, status, error, parameters, outcomes"
    )
    assert (trigger, actor, status) == ("cli", "someone", "failed")
    assert error == "cannot write to (an address) at all"
    assert parameters == {
        "max_rows": 5,
        "as_of": "2026-11-18 12:00:00Z",
        "reason": "(text of 43 characters)",
        "who": "(text of 8 characters)",
        "servers": "a, b-2",
    }
    assert outcomes[0]["deleted"] == 2
    assert "example.org" not in str(outcomes)


def test_every_attempt_is_a_row_and_the_last_one_is_the_runs_end(tables: Instance) -> None:
    failed = RunResult(**{**vars(RESULT), "status": Status.FAILED, "error": "for now"})
    with recorded(
        History(url=tables.url, origin=CLI), location="cath", job="clear_audit", run_id="r1", given={},
        begins=True, warn=lambda _: None,
    ) as recording:  # fmt: skip
        recording.on_attempt(1, failed, timedelta(seconds=1))
        recording.on_attempt_began(2)
        recording.on_attempt(2, RESULT, None)
        recording.ended(RESULT)
    assert finish_writing(10) == []

    assert rows(tables, "attempt, status, error, counted") == [
        (1, "failed", "for now", False), (2, "success", None, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "expected"), [(KeyboardInterrupt(), "canceled"), (ValueError("jane@example.org"), "failed")]
)
def test_a_run_that_is_broken_off_is_closed_and_what_broke_it_is_raised(
    tables: Instance, error: BaseException, expected: str
) -> None:
    with (
        pytest.raises(type(error)),
        recorded(
            History(url=tables.url, origin=CLI), location="cath", job="clear_audit", run_id="r1", given={},
            begins=True, warn=lambda _: None,
        ),
    ):  # fmt: skip
        raise error
    assert finish_writing(10) == []

    ((status, says),) = rows(tables, "status, error")
    assert status == expected
    assert "jane" not in says


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Yield a port at which somebody takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


def test_a_database_that_is_away_or_silent_costs_a_run_a_moment_and_a_line(silent_port: int) -> None:
    for port, says in ((1, "cannot be reached"), (silent_port, "does not answer")):
        url = f"postgresql://someone:hunter2@127.0.0.1:{port}/dagster"
        started = time.monotonic()
        with recorded(
            History(url=url, origin=CLI), location="cath", job="clear_audit", run_id="r1", given={},
            begins=True, warn=lambda _: None,
        ) as recording:  # fmt: skip
            recording.ended(RESULT)
        took = time.monotonic() - started
        (line,) = finish_writing(0.2)

        assert says in line
        assert "hunter2" not in line
        assert took < PATIENCE_SECONDS + 0.2  # what a busy machine adds


def test_a_table_that_is_locked_keeps_no_run_waiting_and_has_it_afterwards(tables: Instance) -> None:
    with psycopg.connect(tables.url) as holder:
        holder.execute("LOCK TABLE operations.scheduled_job_history")
        started = time.monotonic()
        with recorded(
            History(url=tables.url, origin=CLI), location="cath", job="clear_audit", run_id="r1", given={},
            begins=True, warn=lambda _: None,
        ) as recording:  # fmt: skip
            recording.ended(RESULT)
        took = time.monotonic() - started
    assert took < PATIENCE_SECONDS + 0.2

    assert finish_writing(10) == []
    assert rows(tables, "status") == [("success",)]


def test_a_history_whose_tables_are_missing_is_named_and_recorded_nowhere(instance: Instance) -> None:
    instance.connection.execute("CREATE DATABASE without_tables")
    try:
        (line,) = record(
            instance.url.replace("/test_", "/without_tables?x=", 1).partition("?x=")[0] + _query(instance), RESULT
        )
    finally:
        instance.connection.execute("DROP DATABASE without_tables WITH (FORCE)")

    assert "cath-dagster migrate operations" in line


def _query(instance: Instance) -> str:
    return f"?{instance.url.partition('?')[2]}" if "?" in instance.url else ""


def test_a_connection_that_is_lost_is_made_anew_and_the_run_says_that_it_lives(
    tables: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_writer, "SECONDS_BETWEEN_SIGNS", 0.02)
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'history:r1'"
    alive = threading.Event()
    with recorded(
        History(url=tables.url, origin=CLI), location="cath", job="clear_audit", run_id="r1", given={},
        begins=True, warn=lambda _: None,
    ) as recording:  # fmt: skip
        until(lambda: rows(tables, "status") == [("running",)])
        assert tables.connection.execute(kill).rowcount == 1
        # Whoever looks now takes it for lost.
        tables.connection.execute("UPDATE operations.scheduled_job_history SET status = 'failed', completed_at = now()")
        until(lambda: rows(tables, "status") == [("running",)])
        alive.set()
        recording.ended(RESULT)
    assert finish_writing(10) == []
    assert alive.is_set()
    assert rows(tables, "status, error") == [("success", None)]


def run_in_dagster(instance: Instance, job: str = "self_check", **tags: str) -> dg.ExecuteInProcessResult:
    found = defs.resolve_job_def(job)
    return found.execute_in_process({"wait_seconds": 0}, instance=instance.dagster, tags=tags, raise_on_error=False)


def test_a_run_of_dagster_is_recorded_where_its_instance_keeps_it(tables: Instance) -> None:
    result = run_in_dagster(tables)
    assert finish_writing(10) == []

    ((run_id, job, trigger, status),) = rows(tables, "run_id, job, trigger, status")
    assert (run_id, job, trigger) == (result.run_id, "self_check", "cli")
    assert status == ("success" if result.success else "failed")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"dagster/schedule_name": "x_cron"}, "schedule"),
        ({"dagster/sensor_name": "x"}, "sensor"),
        ({"dagster/sensor_name": STARTUP}, "startup"),
        ({"dagster/sensor_name": DEPENDENCIES}, "dependency"),
        ({"dagster/backfill": "b", "dagster/schedule_name": "x"}, "backfill"),
        ({"cath_dagster/nonce": "n"}, "manual"),
        ({}, "manual"),
    ],
)
def test_what_asked_for_a_run_is_told_by_what_a_person_cannot_claim(
    instance: Instance, tags: dict[str, str], expected: str
) -> None:
    run = instance.run(instance.add_run(tags=tags, events=0))
    assert isinstance(run.remote_job_origin, RemoteJobOrigin)

    assert origin_of(run).trigger == expected
    assert origin_of(run).nonce == tags.get("cath_dagster/nonce")


def test_the_command_line_records_its_runs_and_says_where_it_cannot(tables: Instance) -> None:
    environ = {"DAGSTER_HOME": str(tables.home), "DAGSTER_POSTGRES_URL": tables.url}
    without = call({}, "run", "operations/self_check", "--wait-seconds", "0")
    done = call(environ, "run", "operations/self_check", "--wait-seconds", "0", "--json")

    assert "not in the history: DAGSTER_POSTGRES_URL is not set" in without.stderr
    ((trigger, status, actor),) = rows(tables, "trigger, status, actor")
    assert (trigger, status) == ("cli", "success" if done.returncode == 0 else "failed")
    assert actor


def test_the_command_line_does_its_work_without_the_database_and_says_so_once(tables: Instance) -> None:
    environ = {
        "DAGSTER_POSTGRES_URL": "postgresql://someone:hunter2@127.0.0.1:1/dagster",
        "CATH_DATABASE_URL": tables.url,
    }
    done = call(environ, "run", "cath/clear_audit", "--dry-run", "--json")

    assert done.stderr.count("the history does not have all of this run") == 1
    assert "hunter2" not in done.stderr
    assert done.stdout.startswith("{")
