"""The ledger read: what was deleted each day, by which rule."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.ledger.days import Day, read_days
from cath_dagster.core.ledger.ledger import Ledger, Plan
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.postgres.database import Database

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
SINCE = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def ledger(cath_url: str) -> Iterator[Ledger]:
    engine = open_engine(cath_url, variable="CATH_DATABASE_URL", application_name="tidy:run-1")
    with Database(engine) as database:
        yield Ledger(database=database, run_id="run-1", location="cath", job="tidy", dry_run=False, as_of=AS_OF)


@pytest.fixture
def sql(cath_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(cath_url, autocommit=True) as connection:
        yield connection


def batch(ledger: Ledger, rule: str | None, **counts: dict[str, int]) -> None:
    ledger.database.transaction(lambda connection: ledger.record_batch(connection, counts, rule=rule))


def days(ledger: Ledger, job: str | None = None, since: datetime = SINCE) -> list[Day]:
    return ledger.database.transaction(lambda connection: read_days(connection, since=since, job=job))


def move(sql: psycopg.Connection[Any], to: str, condition: str) -> None:
    """Let events have happened at another instant."""
    sql.execute(f"UPDATE maintenance.ledger_event SET at = '{to}' WHERE {condition}")


def run(ledger: Ledger, run_id: str, rule: str, deleted: int, ending: str | None = "success") -> None:
    """Record a whole run of one batch; without an ending it was killed."""
    ledger = replace(ledger, run_id=run_id)
    ledger.start("entry")
    ledger.plan(Plan(table="entry", rule=rule, cutoff=None, matched=deleted))
    batch(ledger, rule, entry={"deleted": deleted})
    if ending:
        ledger.finish([Outcome(target="entry", deleted=deleted)], status=ending, error=None)


def test_adds_up_the_batches_of_a_rule(ledger: Ledger) -> None:
    ledger.start("entry")
    ledger.plan(Plan(table="entry", rule="old", cutoff=None, matched=7))
    batch(ledger, "old", entry={"deleted": 3, "archived": 2})
    batch(ledger, "old", entry={"deleted": 4})
    ledger.finish([Outcome(target="entry", deleted=7, archived=2)], status="success", error=None)

    (row,) = days(ledger)

    assert (row.job, row.table, row.rule) == ("tidy", "entry", "old")
    assert (row.deleted, row.archived, row.updated, row.runs) == (7, 2, 0, 1)
    assert (row.endings, row.trouble) == ({"success": 1}, {})


def test_keeps_the_rules_of_one_table_apart(ledger: Ledger) -> None:
    batch(ledger, "old", entry={"deleted": 3})
    batch(ledger, "empty", entry={"deleted": 4, "updated": 1})

    assert {row.rule: (row.deleted, row.updated) for row in days(ledger)} == {"old": (3, 0), "empty": (4, 1)}


def test_counts_rows_that_go_along_under_the_rule_that_took_them(ledger: Ledger) -> None:
    batch(ledger, "old", entry={"deleted": 3}, part={"deleted": 9})

    assert [(row.table, row.rule, row.deleted) for row in days(ledger)] == [("entry", "old", 3), ("part", "old", 9)]


def test_shows_the_newest_day_first(ledger: Ledger, sql: psycopg.Connection[Any]) -> None:
    run(ledger, "run-1", "old", 1)
    run(ledger, "run-2", "old", 2)
    move(sql, "2026-11-10T12:00Z", "run_id = 'run-1'")
    move(sql, "2026-11-12T12:00Z", "run_id = 'run-2'")

    assert [(row.day, row.deleted) for row in days(ledger)] == [(date(2026, 11, 12), 2), (date(2026, 11, 10), 1)]


def test_parts_a_run_over_midnight_by_its_batches(ledger: Ledger, sql: psycopg.Connection[Any]) -> None:
    batch(ledger, "old", entry={"deleted": 1})
    move(sql, "2026-11-09T23:59:59Z", "true")
    run(ledger, "run-1", "old", 2)
    move(sql, "2026-11-10T00:00:01Z", "deleted <> 1")

    assert [(row.day.day, row.deleted, row.endings) for row in days(ledger)] == [
        (10, 2, {"success": 1}),
        (9, 1, {"success": 1}),
    ]


def test_leaves_out_what_lies_before_the_first_day(ledger: Ledger, sql: psycopg.Connection[Any]) -> None:
    run(ledger, "run-1", "old", 1)
    move(sql, "2026-10-31T23:59:59Z", "true")

    assert days(ledger) == []


def test_leaves_out_other_jobs_if_one_is_named(ledger: Ledger) -> None:
    run(ledger, "run-1", "old", 1)
    run(replace(ledger, job="sweep"), "run-2", "old", 2)

    assert [row.job for row in days(ledger, "sweep")] == ["sweep"]


def test_leaves_out_dry_runs(ledger: Ledger) -> None:
    run(replace(ledger, dry_run=True), "run-1", "old", 0)

    assert days(ledger) == []


def test_tells_a_run_that_was_killed_from_one_that_failed(ledger: Ledger) -> None:
    for run_id, ending in (("run-1", "success"), ("run-2", "failed"), ("run-3", None)):
        run(ledger, run_id, "old", 1, ending)

    (row,) = days(ledger)

    assert (row.runs, row.deleted) == (3, 3)
    assert row.endings == {"success": 1, "failed": 1, "unfinished": 1}
    assert row.trouble == {"failed": 1, "unfinished": 1}


def test_shows_a_run_that_failed_before_it_had_a_rule(ledger: Ledger) -> None:
    ledger.start("entry")
    ledger.finish([Outcome(target="entry")], status="refused", error="no")

    assert [(row.rule, row.deleted, row.endings) for row in days(ledger)] == [(None, 0, {"refused": 1})]


def test_shows_a_rule_that_found_nothing_to_delete(ledger: Ledger) -> None:
    ledger.plan(Plan(table="entry", rule="old", cutoff=None, matched=0))
    ledger.finish([Outcome(target="entry")], status="success", error=None)

    assert [(row.rule, row.deleted, row.runs) for row in days(ledger)] == [("old", 0, 1)]


def test_counts_files_that_have_no_batches_by_what_the_run_said_at_its_end(ledger: Ledger) -> None:
    ledger.finish([Outcome(target="files", deleted=6), Outcome(target="mail")], status="success", error=None)

    assert [(row.table, row.rule, row.deleted) for row in days(ledger)] == [("files", None, 6)]
