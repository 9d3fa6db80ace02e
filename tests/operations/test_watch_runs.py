"""A failed run is told once, at the end of its retries, in words that are ours; and that its job works again."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType, DagsterRunStatus

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.alerts import Alert, AlertSettings
from cath_dagster.operations.store import AlertStore
from cath_dagster.operations.watch.look import Look
from cath_dagster.operations.watch.runs import watch_runs
from cath_dagster.orchestration.internals.instigators import SerializableErrorInfo
from cath_dagster.registry import find_spec
from tests.operations.instance import NOW, Instance
from tests.support.dagster_internals import JobFailureData, RunFailureReason, StepFailureData, UserFailureData

FAILURE, SUCCESS = DagsterRunStatus.FAILURE, DagsterRunStatus.SUCCESS
MINUTE = timedelta(minutes=1)
FINAL = {"dagster/will_retry": "false"}


def look(instance: Instance, database: Database, *, now: datetime = NOW, cursor: str | None = None) -> list[Alert]:
    """Look once, and record what was found."""
    store = AlertStore(database)
    seen = watch_runs(Look(instance=instance.dagster, settings=AlertSettings(), store=store, now=now, cursor=cursor))
    store.record(seen.alerts)
    return list(seen.alerts)


def fail_step(
    instance: Instance, run_id: str, description: str | None = None, *, error: str = "", **metadata: Any
) -> None:
    """Leave the failure of a run's step: of our own making with a description, else an error that nobody foresaw."""
    user = (
        UserFailureData(  # type: ignore[no-untyped-call]
            "failure", description, _normalised(metadata)
        )
        if description
        else None
    )
    cause = SerializableErrorInfo(error or "Failure", [], "KeyError" if error else "Failure")
    wrapper = SerializableErrorInfo("Error in step", [], "DagsterExecutionStepExecutionError", cause)
    failed = StepFailureData(error=wrapper, user_failure_data=user)  # type: ignore[no-untyped-call]
    instance.add_event(run_id, DagsterEventType.STEP_FAILURE, at=NOW, data=failed)


def _normalised(metadata: dict[str, Any]) -> dict[str, Any]:
    return dict(dg.AssetObservation("x", metadata=metadata).metadata)


def outcome(target: str, **counts: int) -> dg.TableRecord:
    return dg.TableRecord({"target": target, "matched": 0, "deleted": 0, "failed": 0, **counts})


def test_a_failed_run_is_told_with_its_link(instance: Instance, database: Database) -> None:
    run = instance.add_run("clear_audit", FAILURE, tags=FINAL)

    (alert,) = look(instance, database)

    assert (alert.fingerprint, alert.title) == ("run_failed:cath/clear_audit", "cath/clear_audit failed")
    assert alert.path == f"/runs/{run}"


@pytest.mark.parametrize("status", [SUCCESS, DagsterRunStatus.CANCELED, DagsterRunStatus.STARTED])
def test_a_run_that_did_not_fail_is_no_alert(instance: Instance, database: Database, status: DagsterRunStatus) -> None:
    instance.add_run("clear_audit", status)

    assert look(instance, database) == []


def test_it_tells_why_and_what_was_left_undone(instance: Instance, database: Database) -> None:
    run = instance.add_run("clear_audit", FAILURE, tags=FINAL)
    records = [
        outcome("audit_log", matched=9_000, deleted=2_000),
        outcome("mail", failed=3),
        outcome("files", matched=4, deleted=4),
    ]
    fail_step(
        instance, run, "failed: 3 messages could not be sent", status="failed", outcomes=dg.MetadataValue.table(records)
    )

    (alert,) = look(instance, database)

    assert alert.says[:3] == (
        "failed: 3 messages could not be sent",
        "Left undone: 7,000 of 9,000 due in audit_log.",
        "Left undone: 3 in mail.",
    )
    assert alert.says[3].startswith("The next tick, at 2026-11-19 01:00 UTC")


