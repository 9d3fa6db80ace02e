"""Events and checks of no run, and backfills that are over, go past their retention; what Dagster goes by stays."""

from datetime import datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from cath_dagster.core.model.outcome import Status
from tests.operations.instance import NOW, Instance, run_job
from tests.support.dagster_internals import (
    BulkActionStatus,
    FreshnessState,
    FreshnessStateChange,
    PartitionBackfill,
    report_runless,
)

VIEW = dg.AssetKey(["cath", "sdp_mat_view_pi_user"])
REPORT = dg.AssetKey(["cath", "media_application_report"])


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def clean(instance: Instance) -> None:
    # A run of another job, so that there is something that owns events.
    instance.add_run(status=DagsterRunStatus.SUCCESS, ended_at=NOW, events=1)
    result = run_job(instance, "clean_instance", allow_large=True)
    assert result.status is Status.SUCCESS, result.error


def age_events(instance: Instance, days: float) -> None:
    at = days_ago(days).replace(tzinfo=None)
    instance.connection.execute("UPDATE event_logs SET timestamp = %s WHERE run_id = ''", [at])
    instance.connection.execute("UPDATE asset_check_executions SET create_timestamp = %s WHERE run_id = ''", [at])


def change_freshness(instance: Instance, times: int, key: dg.AssetKey = VIEW) -> None:
    for number in range(times):
        state = FreshnessState.FAIL if number % 2 else FreshnessState.PASS
        report_runless(
            instance.dagster,
            FreshnessStateChange(
                key=key, previous_state=FreshnessState.UNKNOWN, new_state=state, state_change_timestamp=float(number)
            ),
        )


def test_changes_of_freshness_go_but_for_the_newest_of_each_asset(instance: Instance) -> None:
    change_freshness(instance, 20)
    change_freshness(instance, 3, REPORT)
    age_events(instance, 31)

    clean(instance)

    kept = instance.connection.execute(
        "SELECT asset_key, count(*), bool_and(id IN (SELECT max(id) FROM event_logs WHERE run_id = '' GROUP BY asset_key))"
        " FROM event_logs WHERE run_id = '' GROUP BY asset_key"
    ).fetchall()
    assert [(count, is_newest) for _, count, is_newest in kept] == [(1, True), (1, True)]


@pytest.mark.parametrize(("days", "kept"), [(29.9, 5), (30.1, 1)])
def test_they_are_kept_as_long_as_runs_are(instance: Instance, days: float, kept: int) -> None:
    change_freshness(instance, 5)
    age_events(instance, days)

    clean(instance)

    assert instance.count("event_logs", "run_id = ''") == kept


def test_weeks_that_somebody_reported_stay_reported(instance: Instance) -> None:
    weeks = ("2026-01-05", "2026-01-12", "2026-01-12")
    for week in weeks:
        instance.dagster.report_runless_asset_event(dg.AssetMaterialization(REPORT, partition=week))
    age_events(instance, 400)

    clean(instance)

    assert instance.dagster.get_materialized_partitions(REPORT) == set(weeks)
    assert instance.count("event_logs", "run_id = '' AND dagster_event_type = 'ASSET_MATERIALIZATION'") == 2


def test_the_newest_execution_of_a_check_stays_with_its_event(instance: Instance) -> None:
    for passed in (False, False, True):
        instance.dagster.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=VIEW, check_name="counts", passed=passed, metadata={})
        )
    age_events(instance, 400)

    clean(instance)

    (record,) = instance.dagster.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(VIEW, "counts"), limit=10
    )
    assert record.event is not None
    evaluation = record.event.dagster_event
    assert evaluation is not None
    assert evaluation.asset_check_evaluation_data.passed


def test_events_that_a_deleted_run_left_behind_go(instance: Instance) -> None:
    run = instance.add_run(ended_at=days_ago(40), events=3)
    instance.connection.execute("DELETE FROM runs WHERE run_id = %s", [run])

    clean(instance)

    assert instance.count("event_logs", f"run_id = '{run}'") == 0


def test_events_of_a_run_that_is_there_do_not_go_by_themselves(instance: Instance) -> None:
    run = instance.add_run(status=DagsterRunStatus.STARTED, ended_at=days_ago(400), events=3)

    clean(instance)

    assert instance.count("event_logs", f"run_id = '{run}'") == 3


@pytest.mark.parametrize(
    ("status", "days", "kept"),
    [
        (BulkActionStatus.COMPLETED_SUCCESS, 91, False),
        (BulkActionStatus.FAILED, 91, False),
        (BulkActionStatus.COMPLETED_SUCCESS, 89, True),
        (BulkActionStatus.REQUESTED, 400, True),
    ],
)
def test_a_backfill_that_is_over_goes_with_its_tags(
    instance: Instance, status: BulkActionStatus, days: int, *, kept: bool
) -> None:
    instance.dagster.add_backfill(
        PartitionBackfill(
            backfill_id="old", status=status, from_failure=False, tags={"a": "b"}, backfill_timestamp=days_ago(days).timestamp(),
            asset_selection=[REPORT], serialized_asset_backfill_data="{}",
        )
    )  # fmt: skip

    clean(instance)

    assert (instance.count("bulk_actions"), instance.count("backfill_tags")) == ((1, 1) if kept else (0, 0))


def test_a_dry_run_counts_what_a_run_deletes(instance: Instance) -> None:
    change_freshness(instance, 20)
    age_events(instance, 31)

    planned = run_job(instance, "clean_instance", dry_run=True)
    done = run_job(instance, "clean_instance", allow_large=True)

    matched = {one.target: one.matched for one in planned.outcomes if one.matched}
    assert matched == {one.target: one.deleted for one in done.outcomes if one.deleted} == {"event_logs": 19}
