"""The monitor: what was killed is closed, what was never written is, and the registry is as code and orchestrator have it."""

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterRunStatus

from cath_dagster.core.history.liveness import hold_alive
from cath_dagster.core.history.writing import begin, end
from cath_dagster.core.model.schedule import Cron, Every
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations.backends import open_backends
from cath_dagster.operations.scheduler import closing, monitor
from cath_dagster.operations.scheduler.closing import close_ended, close_lost
from cath_dagster.operations.scheduler.monitor import Cursor, look
from cath_dagster.operations.scheduler.registration import mirror, next_run
from cath_dagster.operations.scheduler.ticking import record_missed, record_skipped
from cath_dagster.orchestration.dependencies import WAITS
from cath_dagster.orchestration.internals.instigators import InstigatorState, InstigatorType, TickStatus
from cath_dagster.orchestration.states import read_states
from cath_dagster.registry import all_specs, find_spec
from tests.operations.instance import NOW, Instance
from tests.operations.test_history import BEGUN, ended, job, rows, totals
from tests.operations.test_sensors import evaluate
from tests.support.dagster_internals import (
    InstigatorStatus,
    JobFailureData,
    RunFailureReason,
    SensorInstigatorData,
    StepFailureData,
    UserFailureData,
)

SINCE = NOW - timedelta(days=1)


def states(instance: Instance) -> dict[tuple[str, str], InstigatorState]:
    return read_states(instance.dagster)


def registered(instance: Instance, database: Database, *specs: JobSpec, now: datetime = NOW) -> None:
    database.transaction(lambda connection: mirror(connection, specs or all_specs(), states(instance), now=now))


def fail(instance: Instance, run_id: str, *, says: str, **metadata: Any) -> None:
    """Have a run say why it failed, as one of ours does."""
    said = UserFailureData(says, description=says, metadata=metadata)  # type: ignore[no-untyped-call]
    data = StepFailureData(None, said)  # type: ignore[no-untyped-call]
    instance.add_event(run_id, DagsterEventType.STEP_FAILURE, at=NOW, data=data)


# Closing


def test_runs_that_nobody_wrote_down_are_written_from_what_dagster_keeps(
    instance: Instance, database: Database
) -> None:
    schedule = {"dagster/schedule_name": "clear_audit_cron"}
    instance.add_run(tags=schedule, ended_at=NOW - timedelta(minutes=5))
    refused = instance.add_run(status=DagsterRunStatus.FAILURE, ended_at=NOW - timedelta(minutes=4))
    fail(instance, refused, says="refused: too much")
    instance.add_run(status=DagsterRunStatus.CANCELED, ended_at=NOW - timedelta(minutes=3))
    lost = instance.add_run(status=DagsterRunStatus.FAILURE, ended_at=NOW - timedelta(minutes=2))
    instance.add_event(
        lost, DagsterEventType.RUN_FAILURE, at=NOW, data=JobFailureData(None, RunFailureReason.UNEXPECTED_TERMINATION)
    )
    instance.add_run(
        status=DagsterRunStatus.FAILURE, ended_at=NOW - timedelta(minutes=1), tags={"dagster/max_runtime": "60"}
    )
    instance.add_run("somebody_elses", location="elsewhere")
    instance.add_run(status=DagsterRunStatus.STARTED)

    looked = close_ended(instance.dagster, database, SINCE)

    assert looked.count == 5
    assert rows(instance, "trigger, status, duration_ms") == [
        ("schedule", "success", 60_000), ("manual", "failed", 60_000), ("manual", "canceled", 60_000),
        ("manual", "failed", 60_000), ("manual", "timeout", 60_000),
    ]  # fmt: skip
    assert totals(instance) == (5, 3, 60_000)
    (errors,) = zip(*rows(instance, "error"), strict=True)
    assert errors[0] is None
    assert errors[1] == "refused: too much"
    assert "unexpected termination" in errors[3]
    # A look that was killed before its cursor moved finds it done.
    assert close_ended(instance.dagster, database, SINCE).count == 0
    assert totals(instance) == (5, 3, 60_000)


def test_a_run_says_in_its_metadata_that_it_was_refused_and_what_it_did(instance: Instance, database: Database) -> None:
    run = instance.add_run(status=DagsterRunStatus.FAILURE)
    table = dg.MetadataValue.table(
        [dg.TableRecord({"target": "audit_log", "matched": 3, "deleted": 0, "seconds": 0.1})]
    )
    fail(instance, run, says="refused: too much", status=dg.MetadataValue.text("refused"), outcomes=table)

    close_ended(instance.dagster, database, SINCE)

    assert rows(instance, "status, outcomes") == [("refused", [{"target": "audit_log", "matched": 3, "seconds": 0.1}])]