def test_of_a_job_without_a_schedule_no_tick_is_foretold(
    instance: Instance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(find_spec("cath/clear_audit"), schedule=None)
    monkeypatch.setattr("cath_dagster.operations.watch.runs.spec_of", {spec.key: spec}.get)
    run = instance.add_run("clear_audit", FAILURE, tags=FINAL)
    fail_step(instance, run, "failed: no")

    (alert,) = look(instance, database)

    assert alert.says[-1] == "It has no schedule: the next run that somebody starts goes on where this one stopped."


def test_of_several_steps_every_one_that_failed_is_told(instance: Instance, database: Database) -> None:
    run = instance.add_run("data_governance", FAILURE, tags=FINAL)
    for number, count in enumerate((3, 5)):
        records = [outcome("surveys", matched=9, deleted=9 - count)]
        table = dg.MetadataValue.table(records)
        fail_step(instance, run, f"failed: step {number}", status="failed", outcomes=table)

    (alert,) = look(instance, database)

    assert alert.says[:4] == (
        "failed: step 0",
        "Left undone: 3 of 9 due in surveys.",
        "failed: step 1",
        "Left undone: 5 of 9 due in surveys.",
    )


def test_a_refused_run_is_an_alert_of_its_own_kind_and_says_how_to_allow_it(
    instance: Instance, database: Database
) -> None:
    run = instance.add_run("clear_audit", FAILURE, tags=FINAL)
    said = "refused: the run would delete 20,000 of 30,000 rows; allow it for one run with allow_large: true"
    fail_step(instance, run, said, status="refused")

    (alert,) = look(instance, database)

    assert (alert.kind, alert.title) == ("run_refused", "cath/clear_audit was refused")
    assert alert.says[0] == said


def test_of_an_error_nobody_foresaw_the_kind_is_told_and_not_the_message(
    instance: Instance, database: Database
) -> None:
    run = instance.add_run("clear_audit", FAILURE, tags=FINAL)
    fail_step(instance, run, error="no such user: ada@example.com")

    (alert,) = look(instance, database)

    assert "KeyError" in alert.says[0]
    assert "example.com" not in str(alert)


def test_a_lost_worker_is_told_by_dagsters_reason(instance: Instance, database: Database) -> None:
    run = instance.add_run("clear_audit", FAILURE, tags=FINAL)
    data = JobFailureData(None, RunFailureReason.UNEXPECTED_TERMINATION)
    instance.add_event(run, DagsterEventType.RUN_FAILURE, at=NOW, data=data)

    (alert,) = look(instance, database)

    assert alert.says[0].startswith("unexpected termination")


def test_a_run_that_run_monitoring_ended_says_no_reason_and_is_told_as_lost(
    instance: Instance, database: Database
) -> None:
    run = instance.add_run(status=FAILURE, ended_at=NOW - 2 * MINUTE, tags=FINAL)
    instance.add_event(run, DagsterEventType.RUN_FAILURE, at=NOW)

    (alert,) = look(instance, database)

    assert "the run's worker was lost" in alert.says[0]


def test_a_chain_of_retries_is_one_alert_at_its_end(instance: Instance, database: Database) -> None:
    first = instance.add_run("clear_audit", FAILURE, tags={"dagster/will_retry": "true"})
    assert look(instance, database) == []

    second = instance.add_run("clear_audit", FAILURE, parent=first, tags=FINAL | {"dagster/retry_number": "1"})
    instance.dagster.add_run_tags(first, {"dagster/auto_retry_run_id": second})
    (alert,) = look(instance, database, now=NOW + 20 * MINUTE)

    assert alert.occurrence == second
    assert "It was tried 2 times" in " ".join(alert.says)


def test_a_chain_that_ends_well_is_no_alert(instance: Instance, database: Database) -> None:
    first = instance.add_run("clear_audit", FAILURE, tags={"dagster/will_retry": "true"})
    second = instance.add_run("clear_audit", SUCCESS, parent=first)
    instance.dagster.add_run_tags(first, {"dagster/auto_retry_run_id": second})

    assert look(instance, database, now=NOW + 20 * MINUTE) == []


def test_a_retry_that_never_comes_is_told_after_ten_minutes(instance: Instance, database: Database) -> None:
    run = instance.add_run("clear_audit", FAILURE, tags={"dagster/will_retry": "true"})

    assert look(instance, database, now=NOW + 9 * MINUTE) == []
    (alert,) = look(instance, database, now=NOW + 11 * MINUTE, cursor=(NOW + 10 * MINUTE).isoformat())

    assert alert.occurrence == run
    assert "It was to be launched again, and was not" in " ".join(alert.says)


def test_a_run_of_which_dagster_has_not_yet_said_whether_it_is_launched_again_waits_a_minute(
    instance: Instance, database: Database
) -> None:
    instance.add_run("clear_audit", FAILURE)

    assert look(instance, database, now=NOW + MINUTE / 2) == []
    assert len(look(instance, database, now=NOW + 2 * MINUTE)) == 1


def test_runs_of_every_location_are_seen(instance: Instance, database: Database) -> None:
    for location in ("cath", "bon", "operations"):
        instance.add_run("cleanup", FAILURE, location=location, tags=FINAL)

    assert {alert.subject for alert in look(instance, database)} == {
        "cath/cleanup",
        "bon/cleanup",
        "operations/cleanup",
    }


def test_a_run_without_our_tag_is_seen_by_its_repository(instance: Instance, database: Database) -> None:
    run = instance.add_run("__ASSET_JOB", FAILURE, tags=FINAL)
    instance.connection.execute("DELETE FROM run_tags WHERE key = 'cath_dagster/job'")
    instance.connection.execute(
        "UPDATE runs SET run_body = replace(run_body, 'cath_dagster/job', 'other') WHERE run_id = %s", [run]
    )

    (alert,) = look(instance, database)

    assert alert.subject == "cath/__ASSET_JOB"


def test_what_failed_long_before_the_first_look_is_history(instance: Instance, database: Database) -> None:
    instance.add_run("clear_audit", FAILURE, ended_at=NOW - timedelta(hours=5), tags=FINAL)

    assert look(instance, database) == []


def test_what_failed_while_nobody_looked_is_told(instance: Instance, database: Database) -> None:
    instance.add_run("clear_audit", FAILURE, ended_at=NOW - timedelta(hours=5), tags=FINAL)

    assert len(look(instance, database, cursor=(NOW - timedelta(hours=6)).isoformat())) == 1


def test_a_later_success_is_told_once(instance: Instance, database: Database) -> None:
    instance.add_run("clear_audit", FAILURE, tags=FINAL)
    look(instance, database)
    assert look(instance, database, now=NOW + 2 * MINUTE)[1:] == []
    run = instance.add_run("clear_audit", SUCCESS, ended_at=NOW + 5 * MINUTE)

    found = [alert for alert in look(instance, database, now=NOW + 6 * MINUTE) if alert.is_over]
    assert [(one.subject, one.occurrence) for one in found] == [("cath/clear_audit", run)]
    assert not [alert for alert in look(instance, database, now=NOW + 7 * MINUTE) if alert.is_over]


def test_neither_another_jobs_success_nor_an_earlier_one_is_a_recovery(instance: Instance, database: Database) -> None:
    instance.add_run("clear_audit", FAILURE, tags=FINAL)
    look(instance, database)
    instance.add_run("subscriptions", SUCCESS, ended_at=NOW + MINUTE)
    instance.add_run("clear_audit", SUCCESS, location="bon", ended_at=NOW + MINUTE)
    instance.add_run("clear_audit", SUCCESS, ended_at=NOW - MINUTE)

    assert not [alert for alert in look(instance, database, now=NOW + 6 * MINUTE) if alert.is_over]
