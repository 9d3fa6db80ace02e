"""Ticks that failed, and jobs that should have run and did not."""

from datetime import UTC, datetime, timedelta

import pytest

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.alerts import Alert, AlertSettings
from cath_dagster.operations.store import AlertStore
from cath_dagster.operations.watch.look import Look, Watch
from cath_dagster.operations.watch.ticks import watch_schedules, watch_ticks
from cath_dagster.orchestration.internals.instigators import InstigatorType, TickStatus
from tests.operations.instance import NOW, Instance
from tests.support.dagster_internals import InstigatorStatus

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TICK = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
"""The last tick of `clear_audit` before `NOW`."""
SKIP = "run 1 of cath/clear_audit is started; this tick is skipped"


def look(
    instance: Instance,
    database: Database,
    watch: Watch,
    *,
    now: datetime = NOW,
    cursor: datetime | None = None,
    **settings: object,
) -> list[Alert]:
    store = AlertStore(database)
    seen = watch(
        Look(
            instance=instance.dagster,
            settings=AlertSettings(**settings),
            store=store,
            now=now,
            cursor=cursor.isoformat() if cursor else None,
        )
    )
    store.record(seen.alerts)
    return list(seen.alerts)


@pytest.mark.parametrize("kind", [InstigatorType.SCHEDULE, InstigatorType.SENSOR])
def test_a_failed_tick_is_told_without_its_message(
    instance: Instance, database: Database, kind: InstigatorType
) -> None:
    instance.add_instigator("something", kind)
    instance.add_tick("something", TickStatus.FAILURE, NOW - MINUTE, kind=kind, error="password of ada@example.com")

    (alert,) = look(instance, database, watch_ticks)

    assert alert.fingerprint == "tick_failed:cath/something"
    assert "RuntimeError" in alert.says[0]
    assert "example.com" not in str(alert)
    assert (alert.path or "").endswith(f"/{kind.value.lower()}s/something")


@pytest.mark.parametrize("status", [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.STARTED])
def test_a_tick_that_did_not_fail_is_no_alert(instance: Instance, database: Database, status: TickStatus) -> None:
    instance.add_schedule("clear_audit_cron", "0 1 * * *")
    instance.add_tick("clear_audit_cron", status, NOW - MINUTE)

    assert look(instance, database, watch_ticks) == []


def test_ticks_of_what_somebody_stopped_are_nobodys_concern(instance: Instance, database: Database) -> None:
    instance.add_schedule("clear_audit_cron", "0 1 * * *", status=InstigatorStatus.STOPPED)
    instance.add_tick("clear_audit_cron", TickStatus.FAILURE, NOW - MINUTE)

    assert look(instance, database, watch_ticks) == []
    assert look(instance, database, watch_schedules) == []


def test_the_failure_of_telling_is_not_told(instance: Instance, database: Database) -> None:
    instance.add_instigator("deliver_alerts", InstigatorType.SENSOR, location="operations")
    instance.add_tick(
        "deliver_alerts", TickStatus.FAILURE, NOW - MINUTE, kind=InstigatorType.SENSOR, location="operations"
    )

    assert look(instance, database, watch_ticks) == []


def test_that_ticks_end_well_again_is_told(instance: Instance, database: Database) -> None:
    instance.add_schedule("clear_audit_cron", "*/5 * * * *")
    instance.add_tick("clear_audit_cron", TickStatus.FAILURE, NOW - 2 * MINUTE)
    look(instance, database, watch_ticks)
    instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, NOW + 3 * MINUTE)

    (alert,) = look(instance, database, watch_ticks, now=NOW + 10 * MINUTE, cursor=NOW + 9 * MINUTE)

    assert (alert.is_over, alert.title) == (True, "cath/clear_audit_cron ticks again")


def test_a_tick_that_was_never_made_is_told_once_it_is_late(instance: Instance, database: Database) -> None:
    instance.add_schedule("clear_audit_cron", "0 1 * * *")

    assert look(instance, database, watch_schedules, now=TICK + 14 * MINUTE, cursor=TICK - MINUTE) == []
    (alert,) = look(instance, database, watch_schedules, now=TICK + 16 * MINUTE, cursor=TICK - MINUTE)

    assert alert.fingerprint == "did_not_run:cath/clear_audit_cron"
    assert "2026-11-18 01:00 UTC" in alert.says[0]


def test_a_tick_that_was_made_late_was_made(instance: Instance, database: Database) -> None:
    instance.add_schedule("clear_audit_cron", "0 1 * * *")
    # Dagster keeps the time it was meant for, whenever it makes it.
    instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, TICK)

    assert look(instance, database, watch_schedules, now=TICK + 20 * MINUTE, cursor=TICK - MINUTE) == []


