"""Documents whose import is at a dead end are marked so; one that is being imported never is."""

import uuid
from datetime import datetime, timedelta
from typing import Any

from cath_dagster.core.model.outcome import Status
from tests.hay.hay import Hay
from tests.support.maintained import outcome

JOB = "document_dead_letters"
MOMENT = timedelta(microseconds=1)


def iso(instant: datetime) -> str:
    return f"{instant.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def add_document(hay: Hay, metadata: Any = None, **values: Any) -> uuid.UUID:
    """Add a document whose import began a day ago."""
    row = {
        "organization_id": hay.add_tenant(),
        "status": "processing",
        "source_url": "https://docs.example.org/1",
        "processing_metadata": metadata,
        "updated_at": hay.ago(days=1),
    }
    return hay.add("documents", **{**row, **values})


def test_marks_dead_ends_with_their_reason_and_lets_the_others_be(hay: Hay) -> None:
    half_hour = hay.ago(minutes=30)
    spent: dict[str, Any] = {"retryCount": 3, "processingStage": "scraping"}
    last = {"lastAttemptAt": iso(half_hour - timedelta(milliseconds=1))}
    lively = hay.add_job(hay.add_tenant(), status="processing", updated_at=hay.ago(minutes=60))
    dead = hay.add_job(hay.add_tenant(), status="processing", updated_at=hay.ago(minutes=60) - MOMENT)
    over = hay.add_job(hay.add_tenant(), status="completed", updated_at=hay.as_of)
    goes = {
        "tried three times": add_document(hay, spent | last),
        "tried oftener, nobody says when": add_document(hay, {"retryCount": 5}),
        "tried as text": add_document(hay, {"retryCount": "3"} | last),
        "with a date that is none": add_document(hay, spent | {"lastAttemptAt": "yesterday"}),
        "of a job that is dead": add_document(hay, spent | last | {"jobId": str(dead)}),
        "of a job that is over": add_document(hay, spent | last | {"jobId": str(over)}),
        "of a job that is none": add_document(hay, spent | last | {"jobId": "nobody's"}),
        "with words for a counter": add_document(hay, {"retryCount": "three"}),
        "with a list for a counter": add_document(hay, {"retryCount": [3]}),
        "with a negative counter": add_document(hay, {"retryCount": -1}),
        "without a source": add_document(hay, source_url=None, updated_at=hay.ago(hours=1) - MOMENT),
        "with an empty source": add_document(hay, {"retryCount": 0}, source_url=""),
        "without a source, with a list for metadata": add_document(hay, ["x"], source_url=None),
    }
    stays = {
        "tried lately": add_document(hay, spent | {"lastAttemptAt": iso(half_hour)}),
        "nobody says when, changed lately": add_document(hay, spent, updated_at=half_hour),
        "tried twice": add_document(hay, {"retryCount": 2} | last),
        "never tried": add_document(hay),
        "of a job at work": add_document(hay, spent | last | {"jobId": str(lively)}),
        "without a source, of a job at work": add_document(hay, {"jobId": str(lively)}, source_url=None),
        "without a source, just so long": add_document(hay, source_url=None, updated_at=hay.ago(hours=1)),
        "with words for a counter, changed lately": add_document(hay, {"retryCount": "three"}, updated_at=half_hour),
        "published": add_document(hay, spent | last, status="published"),
        "a draft without a source": add_document(hay, source_url=None, status="draft"),
    }

    plan, result, again = hay.run(JOB, dry_run=True), hay.run(JOB), hay.run(JOB)

    assert (result.status, result.error) == (Status.SUCCESS, None)
    marked = {key for key, status in hay.column("documents", "status").items() if status == "error"}
    assert {name for name, key in goes.items() if key not in marked} == set()
    assert {name for name, key in stays.items() if key in marked} == set()
    said = hay.column("documents", "processing_metadata")
    reasons = {said[key]["lastError"] for key in goes.values()}
    assert len(reasons) == 3
    assert said[goes["tried three times"]].items() > (spent | last).items()
    counts = {"without_source": 3, "unreadable_counter": 3, "tried_too_often": 7}
    assert [counts.items() <= outcome(each, "documents").details.items() for each in (plan, result)] == [True, True]
    assert (outcome(plan, "documents").matched, outcome(result, "documents").updated, again.changed) == (13, 13, 0)
    assert hay.count("documents", f"status = 'error' AND updated_at < '{hay.as_of}'") == 0


def test_a_document_whose_job_moves_while_the_run_waits_goes_on(hay: Hay) -> None:
    job = hay.add_job(hay.add_tenant(), status="processing", updated_at=hay.ago(hours=2))
    key = add_document(hay, {"retryCount": 3, "jobId": str(job)})

    result = hay.run_beside(JOB, ("UPDATE jobs SET updated_at = %s WHERE id = %s", [hay.as_of, job]))

    assert (result.error, hay.column("documents", "status")) == (None, {key: "processing"})


def test_an_empty_table_is_no_failure_and_many_are_done_in_several_batches(hay: Hay) -> None:
    assert hay.run(JOB).status is Status.SUCCESS
    hay.connection.execute(
        "INSERT INTO documents (organization_id, status, updated_at) SELECT %s, 'processing', %s FROM generate_series(1, 300)",
        [hay.add_tenant(), hay.ago(days=1)],
    )

    some, rest = hay.run(JOB, max_rows=100), hay.run(JOB)

    assert (some.changed, rest.changed, outcome(rest, "documents").batches > 1) == (100, 200, True)
