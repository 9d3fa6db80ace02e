"""Dagster's own history goes past its retention, and what Dagster looks at stays."""

import os
import sys
import time
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterRunStatus

from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.operations.backends import open_backends
from cath_dagster.orchestration.internals.instigators import TickStatus
from tests.operations.instance import NOW, QUEUE_KEY, Instance, run_job
from tests.support.held import hold, let_go
from tests.support.warm import start

ACTIVE = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def clean(instance: Instance, **config: Any) -> RunResult:
    result = run_job(instance, "clean_instance", **config)
    assert result.status is Status.SUCCESS, result.error
    return result


def counts(result: RunResult) -> dict[str, tuple[int, int]]:
    return {one.target: (one.matched, one.deleted) for one in result.outcomes if one.matched or one.deleted}


@pytest.mark.parametrize(
    ("status", "days", "kept"),
    [
        (DagsterRunStatus.SUCCESS, 29.9, True),
        (DagsterRunStatus.SUCCESS, 30.1, False),
        (DagsterRunStatus.CANCELED, 30.1, False),
        (DagsterRunStatus.FAILURE, 89.9, True),
        (DagsterRunStatus.FAILURE, 90.1, False),
    ],
)
def test_a_run_goes_past_the_retention_of_how_it_ended(
    instance: Instance, status: DagsterRunStatus, days: float, *, kept: bool
) -> None:
    run = instance.add_run(status=status, ended_at=days_ago(days))
    newest = instance.add_run()

    clean(instance)

    assert instance.runs() == ({run, newest} if kept else {newest})


def test_a_run_that_ended_exactly_at_the_cutoff_is_kept(instance: Instance) -> None:
    run, newest = instance.add_run(ended_at=days_ago(30)), instance.add_run()

    clean(instance)

    assert instance.runs() == {run, newest}


@pytest.mark.parametrize("status", ACTIVE)
def test_a_run_that_is_not_over_is_kept_however_old_it_is(instance: Instance, status: DagsterRunStatus) -> None:
    run, newest = instance.add_run(status=status, ended_at=days_ago(400)), instance.add_run()

    clean(instance)

    assert instance.runs() == {run, newest}


def test_the_newest_run_of_every_job_is_kept(instance: Instance) -> None:
    gone = instance.add_run("clear_audit", ended_at=days_ago(60))
    kept = {instance.add_run(job, ended_at=days_ago(50)) for job in ("clear_audit", "subscriptions")}

    clean(instance)

    assert instance.runs() == kept
    assert gone not in kept


def test_jobs_of_one_name_in_two_locations_are_two_jobs(instance: Instance) -> None:
    kept = {instance.add_run("cleanup", location=name, ended_at=days_ago(50)) for name in ("cath", "bon")}

    clean(instance)

    assert instance.runs() == kept


def test_the_run_that_made_the_latest_materialisation_of_a_partition_is_kept_whole(instance: Instance) -> None:
    first, second, other, newest = (instance.add_run("media_reporting", ended_at=days_ago(50)) for _ in range(4))
    for run, week in ((first, "2026-01-05"), (second, "2026-01-05"), (other, "2026-01-12")):
        instance.materialise(run, "media_application_report", week, at=days_ago(50))

    clean(instance)

    assert instance.runs() == {second, other, newest}
    assert instance.count("event_logs", f"run_id = '{second}'") == 4
    weeks = instance.dagster.get_materialized_partitions(dg.AssetKey(["cath", "media_application_report"]))
    assert weeks == {"2026-01-05", "2026-01-12"}


def test_the_latest_materialisation_without_a_partition_is_kept_beside_those_with_one(instance: Instance) -> None:
    whole, week, newest = (instance.add_run("media_reporting", ended_at=days_ago(50)) for _ in range(3))
    instance.materialise(whole, "media_application_report", at=days_ago(50))
    instance.materialise(week, "media_application_report", "2026-01-05", at=days_ago(50))

    clean(instance)

    assert instance.runs() == {whole, week, newest}


def test_the_run_of_a_checks_latest_evaluation_is_kept(instance: Instance) -> None:
    first, second, newest = (instance.add_run("refresh_views", ended_at=days_ago(50)) for _ in range(3))
    for run in (first, second):
        instance.evaluate_check(run, "sdp_mat_view_location", "verified", passed=True, at=days_ago(50))

    clean(instance)

    assert instance.runs() == {second, newest}
    assert instance.count("asset_check_executions") == 1