def test_a_run_of_dagsters_that_was_killed_between_its_row_and_its_end_is_closed_by_what_dagster_says(
    instance: Instance, database: Database
) -> None:
    for status, expected in (
        (DagsterRunStatus.FAILURE, "failed"), (DagsterRunStatus.CANCELED, "canceled"), (DagsterRunStatus.SUCCESS, "success"),
    ):  # fmt: skip
        run = instance.add_run(status=status)
        database.transaction(partial(begin, begun=replace(BEGUN, run_id=run)))

        # Its last change is long ago: it is found by its row.
        close_lost(instance.dagster, database, NOW)

        assert rows(instance, "status")[-1] == (expected,)
    going = instance.add_run(status=DagsterRunStatus.STARTED)
    database.transaction(lambda connection: begin(connection, replace(BEGUN, run_id=going)))
    assert close_lost(instance.dagster, database, NOW) == 0


def test_a_run_that_was_broken_off_from_outside_was_cancelled_only_if_dagster_says_so(
    instance: Instance, database: Database
) -> None:
    ids = [
        instance.add_run(status=status, tags={"dagster/max_runtime": allowed})
        for status, allowed in (
            (DagsterRunStatus.CANCELED, "99"), (DagsterRunStatus.FAILURE, "60"), (DagsterRunStatus.FAILURE, "99"),
        )
    ]  # fmt: skip
    for run in ids:
        begun = replace(BEGUN, run_id=run)
        database.transaction(partial(end, begun=begun, ended=ended("canceled")))

    close_ended(instance.dagster, database, SINCE)

    assert dict(rows(instance, "run_id, status")) == dict(zip(ids, ("canceled", "timeout", "failed"), strict=True))
    assert totals(instance)[:2] == (3, 2)


def test_a_run_of_the_command_line_is_lost_when_its_session_is_gone_and_not_before(
    instance: Instance, database: Database
) -> None:
    run_id = str(uuid.uuid4())
    database.transaction(lambda connection: begin(connection, replace(BEGUN, run_id=run_id, trigger="cli")))
    with Database(open_backends(instance.dagster).engine("history")) as session:
        session.transaction(partial(hold_alive, run_id=run_id))
        assert close_lost(instance.dagster, database, NOW) == 0
        assert rows(instance, "status") == [("running",)]

    assert close_lost(instance.dagster, database, NOW + timedelta(seconds=5)) == 1

    ((status, error, milliseconds),) = rows(instance, "status, error, duration_ms")
    assert (status, milliseconds) == ("failed", 5_000)
    assert error.startswith("lost")
    assert job(instance)["last_error"] == error
    assert close_lost(instance.dagster, database, NOW) == 0


# The registry


def test_the_registry_is_as_the_code_has_it_and_what_vanished_stays_marked(
    instance: Instance, database: Database
) -> None:
    registered(instance, database)
    names = {f"{location}/{name}" for location, name in instance.connection.execute(
        "SELECT location, name FROM operations.scheduled_job WHERE registered"
    )}  # fmt: skip
    assert names == {spec.key for spec in all_specs()}

    kept = [spec for spec in all_specs() if spec.key != "cath/clear_audit"]
    registered(instance, database, *kept)

    gone = job(instance)
    assert (gone["registered"], gone["enabled"], gone["next_run_at"], gone["unregistered_at"]) == (
        False,
        None,
        None,
        NOW,
    )
    registered(instance, database)
    assert (job(instance)["registered"], job(instance)["unregistered_at"]) == (True, None)


def test_a_job_that_has_another_name_now_takes_its_history_with_it(instance: Instance, database: Database) -> None:
    old = find_spec("cath/clear_audit")
    registered(instance, database, old)
    database.transaction(partial(end, begun=BEGUN, ended=ended()))
    new = replace(old, name="audit_cleanup", formerly=("purge_audit", "clear_audit"))

    for _ in range(2):
        registered(instance, database, new)

    assert rows(instance, "job") == [("audit_cleanup",)]
    assert (job(instance, "audit_cleanup")["total_runs"], instance.count("operations.scheduled_job")) == (1, 1)


def test_where_no_tick_asks_for_a_run_nothing_runs_next_and_what_is_on_stays_on(
    instance: Instance, database: Database
) -> None:
    instance.add_schedule("clear_audit_cron", "0 1 * * *")

    database.transaction(
        lambda connection: mirror(connection, all_specs(), states(instance), now=NOW, is_scheduling=False)
    )

    assert (job(instance)["enabled"], job(instance)["next_run_at"]) == (True, None)


