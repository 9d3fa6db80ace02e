"""The hourly look of the instance at itself, and what the probe from outside sees."""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dagster import DagsterRunStatus

from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.postgres.database import Database
from cath_dagster.development.postgres import free_port
from cath_dagster.operations.alerts import Alert, AlertSettings, Kind
from cath_dagster.operations.health import find_clock_skew, look_from_outside
from cath_dagster.operations.patience import Patience
from cath_dagster.operations.sensors import build_sensors
from cath_dagster.operations.store import AlertStore
from cath_dagster.operations.watched import SENSORS
from cath_dagster.orchestration.internals.instigators import InstigatorType, TickStatus
from tests.operations.instance import NOW, Instance, run_job
from tests.support.dagster_internals import DaemonHeartbeat, InstigatorStatus
from tests.support.warm import start

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def beat(instance: Instance, at: datetime = NOW) -> None:
    for kind in instance.dagster.get_required_daemon_types():
        instance.dagster.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), kind, "id", []))


def look(instance: Instance, database: Database, *, now: datetime = NOW, **settings: Any) -> list[Finding]:
    """Return what the probe finds that is no good."""
    found = look_from_outside(instance.dagster, database, AlertSettings(**settings), now)
    return [finding for finding in found if finding.level is not Level.OK]


def problems(instance: Instance, database: Database, **options: Any) -> dict[str, str]:
    settings: dict[str, Any] = {"alert_urls": "json://127.0.0.1:9/", **options}
    found = look(instance, database, **settings)
    return {one.subject: one.message for one in found if one.level is Level.PROBLEM}


def check(instance: Instance, *, wait_seconds: int = 0) -> RunResult:
    return run_job(instance, "self_check", wait_seconds=wait_seconds)


def test_an_instance_at_work_is_healthy(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_schedule("clear_audit_cron", "0 1 * * *")
    instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, datetime(2026, 11, 18, 1, tzinfo=UTC))

    assert look(instance, database, alert_urls="json://127.0.0.1:9/") == []


def test_a_daemon_that_never_beat_is_a_problem(instance: Instance, database: Database) -> None:
    found = problems(instance, database)

    assert found["daemon scheduler"] == "never beat"
    assert found["daemon sensor"] == "never beat"


def test_a_daemon_that_beats_no_more_is_a_problem_after_five_minutes(instance: Instance, database: Database) -> None:
    beat(instance, NOW - 4 * MINUTE)
    assert problems(instance, database) == {}

    beat(instance, NOW - 6 * MINUTE)
    assert "0:06:00" in problems(instance, database)["daemon scheduler"]
    assert problems(instance, database, heartbeat_seconds=600) == {}