def test_events_tags_and_everything_else_of_a_run_go_with_it(instance: Instance) -> None:
    gone = instance.add_run(ended_at=days_ago(50))
    instance.materialise(gone, "table", at=days_ago(50))
    newest = instance.add_run()
    instance.materialise(newest, "table")

    result = clean(instance)

    assert counts(result)["event_logs"] == (4, 4)
    for table in ("event_logs", "run_tags", "runs"):
        assert instance.count(table, f"run_id = '{gone}'") == 0
        assert instance.count(table, f"run_id = '{newest}'") > 0
    assert instance.count("asset_event_tags") == 1


def test_the_compute_logs_of_a_run_go_with_it_and_those_of_another_stay(instance: Instance) -> None:
    gone, kept = instance.add_run(ended_at=days_ago(50)), instance.add_run()
    logs = [instance.print_log(run) for run in (gone, kept)]

    clean(instance)

    assert [log.exists() for log in logs] == [False, True]


def test_compute_logs_left_by_a_run_that_was_killed_go_with_the_next(instance: Instance) -> None:
    gone = instance.add_run(ended_at=days_ago(50))
    instance.add_run()
    log = instance.print_log(gone)
    blocked = log.parent.parent
    blocked.rename(blocked.with_name("elsewhere"))
    blocked.with_name(gone).write_text("no folder")
    run_job(instance, "clean_instance")
    blocked.with_name(gone).unlink()
    blocked.with_name("elsewhere").rename(blocked)

    # Whether the first could not, or was killed before it did: what is queued is what counts.
    instance.connection.execute(
        "INSERT INTO maintenance.file_outbox (job, path, run_id) VALUES ('clean_instance', %s, 'killed')"
        " ON CONFLICT DO NOTHING",
        [gone],
    )
    clean(instance)

    assert not log.exists()


def test_ticks_go_past_the_retention_of_how_they_ended_and_the_newest_of_each_stays(instance: Instance) -> None:
    for days in (100, 60, 10):
        instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, days_ago(days))
    for days in (100, 60):
        instance.add_tick("clear_audit_cron", TickStatus.FAILURE, days_ago(days - 0.5))
    instance.add_tick("media_reporting_cron", TickStatus.SKIPPED, days_ago(200))

    result = clean(instance)

    assert counts(result)["job_ticks"] == (3, 3)
    assert instance.count("job_ticks") == 3
    assert instance.count("job_ticks", "status = 'FAILURE'") == 1


def test_a_dry_run_tells_exactly_what_a_run_then_deletes(instance: Instance) -> None:
    for days in (100, 50, 40, 1):
        instance.add_run(ended_at=days_ago(days))
    instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, days_ago(60))
    instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, days_ago(1))

    dry = counts(clean(instance, dry_run=True))
    assert instance.count("runs") == 4
    wet = counts(clean(instance))

    assert {name: matched for name, (matched, _) in dry.items()} == {
        name: deleted for name, (_, deleted) in wet.items()
    } | {"files": 3}
    assert wet["runs"] == (3, 3)


def test_a_second_run_changes_nothing(instance: Instance) -> None:
    for days in (50, 40, 1):
        instance.add_run(ended_at=days_ago(days))
    clean(instance)

    assert counts(clean(instance)) == {}


def test_max_rows_stops_after_so_many_runs(instance: Instance) -> None:
    for days in (50, 45, 40, 1):
        instance.add_run(ended_at=days_ago(days))

    result = clean(instance, max_rows=2)

    assert counts(result)["runs"] == (3, 2)
    assert instance.count("runs") == 2


def test_an_empty_instance_is_clean(instance: Instance) -> None:
    assert counts(clean(instance)) == {}