def test_of_the_ticks_that_a_dead_daemon_missed_all_but_the_latest_are_told_as_one(
    instance: Instance, database: Database
) -> None:
    instance.add_schedule("an_own_cron", "0 * * * *")
    instance.add_tick("an_own_cron", TickStatus.SUCCESS, NOW - 6 * HOUR)
    instance.add_tick("an_own_cron", TickStatus.SUCCESS, NOW)

    (alert,) = look(instance, database, watch_schedules, now=NOW + HOUR / 2, cursor=NOW - 6 * HOUR)

    assert (
        "The tick of 2026-11-18 11:00 UTC was never made, and 4 before it since 2026-11-18 07:00 UTC" in alert.says[0]
    )


def test_a_schedule_that_was_started_today_missed_nothing_before(instance: Instance, database: Database) -> None:
    instance.add_schedule("clear_audit_cron", "0 1 * * *", since=TICK + HOUR)

    assert look(instance, database, watch_schedules) == []


def test_a_schedule_ticks_in_the_zone_of_its_location(
    instance: Instance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from cath_dagster.operations.watch import ticks
    from cath_dagster.registry import all_specs

    there = [replace(spec, location=replace(spec.location, own_timezone="Asia/Jerusalem")) for spec in all_specs()]
    monkeypatch.setattr(ticks, "all_specs", lambda: there)
    instance.add_schedule("clear_audit_cron", "0 1 * * *")
    instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, TICK - 2 * HOUR)

    assert look(instance, database, watch_schedules) == []


def test_a_job_skipped_three_times_in_a_row_is_told_with_the_run_that_stands_in_its_way(
    instance: Instance, database: Database
) -> None:
    instance.add_schedule("an_own_cron", "0 * * * *", since=NOW - 3 * HOUR)
    for hours in (2, 1):
        instance.add_tick("an_own_cron", TickStatus.SKIPPED, NOW - hours * HOUR, skip_reason=SKIP)
    assert look(instance, database, watch_schedules, now=NOW - MINUTE) == []
    instance.add_tick("an_own_cron", TickStatus.SKIPPED, NOW, skip_reason=SKIP)

    (alert,) = look(instance, database, watch_schedules, now=NOW + MINUTE)

    assert alert.title == "cath/an_own_cron was skipped 3 times in a row"
    assert "run 1 of cath/clear_audit is started" in alert.says[0]


@pytest.mark.parametrize("last", [TickStatus.SUCCESS, TickStatus.FAILURE])
def test_skips_that_something_came_between_are_not_in_a_row(
    instance: Instance, database: Database, last: TickStatus
) -> None:
    instance.add_schedule("an_own_cron", "0 * * * *", since=NOW - 4 * HOUR)
    for hours in (3, 2, 0):
        instance.add_tick("an_own_cron", TickStatus.SKIPPED, NOW - hours * HOUR, skip_reason=SKIP)
    instance.add_tick("an_own_cron", last, NOW - HOUR)

    assert look(instance, database, watch_schedules, now=NOW + MINUTE) == []


def test_a_job_that_has_nothing_to_do_may_be_skipped_for_ever(instance: Instance, database: Database) -> None:
    instance.add_schedule("media_reporting_cron", "0 * * * *", since=NOW - 4 * HOUR)
    for hours in range(4):
        instance.add_tick(
            "media_reporting_cron", TickStatus.SKIPPED, NOW - hours * HOUR, skip_reason="nothing is missing"
        )

    assert look(instance, database, watch_schedules, now=NOW + MINUTE) == []


def test_that_a_job_runs_again_is_told(instance: Instance, database: Database) -> None:
    instance.add_schedule("clear_audit_cron", "0 1 * * *")
    look(instance, database, watch_schedules, now=TICK + HOUR, cursor=TICK - MINUTE)
    instance.add_tick("clear_audit_cron", TickStatus.SUCCESS, TICK + DAY)

    (alert,) = look(instance, database, watch_schedules, now=TICK + DAY + HOUR, cursor=TICK + DAY)

    assert (alert.is_over, alert.title) == (True, "cath/clear_audit_cron runs again")


def test_a_cron_that_was_changed_is_expected_as_it_is_now(instance: Instance, database: Database) -> None:
    # Dagster keeps the cron under which it first saw a schedule.
    instance.add_schedule("clear_audit_cron", "0 11 * * *")

    assert look(instance, database, watch_schedules, cursor=NOW - 2 * HOUR) == []
