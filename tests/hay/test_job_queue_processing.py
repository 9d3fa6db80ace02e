"""The service's table of jobs: ended where their request has, ended where they are dead, deleted in time, never repeated."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.roles.required_privileges import Moment
from cath_dagster.hay.jobs.job_queue_processing import SPEC, is_due
from tests.hay.hay import Hay
from tests.support.maintained import outcome

JOB = "job_queue_processing"
MOMENT = timedelta(microseconds=1)


def asks(hay: Hay) -> bool:
    """Return whether the sensor would find anything to do."""
    engine = open_engine(hay.url, variable="URL", application_name="due")
    with engine.connect() as connection:
        due = is_due(Moment(hay.as_of, hay.environ), SPEC.settings())
        found = any(connection.scalar(sa.select(sa.exists().where(each.predicate))) for each in due)
    engine.dispose()
    return found


def add_linked(
    hay: Hay, tenant: uuid.UUID, status: str, *, job: str = "pending", by: str = "job", **values: Any
) -> uuid.UUID:
    """Add a job and the privacy request that it answers, which name each other or one the other."""
    request = hay.add_request(status=status, updated_at=hay.ago(hours=1))
    data = {"requestId": str(request), "email": "somebody@example.org"} if by != "job" else None
    key = hay.add_job(tenant, status=job, data=data, **values)
    if by != "request":
        hay.connection.execute("UPDATE privacy_requests SET job_id = %s WHERE id = %s", [key, request])
    return key


def test_ends_jobs_as_their_request_ended_and_dead_ones_and_no_other(hay: Hay) -> None:
    tenant = hay.add_tenant()
    hour, day = hay.ago(minutes=60), hay.ago(hours=24)
    silent: dict[str, Any] = {"updated_at": hour - MOMENT, "created_at": hay.ago(days=2)}
    lost = {"data": {"requestId": str(uuid.uuid4())}}
    expected = {
        **{
            (ended, f"of a request that is {status}"): add_linked(hay, tenant, status, by=by)
            for status, ended, by in (
                ("completed", "completed", "job"),
                ("failed", "failed", "request"),
                ("cancelled", "cancelled", "both"),
                ("expired", "cancelled", "both"),
                ("processing", "pending", "both"),
                ("verified", "pending", "job"),
            )
        },
        ("failed", "silent at work"): hay.add_job(tenant, status="processing", **silent),
        ("failed", "silent in the queue"): hay.add_job(tenant, status="queued", **silent),
        ("processing", "silent for just so long"): hay.add_job(tenant, status="processing", updated_at=hour),
        ("pending", "waiting"): hay.add_job(tenant, status="pending", **silent),
        ("retrying", "never set"): hay.add_job(tenant, status="retrying", **silent),
        ("processing", "silent, its request at work"): add_linked(
            hay, tenant, "processing", job="processing", **silent
        ),
        ("completed", "silent, its request done"): add_linked(hay, tenant, "completed", job="processing", **silent),
        ("cancelled", "of a request that is not there"): hay.add_job(
            tenant, status="pending", **lost, created_at=day - MOMENT
        ),
        ("pending", "of one that may come still"): hay.add_job(tenant, status="pending", **lost, created_at=day),
        ("completed", "over"): hay.add_job(tenant, result={"pages": 7}),
    }

    assert asks(hay)
    plan, result = hay.run(JOB, dry_run=True), hay.run(JOB)
    before = hay.rows("SELECT * FROM jobs ORDER BY id")
    again = hay.run(JOB)

    found = hay.column("jobs", "status")
    assert {name: found[key] for name, key in expected.items()} == {name: name[0] for name in expected}
    counts = {"mirrored": 5, "ended": 2, "cancelled": 1, "scrubbed": 0}
    assert [counts.items() <= outcome(each, "jobs").details.items() for each in (plan, result)] == [True, True]
    results = hay.column("jobs", "result")
    said = results[expected["failed", "silent at work"]]
    assert (said["previousStatus"], set(said)) == ("processing", {"error", "reapedAt", "previousStatus"})
    assert results[expected["completed", "over"]] == {"pages": 7}
    assert (
        min(
            hay.column("jobs", "updated_at")[expected[each]]
            for each in expected
            if "request that is" in each[1] and each[0] != "pending"
        )
        > hay.as_of
    )
    assert (again.changed, hay.rows("SELECT * FROM jobs ORDER BY id")) == (0, before)
    assert (result.error, asks(hay)) == (None, False)


def test_takes_addresses_out_a_week_after_the_end_and_deletes_a_month_after_it(hay: Hay) -> None:
    tenant = hay.add_tenant()
    address = "somebody@example.org"
    week, month = hay.ago(days=7), hay.ago(days=30)
    named: dict[str, Any] = {
        "job": "completed",
        "by": "both",
        "title": f"Data Export for {address}",
        "result": {"sent": [address]},
    }
    scrubbed = add_linked(hay, tenant, "completed", **named, updated_at=week - MOMENT)
    by_link = add_linked(hay, tenant, "completed", **{**named, "by": "job"}, updated_at=hay.ago(days=20))
    keeps = {
        add_linked(hay, tenant, "completed", **named, updated_at=week),
        hay.add_job(tenant, title=f"Mail to {address}", data={"email": address}, updated_at=hay.ago(days=20)),
        hay.add_job(tenant, updated_at=month),
        hay.add_job(tenant, status="pending", updated_at=hay.ago(days=400)),
    }
    gone = {
        *(
            hay.add_job(tenant, status=status, updated_at=month - MOMENT)
            for status in ("completed", "failed", "cancelled")
        ),
        add_linked(hay, tenant, "completed", **named, updated_at=month - MOMENT),
        # Its stamp is of when it was scrubbed, a week after its end.
        hay.add_job(tenant, data={"scrubbedAt": "then"}, updated_at=hay.ago(days=23) - MOMENT),
    }
    keeps.add(hay.add_job(tenant, data={"scrubbedAt": "then"}, updated_at=hay.ago(days=23)))

    plan, result = hay.run(JOB, dry_run=True), hay.run(JOB)

    assert set(hay.column("jobs", "id")) == {scrubbed, by_link} | keeps
    assert gone.isdisjoint(hay.column("jobs", "id"))
    assert (outcome(result, "jobs").deleted, outcome(result, "jobs").details["scrubbed"]) == (len(gone), 2)
    assert outcome(plan, "jobs").matched == len(gone) + 2
    for key in (scrubbed, by_link):
        whole = hay.value("SELECT jobs::text FROM jobs WHERE id = %s", key)
        assert "@" not in whole
        assert "scrubbedAt" in whole
    assert hay.count("jobs", "jobs::text LIKE '%@%'") == 2
    assert hay.count("privacy_requests", "job_id IS NULL") == 1
    assert hay.run(JOB).changed == 0


def test_what_falls_due_by_its_age_starts_a_run_once_a_day(hay: Hay) -> None:
    tenant = hay.add_tenant()
    assert not asks(hay)
    hay.add_job(tenant, updated_at=hay.ago(days=30, hours=1))
    assert not asks(hay)
    hay.add_job(tenant, updated_at=hay.ago(days=30, hours=3) - MOMENT)
    assert asks(hay)


def test_a_job_that_saves_progress_while_the_run_waits_lives_on(hay: Hay) -> None:
    key = hay.add_job(hay.add_tenant(), status="processing", updated_at=hay.ago(hours=2))

    result = hay.run_beside(JOB, ("UPDATE jobs SET updated_at = %s WHERE id = %s", [hay.as_of, key]))

    assert (result.error, hay.column("jobs", "status")) == (None, {key: "processing"})


@pytest.mark.parametrize("config", [{"retention_days": 6}, {"stuck_minutes": 29}])
def test_what_people_look_at_still_is_not_taken_whatever_is_set(hay: Hay, config: dict[str, Any]) -> None:
    assert hay.run(JOB, **config).status is Status.FAILED


def test_an_empty_table_is_no_failure_and_many_are_done_in_several_batches(hay: Hay) -> None:
    assert hay.run(JOB).status is Status.SUCCESS
    hay.connection.execute(
        "INSERT INTO jobs (organization_id, status, updated_at) SELECT %s, 'processing', %s FROM generate_series(1, 300)",
        [hay.add_tenant(), hay.ago(days=60)],
    )

    ended = hay.run(JOB)
    hay.connection.execute("UPDATE jobs SET updated_at = %s", [hay.ago(days=60)])
    deleted = hay.run(JOB)

    assert (outcome(ended, "jobs").updated, outcome(deleted, "jobs").deleted) == (300, 300)
    assert outcome(ended, "jobs").batches > 1
