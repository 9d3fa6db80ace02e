"""A purge that falls behind is found by what its runs observed of each table."""

from datetime import timedelta
from typing import Any

import dagster as dg
from dagster import DagsterEventType

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.alerts import Alert, AlertSettings
from cath_dagster.operations.store import AlertStore
from cath_dagster.operations.watch.backlogs import watch_backlogs
from cath_dagster.operations.watch.look import Look
from tests.operations.instance import NOW, Instance
from tests.support.dagster_internals import AssetObservationData

DAY = timedelta(days=1)


def look(instance: Instance, database: Database) -> list[Alert]:
    store = AlertStore(database)
    seen = watch_backlogs(Look(instance=instance.dagster, settings=AlertSettings(), store=store, now=NOW))
    store.record(seen.alerts)
    return list(seen.alerts)


def observe(
    instance: Instance,
    days_ago: int,
    *,
    matched: int,
    deleted: int | None,
    age: float,
    job: str = "clear_audit",
    ended: str | None = None,
) -> str:
    """Leave what a run observed of audit_log; a dry run's observation has no `deleted`, that of one that failed says so."""
    at = NOW - days_ago * DAY
    run = instance.add_run(job, ended_at=at, events=0)
    metadata: dict[str, Any] = {"job": job, "rows_matched": matched, "oldest_age_days": age}
    if deleted is not None:
        metadata["rows_deleted"] = deleted
    if ended is not None:
        metadata["ended"] = ended
    seen = dg.AssetObservation(dg.AssetKey(["cath", "audit_log"]), metadata=metadata)
    instance.add_event(run, DagsterEventType.ASSET_OBSERVATION, at=at, data=AssetObservationData(seen))
    return run


def test_a_purge_whose_oldest_row_grows_older_over_three_runs_is_told_with_its_outlook(
    instance: Instance, database: Database
) -> None:
    for days, left, age in ((3, 300, 91.0), (2, 250, 92.0)):
        observe(instance, days, matched=left + 100, deleted=100, age=age)
    assert look(instance, database) == []
    run = observe(instance, 1, matched=300, deleted=100, age=93.0)

    (alert,) = look(instance, database)

    assert alert.fingerprint == "falling_behind:cath/clear_audit:audit_log"
    assert alert.occurrence == run
    assert "from 91.0 to 93.0 days old" in alert.says[0]
    assert "from 300 to 200" in alert.says[0]
    assert alert.says[1] == "At this rate it will have caught up by 2026-11-21."


def test_a_purge_that_will_never_catch_up_is_told_so(instance: Instance, database: Database) -> None:
    for days, matched in ((3, 200), (2, 300), (1, 400)):
        observe(instance, days, matched=matched, deleted=100, age=94.0 - days)

    (alert,) = look(instance, database)

    assert "never catch up" in alert.says[1]


def test_dry_runs_failed_ones_and_other_jobs_on_the_same_table_are_not_counted(
    instance: Instance, database: Database
) -> None:
    for days in (6, 4, 2):
        observe(instance, days, matched=100, deleted=None, age=97.0 - days)
        observe(instance, days, matched=100, deleted=0, age=97.0 - days, ended="failed")
        observe(instance, days - 1, matched=100, deleted=0, age=97.0 - days, job="another")

    assert look(instance, database) == []


def test_a_purge_that_leaves_nothing_is_never_behind(instance: Instance, database: Database) -> None:
    for days in (3, 2, 1):
        observe(instance, days, matched=100, deleted=100, age=20.0 - days)

    assert look(instance, database) == []


def test_that_it_has_caught_up_is_told(instance: Instance, database: Database) -> None:
    for days in (4, 3, 2):
        observe(instance, days, matched=200, deleted=100, age=97.0 - days)
    look(instance, database)
    observe(instance, 1, matched=500, deleted=500, age=90.0)

    (alert,) = look(instance, database)

    assert (alert.is_over, alert.title) == (True, "cath/clear_audit has caught up with audit_log")