def test_what_is_kept_how_long_is_a_setting(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATIONS_CLEAN_INSTANCE_RETENTION_DAYS", "5")
    instance.add_run(ended_at=days_ago(6))
    newest = instance.add_run()

    clean(instance)

    assert instance.runs() == {newest}


def test_the_guard_refuses_to_take_most_of_the_history_unless_it_is_allowed(instance: Instance) -> None:
    run, _ = instance.add_run(ended_at=days_ago(50)), instance.add_run()
    instance.connection.execute(
        "INSERT INTO event_logs (run_id, event, dagster_event_type)"
        " SELECT %s, '{}', 'ENGINE_EVENT' FROM generate_series(1, 10001)",
        [run],
    )

    refused = run_job(instance, "clean_instance")
    assert refused.status is Status.REFUSED
    assert "allow_large" in (refused.error or "")
    assert instance.count("runs") == 2

    clean(instance, allow_large=True)
    assert instance.count("runs") == 1


@pytest.mark.stack
def test_killed_in_its_midst_it_leaves_no_half_run_and_the_next_finishes(instance: Instance) -> None:
    for _ in range(40):
        instance.add_run(ended_at=days_ago(50))
    instance.add_run()
    whole = {run: instance.count("event_logs", f"run_id = '{run}'") for run in instance.runs()}
    hold(instance.connection, "event_logs", free=60)
    process = start([sys.executable, "-m", "tests.operations.instance"], environ=os.environ)
    try:
        deadline = time.monotonic() + 60
        while instance.count("runs") == len(whole):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    let_go(instance.connection)
    while instance.count(
        "pg_stat_activity", "application_name LIKE 'clean_instance:%' AND datname = current_database()"
    ):
        time.sleep(0.02)

    left = {run: instance.count("event_logs", f"run_id = '{run}'") for run in instance.runs()}
    assert 1 < len(left) < len(whole)
    assert left == {run: whole[run] for run in left}
    assert instance.count("event_logs") == sum(left.values())
    clean(instance)
    assert instance.count("runs") == 1


def test_a_run_that_starts_meanwhile_makes_no_older_run_go_that_it_does_not_supersede(instance: Instance) -> None:
    only = instance.add_run("rare", ended_at=days_ago(300))
    instance.add_run("often", ended_at=days_ago(300))
    instance.add_run("often")

    clean(instance)

    assert only in instance.runs()


def test_a_run_launched_by_dagster_leaves_observations_and_the_schema_is_made_when_it_is_needed(
    instance: Instance,
) -> None:
    from cath_dagster.operations.definitions import defs

    instance.add_run(ended_at=days_ago(50))
    instance.add_run()

    result = defs.resolve_job_def("clean_instance").execute_in_process(
        instance=instance.dagster, run_config={"as_of": NOW.isoformat()} if datetime.now(NOW.tzinfo) > NOW else {}
    )

    assert result.success
    seen = [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    assert {one.asset_key.path[-1] for one in seen} == {"runs", "event_logs", "job_ticks", "purge_ledger"}
    assert result.dagster_run.tags[QUEUE_KEY] == "operations/clean_instance"
    assert DagsterEventType.ASSET_OBSERVATION in {event.event_type for event in result.all_events}


def test_the_history_of_runs_goes_past_its_own_retention_and_what_it_adds_up_to_stays(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_backends(instance.dagster).prepare()
    instance.connection.execute(
        "INSERT INTO operations.scheduled_job (location, name, total_runs) VALUES ('a', 'b', 9)"
    )
    for name, days, status in (
        ("gone", 30.1, "success"), ("exactly", 30, "failed"), ("kept", 29.9, "success"),
        ("skipped", 31, "skipped"), ("going", None, "running"),
    ):  # fmt: skip
        instance.connection.execute(
            "INSERT INTO operations.scheduled_job_history (location, job, run_id, trigger, status, started_at, completed_at)"
            " VALUES ('a', 'b', %s, 'schedule', %s, %s, %s)",
            [name, status, days_ago(99), days_ago(days) if days else None],
        )
    left = "SELECT array_agg(run_id ORDER BY run_id) FROM operations.scheduled_job_history"

    assert run_job(instance, "clean_instance", dry_run=True).outcomes
    assert len(instance.value(left)) == 5
    assert counts(clean(instance))["scheduled_job_history"] == (2, 2)
    assert instance.value(left) == ["exactly", "going", "kept"]
    monkeypatch.setenv("SCHEDULER_HISTORY_RETENTION", "29")
    clean(instance)
    assert instance.value(left) == ["going"]
    assert instance.value("SELECT total_runs FROM operations.scheduled_job") == 9
    monkeypatch.setenv("SCHEDULER_HISTORY_RETENTION", "a month")
    assert "SCHEDULER_HISTORY_RETENTION is 'a month'" in str(run_job(instance, "clean_instance").error)
