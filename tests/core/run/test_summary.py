"""The line that says how a run ended, for each way in which one can."""

from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cath_dagster.core.model.outcome import COUNTS, Outcome, RunResult, Status
from cath_dagster.core.run.summary import summary
from tests.support.service import Service

DONE = Outcome(target="entry", matched=3, deleted=2, failed=1)
RESULT = RunResult(
    location="shop", job="tidy", run_id="r", dry_run=False, as_of=datetime(2026, 11, 18, tzinfo=UTC), status=Status.SUCCESS,
    outcomes=(Outcome(target="entry"),), seconds=0.25,
)  # fmt: skip
FAILED = replace(RESULT, status=Status.FAILED, error="the database refused a statement")


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (RESULT, "completed in 0.25 s: nothing to do"),
        (replace(RESULT, outcomes=()), "completed in 0.25 s: done"),
        (replace(RESULT, outcomes=(DONE,)), "completed in 0.25 s: entry 3 matched, 2 deleted, 1 failed"),
        (
            replace(
                RESULT, dry_run=True, outcomes=(Outcome(target="entry", matched=3),), would_refuse="more than half"
            ),
            "completed in 0.25 s: dry run, nothing was changed: entry 3 matched; a run would be refused: more than half",
        ),
        (
            replace(FAILED, began=False, outcomes=()),
            "failed in 0.25 s: nothing was changed. the database refused a statement",
        ),
        (FAILED, "failed in 0.25 s: nothing was changed. the database refused a statement"),
        (
            replace(FAILED, outcomes=(DONE,)),
            "failed in 0.25 s: this was done: entry 3 matched, 2 deleted, 1 failed. the database refused a statement",
        ),
        (
            replace(FAILED, is_counted=False),
            "failed in 0.25 s: what it committed could not be counted and stands in the ledger. the database refused a statement",
        ),
        (
            replace(FAILED, status=Status.REFUSED, outcomes=(Outcome(target="entry", matched=3),), error="too much"),
            "refused in 0.25 s: nothing was changed: entry 3 matched. too much",
        ),
    ],
)
def test_says_what_came_of_it(result: RunResult, says: str) -> None:
    assert summary(result) == f"shop/tidy {says}"


outcomes = st.builds(Outcome, target=st.just("entry"), **{name: st.integers(0, 2) for name in COUNTS})


@given(st.lists(outcomes, max_size=2), st.sampled_from(Status), st.booleans(), st.booleans())
def test_never_says_that_there_was_nothing_to_do_beside_an_error(
    found: list[Outcome], status: Status, is_counted: bool, began: bool
) -> None:
    error = None if status is Status.SUCCESS else "an error"
    says = summary(
        replace(RESULT, outcomes=tuple(found), status=status, error=error, is_counted=is_counted, began=began)
    )

    assert not ("nothing to do" in says and error)
    assert not ("nothing was changed" in says and any(each.changed for each in found))


def test_a_statement_that_the_database_refuses_is_no_lack_of_work(service: Service) -> None:
    service.connection.execute("ALTER TABLE ingestion_log RENAME COLUMN timestamp TO at")

    service.run("clear_audit")

    assert "nothing was changed" in service.reporter.lines[-1]
    assert "nothing to do" not in service.reporter.lines[-1]


def test_a_run_whose_database_went_away_does_not_say_that_nothing_changed(service: Service) -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, 3)",
        [service.days_ago(91)],
    )
    # The ledger takes no more once rows are gone.
    with psycopg.connect(service.url, autocommit=True) as owner:
        owner.execute(
            "CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'denied'; END $$;"
            "CREATE TRIGGER deny BEFORE INSERT ON maintenance.ledger_event FOR EACH ROW"
            " WHEN (NEW.kind NOT IN ('started', 'batch')) EXECUTE FUNCTION deny()"
        )

    result = service.run("clear_audit")

    assert (result.status, service.count("ingestion_log")) == (Status.FAILED, 0)
    assert "nothing was changed" not in service.reporter.lines[-1]
