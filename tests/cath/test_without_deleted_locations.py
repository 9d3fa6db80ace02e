"""The service deletes locations for good and drops `location.deleted_at`: before, during and after its migration."""

import json
import uuid

import psycopg
import pytest

from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.spec import load_specs
from tests.support.command import call
from tests.support.service import Service, outcome

MIGRATION = "ALTER TABLE location DROP COLUMN deleted_at"
JOBS = [spec.name for spec in load_specs(Service.location)]
LONG_GONE = 400


def subscribe(service: Service, location: str) -> uuid.UUID:
    return service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value=location)


def subscriptions(service: Service) -> set[uuid.UUID]:
    return {row[0] for row in service.rows("SELECT subscription_id FROM subscription")}


@pytest.fixture
def courts(service: Service) -> dict[str, uuid.UUID]:
    """One subscription to a court that is live, one to a soft-deleted one, one to none."""
    service.add_location(7)
    service.add_location(8, deleted_at=service.days_ago(LONG_GONE))
    return {"live": subscribe(service, "7"), "gone": subscribe(service, "8"), "unknown": subscribe(service, "9")}


def test_a_soft_deleted_location_counts_as_gone_while_the_column_stands(
    service: Service, courts: dict[str, uuid.UUID]
) -> None:
    planned = service.run("subscriptions", dry_run=True)
    done = service.run("subscriptions")

    assert (planned.status, done.status) == (Status.SUCCESS, Status.SUCCESS)
    assert outcome(planned, "subscription").matched == outcome(done, "subscription").deleted == 2
    assert subscriptions(service) == {courts["live"]}


def test_every_location_counts_as_live_once_the_column_is_gone(service: Service, courts: dict[str, uuid.UUID]) -> None:
    service.connection.execute(MIGRATION)

    planned = service.run("subscriptions", dry_run=True)
    done = service.run("subscriptions")

    assert (planned.status, done.status) == (Status.SUCCESS, Status.SUCCESS)
    assert outcome(planned, "subscription").matched == outcome(done, "subscription").deleted == 1
    assert subscriptions(service) == {courts["live"], courts["gone"]}


@pytest.mark.parametrize("is_migrated", [False, True])
def test_explain_agrees_with_the_run(service: Service, courts: dict[str, uuid.UUID], *, is_migrated: bool) -> None:
    if is_migrated:
        service.connection.execute(MIGRATION)

    foretold = set()
    for subscription_id in courts.values():
        done = call(service.environ, "explain", "subscription", str(subscription_id), "--json")
        assert done.returncode == 0, done.stderr
        forecasts = json.loads(done.stdout)["forecasts"]
        if any(item["matches_now"] for item in forecasts if item["job"] == "subscriptions"):
            foretold.add(subscription_id)

    service.run("subscriptions")
    assert foretold == set(courts.values()) - subscriptions(service)


def test_a_migration_between_plan_and_batches_does_not_fail_the_run(
    service: Service, courts: dict[str, uuid.UUID]
) -> None:
    hold = ("SELECT FROM subscription WHERE subscription_id = %s FOR UPDATE", [courts["unknown"]])

    done = service.run_beside("subscriptions", hold, then=[(MIGRATION, [])])

    assert done.error is None
    assert subscriptions(service) == {courts["live"], courts["gone"]}


def test_the_migration_goes_through_while_the_views_stand_and_the_jobs_run_before_and_after_it(
    service: Service, courts: dict[str, uuid.UUID]
) -> None:
    del courts
    before = {job: service.run(job).error for job in JOBS}
    assert service.count("pg_matviews", "schemaname = 'maintenance'") == 4

    with psycopg.connect(service.url) as deployment:
        deployment.execute(MIGRATION)

    after = {job: service.run(job).error for job in JOBS}
    assert before == after == dict.fromkeys(JOBS)
    said = call(service.environ, "doctor", "cath", "--json")
    findings = {item["subject"]: item for item in json.loads(said.stdout)}
    assert said.returncode == 0
    assert findings["column location.deleted_at"]["says"].startswith("is not there, and need not be: ")
    assert findings["column location.deleted_at"]["level"] == "ok"