def test_what_is_so_already_is_not_written_again(instance: Instance, database: Database) -> None:
    count = "SELECT sum(n_tup_upd) FROM pg_stat_xact_user_tables WHERE relname = 'scheduled_job'"
    registered(instance, database)

    def again(connection: Any) -> int:
        mirror(connection, all_specs(), states(instance), now=NOW)
        return int(connection.exec_driver_sql(count).scalar())

    assert database.transaction(again) == 0


@pytest.mark.parametrize(
    ("status", "enabled"),
    [
        (InstigatorStatus.RUNNING, True),
        (InstigatorStatus.DECLARED_IN_CODE, True),
        (InstigatorStatus.STOPPED, False),
        (None, False),
    ],
)
def test_enabled_is_what_dagster_says(
    instance: Instance, database: Database, status: InstigatorStatus | None, *, enabled: bool
) -> None:
    if status is not None:
        instance.add_schedule("clear_audit_cron", "0 1 * * *", status=status)

    registered(instance, database)

    found = job(instance)
    assert found["enabled"] is enabled
    assert found["next_run_at"] == (datetime(2026, 11, 19, 1, tzinfo=UTC) if enabled else None)
    assert (found["schedule"], found["timezone"], found["owner"]) == (
        "0 1 * * *",
        "UTC",
        find_spec("clear_audit").owner,
    )


@pytest.mark.parametrize(
    ("now", "cron", "expected"),
    [
        # Israel sets its clocks back from 2:00 to 1:00 on 2026-10-25: a repeated hour runs once.
        ("2026-10-24T20:00+00:00", "30 1 * * *", "2026-10-24T23:30+00:00"),
        ("2026-10-24T23:45+00:00", "30 1 * * *", "2026-10-25T23:30+00:00"),
        # On 2026-03-27 2:00 to 3:00 does not exist: it runs late.
        ("2026-03-26T20:00+00:00", "30 2 * * *", "2026-03-27T00:00+00:00"),
    ],
)
def test_the_next_run_of_a_cron_is_that_of_dagster_over_clock_changes(now: str, cron: str, expected: str) -> None:
    spec = replace(find_spec("bon/draft_cleanup"), schedule=Cron(cron))
    at = next_run(spec, None, datetime.fromisoformat(now))

    assert at is not None
    assert at == datetime.fromisoformat(expected)


def test_the_next_run_of_an_interval_is_one_after_the_last_look_and_now_where_that_has_passed(
    instance: Instance,
) -> None:
    spec = replace(find_spec("cath/clear_audit"), schedule=Every(timedelta(minutes=5)))
    instance.add_instigator("x", InstigatorType.SENSOR)
    (state,) = states(instance).values()
    last = state.with_data(SensorInstigatorData(last_tick_timestamp=NOW.timestamp()))

    assert next_run(spec, last, NOW + timedelta(minutes=1)) == NOW + timedelta(minutes=5)
    assert next_run(spec, last, NOW + timedelta(minutes=9)) == NOW + timedelta(minutes=9)
    assert next_run(spec, state, NOW) == NOW


# Ticks


def ticked(
    instance: Instance, minutes: Sequence[float], *, reason: str | None = None, name: str = "clear_audit_cron"
) -> None:
    for minute in minutes:
        status = TickStatus.SKIPPED if reason else TickStatus.SUCCESS
        instance.add_tick(name, status, NOW + timedelta(minutes=minute), skip_reason=reason)


def test_skipped_ticks_are_in_the_history_once_with_how_many_they_were_and_nothing_due_is_not(
    instance: Instance, database: Database
) -> None:
    instance.add_schedule("clear_audit_cron", "* * * * *")
    ticked(instance, [0, 1], reason="run x of cath/clear_audit is started; this tick is skipped")
    ticked(instance, [2], reason="nothing is missing")
    ticked(instance, [3])
    for _ in range(2):
        record_skipped(instance.dagster, database, [find_spec("clear_audit")], states(instance), NOW, NOW)
    ticked(instance, [4], reason="run x of cath/clear_audit is started; this tick is skipped")

    assert record_skipped(instance.dagster, database, [find_spec("clear_audit")], states(instance), NOW, NOW) == 1

    ((status, count, error, trigger, completed_at),) = rows(
        instance, "status, skipped_ticks, error, trigger, completed_at"
    )
    assert (status, count, trigger, completed_at) == ("skipped", 3, "schedule", NOW + timedelta(minutes=4))
    assert error.startswith("run x of")
    ticked(instance, [5], reason="cath/clear_audit is held by ada@example.org until then: ring bob@example.org")
    record_skipped(instance.dagster, database, [find_spec("clear_audit")], states(instance), NOW, NOW)
    assert rows(instance, "error")[-1] == ("cath/clear_audit is held by (an address) until then: ring (an address)",)