def test_a_tick_that_is_late_or_failed_is_a_problem_of_the_probe(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_schedule("an_own_cron", "0 11 * * *")
    instance.add_schedule("another_cron", "0 3 1 1 *")
    instance.add_tick("another_cron", TickStatus.FAILURE, NOW - HOUR, error="ada@example.com")

    found = problems(instance, database)

    assert "2026-11-18 11:00 UTC was never made" in found["ticks cath/an_own_cron"]
    assert "failed: RuntimeError" in found["ticks cath/another_cron"]
    assert "example.com" not in str(found)


def test_a_run_that_waits_while_nothing_goes_on_is_a_problem(instance: Instance, database: Database) -> None:
    beat(instance)
    run = instance.add_run("clear_audit", DagsterRunStatus.QUEUED, ended_at=NOW - HOUR)

    assert run in problems(instance, database)["queue"]


def test_a_run_that_waits_for_another_of_its_job_is_none(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_run("clear_audit", DagsterRunStatus.STARTED, ended_at=NOW - HOUR)
    instance.add_run("clear_audit", DagsterRunStatus.QUEUED, ended_at=NOW - HOUR)

    assert problems(instance, database) == {}


def test_a_run_that_goes_on_for_longer_than_its_job_may_is_a_problem(instance: Instance, database: Database) -> None:
    beat(instance)
    run = instance.add_run("clear_audit", DagsterRunStatus.STARTED, ended_at=NOW - 6 * HOUR)

    assert "cath/clear_audit runs for 6:01:00" in problems(instance, database)[f"run {run}"]


def test_alerts_that_nobody_is_told_are_a_problem_and_having_no_channel_is_a_warning(
    instance: Instance, database: Database
) -> None:
    beat(instance)
    store = AlertStore(database)
    alert = Alert(
        kind=Kind.RUN_FAILED, subject="cath/clear_audit", occurrence="1", title="failed", says=(), at=NOW - HOUR
    )
    store.record([alert])
    store.seal(now=NOW, interval=HOUR)
    (sealed,) = store.due(now=NOW)
    store.failed(sealed.message_id, "slack-1234abcd: answered 404", now=NOW)

    assert "after 1 attempts: slack-1234abcd: answered 404" in problems(instance, database)["alerts"]
    assert [one.level for one in look(instance, database) if one.subject == "alerts"] == [Level.WARNING]


def test_the_self_check_fails_with_every_problem_it_finds(instance: Instance) -> None:
    beat(instance, NOW - HOUR)
    instance.add_schedule("clear_audit_cron", "0 1 * * *", port=free_port())

    result = check(instance)

    assert result.status is Status.FAILED
    assert "daemon scheduler: last beat 1:00:00 ago" in (result.error or "")
    assert "code location cath: does not load: its code server does not answer" in (result.error or "")


def test_the_self_check_of_an_instance_at_work_succeeds(instance: Instance) -> None:
    beat(instance)

    assert check(instance).status is Status.SUCCESS


@pytest.mark.daemon
@pytest.mark.stack
def test_code_locations_are_asked_whether_they_load(instance: Instance) -> None:
    beat(instance)
    modules = {"operations": "cath_dagster.operations.definitions", "cath": "cath_dagster.nowhere"}
    ports = {name: free_port() for name in modules}
    dagster = str(Path(sys.executable).parent / "dagster")
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for name, module in modules.items():
            instance.add_schedule(f"{name}_cron", "0 1 * * *", location=name, port=ports[name])
            # Lazily, as in a chart: a server whose code does not load answers all the same, and says so.
            server = [dagster, "api", "grpc", "--lazy-load-user-code", "-m", module, "-h", "127.0.0.1"]
            servers.append(start([*server, "-p", str(ports[name])], environ=os.environ))
        deadline = time.monotonic() + 90
        while "does not answer" in (error := check(instance).error or ""):
            assert all(process.poll() is None for process in servers)
            assert time.monotonic() < deadline, error
            time.sleep(0.1)
    finally:
        for process in servers:
            process.terminate()
        for process in servers:
            process.wait(60)

    assert error.startswith("code location cath: does not load: DagsterUserCode")
    assert "operations" not in error


def test_the_database_and_this_machine_agree_on_the_time(database: Database) -> None:
    assert find_clock_skew(database).level is Level.OK


def test_clocks_that_are_apart_are_a_problem(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(datetime):
        @classmethod
        def now(cls, tz: object = None) -> Any:
            return datetime.now(UTC) - timedelta(minutes=5)

    monkeypatch.setattr("cath_dagster.operations.health.datetime", Slow)

    found = find_clock_skew(database)

    assert found.level is Level.PROBLEM
    assert "300 s apart" in found.message


@contextmanager
def lock_held(url: str, holder: str, key: str = "cath/clear_audit") -> Iterator[None]:
    with psycopg.connect(url, application_name=holder) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [key])
        yield


@pytest.mark.parametrize(
    ("status", "is_forgotten"),
    [(DagsterRunStatus.STARTED, False), (DagsterRunStatus.FAILURE, True), (DagsterRunStatus.SUCCESS, True)],
)
def test_a_lock_of_a_run_that_is_over_is_held_by_nobody(
    instance: Instance,
    cath_url: str,
    monkeypatch: pytest.MonkeyPatch,
    status: DagsterRunStatus,
    *,
    is_forgotten: bool,
) -> None:
    beat(instance)
    monkeypatch.setenv("CATH_DATABASE_URL", cath_url)
    run = instance.add_run("clear_audit", status)

    with lock_held(cath_url, f"clear_audit:{run}"):
        result = check(instance)

    assert (result.status is Status.FAILED) is is_forgotten
    assert (f"holds the lock of run {run} of clear_audit" in (result.error or "")) is is_forgotten


def test_a_lock_of_our_own_command_line_is_somebodys(
    instance: Instance, cath_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(instance)
    monkeypatch.setenv("CATH_DATABASE_URL", cath_url)

    with lock_held(cath_url, f"clear_audit:{uuid.uuid4()}"), lock_held(cath_url, "psql", "another"):
        assert run_job(instance, "self_check", as_of=min(NOW, datetime.now(UTC))).status is Status.SUCCESS


def test_a_database_that_cannot_be_reached_is_a_problem_and_hides_no_other(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(instance, NOW - HOUR)
    monkeypatch.setenv("CATH_DATABASE_URL", "postgresql://someone:secret@127.0.0.1:1/cath")

    error = check(instance).error or ""

    assert "locks cath: the database cannot be reached" in error
    assert "daemon scheduler" in error
    assert "secret" not in error


def test_a_daemon_that_comes_up_while_the_check_waits_is_no_problem(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(instance, NOW - HOUR)
    monkeypatch.setattr("cath_dagster.operations.patience.time.sleep", lambda seconds: beat(instance))

    assert check(instance, wait_seconds=30).status is Status.SUCCESS


def test_patience_asks_again_until_it_knows_and_no_longer_than_it_may() -> None:
    now, answers = [0.0], iter(["unknown", "unknown", "known"])

    def pause(seconds: float) -> None:
        now[0] += seconds

    patience = Patience(5, clock=lambda: now[0], sleep=pause)

    assert patience.ask(lambda: next(answers), lambda answer: answer == "unknown") == "known"
    assert patience.ask(lambda: "unknown", lambda answer: answer == "unknown") == "unknown"
    assert now[0] == 5


def test_a_sensor_that_a_new_version_has_no_more_is_no_problem_for_ever(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_instigator("deliver_to_pager", InstigatorType.SENSOR, location="operations")
    instance.add_tick(
        "deliver_to_pager", TickStatus.FAILURE, NOW - 100 * DAY, location="operations", kind=InstigatorType.SENSOR
    )

    found = list(look_from_outside(instance.dagster, database, AlertSettings(alert_urls="json://127.0.0.1:9/"), NOW))

    assert [one.message for one in found if one.level is Level.PROBLEM] == []
    assert [one.message for one in found if one.subject == "ticks gone"] == [
        "in no code location any more: operations/deliver_to_pager"
    ]


def test_a_schedule_that_a_new_version_has_no_more_is_no_problem_for_ever(
    instance: Instance, database: Database
) -> None:
    beat(instance)
    instance.add_schedule("renamed_cron", "0 11 * * *")
    instance.add_tick("renamed_cron", TickStatus.SUCCESS, NOW - 10 * DAY - HOUR)

    assert problems(instance, database) == {}


def test_a_schedule_of_this_version_that_ticks_no_more_is_one(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_schedule("clear_audit_cron", "0 1 * * *")
    instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, datetime(2026, 11, 8, 1, tzinfo=UTC))
    at = datetime(2026, 11, 18, 2, 0, tzinfo=UTC)
    beat(instance, at)

    assert "was never made" in problems(instance, database, now=at)["ticks cath/clear_audit_cron"]


def test_a_sensor_of_this_version_that_ticks_no_more_is_one(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_instigator("failed_runs", InstigatorType.SENSOR, location="operations")
    instance.add_tick("failed_runs", TickStatus.SKIPPED, NOW - HOUR, location="operations", kind=InstigatorType.SENSOR)

    assert problems(instance, database)["ticks operations/failed_runs"] == "it last ticked at 2026-11-18 11:00 UTC"


def test_a_cron_that_names_no_date_is_a_problem(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_schedule("an_own_cron", "0 0 31 4 *")

    assert "no date" in problems(instance, database)["ticks cath/an_own_cron"]


def test_the_sensors_that_are_known_are_those_of_the_location() -> None:
    assert {sensor.name for sensor in build_sensors()} == SENSORS["operations"]


def test_ticks_that_were_missed_before_a_start_are_over_when_the_schedule_ticks_again(
    instance: Instance, database: Database
) -> None:
    beat(instance)
    instance.add_schedule("an_own_cron", "*/15 * * * *")
    assert "was never made" in problems(instance, database)["ticks cath/an_own_cron"]

    instance.add_tick("an_own_cron", TickStatus.SUCCESS, NOW - 15 * MINUTE)

    assert problems(instance, database) == {}


def test_alerts_that_nobody_tried_to_tell_are_a_problem(instance: Instance, database: Database) -> None:
    beat(instance)
    alert = Alert(
        kind=Kind.RUN_FAILED, subject="cath/clear_audit", occurrence="1", title="failed", says=(), at=NOW - 2 * HOUR
    )
    AlertStore(database).record([alert])

    assert "2026-11-18 10:00 UTC" in problems(instance, database)["alerts untold"]
    assert "alerts untold" not in problems(instance, database, alert_interval_minutes=180)


def test_what_somebody_has_stopped_is_not_said_to_tick(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_schedule("subscriptions_cron", "0 1 * * *", since=NOW)
    instance.add_schedule("clear_audit_cron", "0 1 * * *", status=InstigatorStatus.STOPPED)

    found = {one.subject: one for one in look_from_outside(instance.dagster, database, AlertSettings(), NOW)}

    assert found["ticks"].message == "1 schedules and sensors tick in time; stopped by somebody: cath/clear_audit_cron"


def test_a_watch_that_somebody_has_stopped_is_said(instance: Instance, database: Database) -> None:
    beat(instance)
    instance.add_instigator("deliver_alerts", InstigatorType.SENSOR, location="operations")
    (state,) = instance.dagster.all_instigator_state()
    instance.dagster.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))

    (found,) = [one for one in look(instance, database) if one.subject == "sensors"]

    assert (found.level, "operations/deliver_alerts" in found.message) == (Level.WARNING, True)