def test_a_tick_that_waits_for_another_job_is_skipped_once_it_has_waited_in_vain(
    instance: Instance, database: Database
) -> None:
    spec = replace(find_spec("clear_audit"), after=("cath/subscriptions",), after_within=timedelta(hours=1))
    instance.add_schedule("clear_audit_cron", "* * * * *")
    ticked(instance, [0, 300], reason=f"{WAITS}then for cath/subscriptions: no success since the job's last run")
    launched = replace(BEGUN, trigger="dependency", started_at=NOW + timedelta(minutes=330))
    database.transaction(partial(begin, begun=launched))

    def recorded(minutes: float) -> int:
        now = NOW + timedelta(minutes=minutes)
        since = now - timedelta(minutes=1)
        return record_skipped(instance.dagster, database, [spec], states(instance), since, now)

    assert [recorded(minutes) for minutes in (1, 64, 66, 67, 301, 366)] == [0, 0, 1, 0, 0, 0]


def test_ticks_that_nobody_made_are_counted_on_the_first_run_after_the_pause(
    instance: Instance, database: Database
) -> None:
    hourly = replace(find_spec("clear_audit"), schedule=Cron("0 * * * *"))
    instance.add_schedule("clear_audit_cron", "0 * * * *", since=NOW - timedelta(days=2))
    ticked(instance, [-26 * 60, -25 * 60, -20 * 60, 0, 60])

    for hour in (-25, -20, 0, 1):
        begun = replace(BEGUN, run_id=str(hour), started_at=NOW + timedelta(hours=hour, seconds=2))
        database.transaction(partial(begin, begun=begun))
    found = record_missed(database, [hourly], states(instance), NOW)

    assert rows(instance, "run_id, missed_ticks") == [("-25", 0), ("-20", 0), ("0", 19), ("1", 0)]
    assert found == 1
    assert record_missed(database, [hourly], states(instance), NOW) == 0


def test_what_somebody_had_stopped_missed_nothing(instance: Instance, database: Database) -> None:
    hourly = replace(find_spec("clear_audit"), schedule=Cron("0 * * * *"))
    instance.add_schedule("clear_audit_cron", "0 * * * *", since=NOW - timedelta(hours=3, minutes=30))
    ticked(instance, [-20 * 60, -60])
    database.transaction(lambda connection: begin(connection, replace(BEGUN, started_at=NOW - timedelta(minutes=59))))

    record_missed(database, [hourly], states(instance), NOW - timedelta(minutes=30))

    # Started again at 8:30: the ticks of 9:00 and 10:00 were missed, those of the night were not.
    assert rows(instance, "missed_ticks") == [(2,)]


def test_an_interval_that_was_looked_at_late_missed_nothing_and_after_a_pause_it_did(
    instance: Instance, database: Database
) -> None:
    spec = replace(find_spec("clear_audit"), schedule=Every(timedelta(minutes=5)))
    instance.add_instigator(spec.schedule_name, InstigatorType.SENSOR)
    for minute in (-30, -25, -19, -14, 0):
        instance.add_tick(
            spec.schedule_name, TickStatus.SKIPPED, NOW + timedelta(minutes=minute), kind=InstigatorType.SENSOR,
            skip_reason="nothing is due",
        )  # fmt: skip
    instance.add_tick(
        spec.schedule_name, TickStatus.SUCCESS, NOW + timedelta(minutes=40), kind=InstigatorType.SENSOR, run_ids=["r"]
    )
    database.transaction(lambda connection: begin(connection, replace(BEGUN, started_at=NOW + timedelta(minutes=41))))

    record_missed(database, [spec], states(instance), NOW)

    assert rows(instance, "missed_ticks") == [(7,)]


# The sensor


def test_the_monitor_goes_on_where_it_was_and_a_killed_look_is_done_again(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.add_run(ended_at=datetime.now(UTC))

    def killed(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(closing, "end", killed)
        with pytest.raises(KeyboardInterrupt):
            evaluate(instance, monitor.MONITOR)
    assert instance.count("operations.scheduled_job_history") == 0

    said, cursor = evaluate(instance, monitor.MONITOR)

    assert said == "1 runs written or closed"
    assert cursor is not None
    assert set(json.loads(cursor)) == {"runs", "ticks"}
    assert evaluate(instance, monitor.MONITOR, cursor)[0] == "nothing new"
    assert instance.count("operations.scheduled_job", "registered") == len(all_specs())


def test_a_look_at_an_instance_with_nothing_new_is_cheap(instance: Instance, database: Database) -> None:
    for spec in all_specs():
        if spec.cron:
            instance.add_schedule(spec.schedule_name, spec.cron, location=spec.location.name)
    cursor = look(instance.dagster, database, Cursor.read(None, NOW), NOW)[1]

    started = time.process_time()
    look(instance.dagster, database, cursor, NOW)

    assert time.process_time() - started < 0.5
