"""The ledger: what each run did to each table, kept whatever became of the run."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import DictRow, dict_row

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.ledger.ledger import Ledger, Plan
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.postgres.database import Database

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
CUTOFF = datetime(2026, 8, 20, 1, 0, tzinfo=UTC)


@pytest.fixture
def ledger(cath_url: str) -> Iterator[Ledger]:
    engine = open_engine(cath_url, variable="CATH_DATABASE_URL", application_name="tidy:run-1")
    with Database(engine) as database:
        yield Ledger(database=database, run_id="run-1", location="cath", job="tidy", dry_run=False, as_of=AS_OF)


@pytest.fixture
def sql(cath_url: str) -> Iterator[psycopg.Connection[DictRow]]:
    with psycopg.connect(cath_url, autocommit=True, row_factory=dict_row) as connection:
        yield connection


def rows(sql: psycopg.Connection[DictRow]) -> list[dict[str, Any]]:
    return sql.execute("SELECT * FROM maintenance.purge_ledger ORDER BY run_id, table_name").fetchall()


def commit_batch(ledger: Ledger, **counts: dict[str, int]) -> None:
    ledger.database.transaction(lambda connection: ledger.record_batch(connection, counts))


def test_shows_a_finished_table_in_one_row(ledger: Ledger, sql: psycopg.Connection[DictRow]) -> None:
    ledger.plan(Plan(table="entry", rule="old entries", cutoff=CUTOFF, matched=7))
    commit_batch(ledger, entry={"deleted": 3})
    commit_batch(ledger, entry={"deleted": 4, "archived": 4})
    ledger.finish(
        [Outcome(target="entry", matched=7, deleted=7, archived=4, batches=2, seconds=1.5)],
        status="success",
        error=None,
    )

    (row,) = rows(sql)
    found = {name: row[name] for name in ("run_id", "location", "job", "table_name", "dry_run", "rule", "outcome")}
    assert found == {
        "run_id": "run-1",
        "location": "cath",
        "job": "tidy",
        "table_name": "entry",
        "dry_run": False,
        "rule": "old entries",
        "outcome": "success",
    }
    assert (row["as_of"], row["cutoff"]) == (AS_OF, CUTOFF)
    assert (row["matched"], row["deleted"], row["archived"], row["batches"], row["seconds"]) == (7, 7, 4, 2, 1.5)
    assert row["started_at"] <= row["finished_at"]


def test_shows_what_was_committed_of_a_table_that_was_never_finished(
    ledger: Ledger, sql: psycopg.Connection[DictRow]
) -> None:
    ledger.plan(Plan(table="entry", rule="old entries", cutoff=None, matched=9))
    commit_batch(ledger, entry={"deleted": 3})
    commit_batch(ledger, entry={"deleted": 2})

    (row,) = rows(sql)
    assert (row["deleted"], row["batches"], row["outcome"], row["finished_at"]) == (5, 2, "unfinished", None)


def test_shows_how_many_rows_matched_of_a_table_that_was_never_finished(
    ledger: Ledger, sql: psycopg.Connection[DictRow]
) -> None:
    ledger.plan(Plan(table="entry", rule="old entries", cutoff=None, matched=9))
    commit_batch(ledger, entry={"deleted": 3})

    assert rows(sql)[0]["matched"] == 9


def test_undoes_a_batch_s_counts_with_the_batch(ledger: Ledger, sql: psycopg.Connection[DictRow]) -> None:
    def fail(connection: sa.Connection) -> None:
        ledger.record_batch(connection, {"entry": {"deleted": 3}})
        raise KeyError("a mistake")

    with pytest.raises(KeyError):
        ledger.database.transaction(fail)

    assert rows(sql) == []


def test_keeps_no_record_of_a_batch_that_did_nothing(ledger: Ledger, sql: psycopg.Connection[DictRow]) -> None:
    commit_batch(ledger, entry={"deleted": 0})

    assert rows(sql) == []


def test_sums_per_table_what_the_run_committed(ledger: Ledger) -> None:
    commit_batch(ledger, entry={"deleted": 3, "archived": 2}, part={"deleted": 6})
    commit_batch(ledger, entry={"deleted": 1})
    commit_batch(replace(ledger, run_id="run-2"), entry={"deleted": 100})

    recorded = ledger.recorded()

    assert (recorded["entry"]["deleted"], recorded["entry"]["archived"]) == (4, 2)
    assert recorded["part"]["deleted"] == 6


def test_keeps_runs_apart(ledger: Ledger, sql: psycopg.Connection[DictRow]) -> None:
    for run_id, deleted in (("run-1", 1), ("run-2", 2)):
        replace(ledger, run_id=run_id).finish([Outcome(target="entry", deleted=deleted)], status="success", error=None)

    assert [(row["run_id"], row["deleted"]) for row in rows(sql)] == [("run-1", 1), ("run-2", 2)]


def test_keeps_why_a_run_failed(ledger: Ledger, sql: psycopg.Connection[DictRow]) -> None:
    ledger.finish(
        [Outcome(target="entry", details={"estimated": 5})], status="failed", error="the table has disappeared"
    )

    (row,) = rows(sql)
    assert (row["outcome"], row["error"]) == ("failed", "the table has disappeared")
    assert row["details"] == {"estimated": 5}


def test_says_that_a_run_was_dry(ledger: Ledger, sql: psycopg.Connection[DictRow]) -> None:
    replace(ledger, dry_run=True).finish([Outcome(target="entry", matched=3)], status="success", error=None)

    (row,) = rows(sql)
    assert (row["dry_run"], row["matched"], row["deleted"]) == (True, 3, 0)


def test_keeps_a_table_that_a_run_had_not_come_to(ledger: Ledger, sql: psycopg.Connection[DictRow]) -> None:
    ledger.start("entry", "part")

    assert [(row["table_name"], row["outcome"], row["deleted"]) for row in rows(sql)] == [
        ("entry", "unfinished", 0),
        ("part", "unfinished", 0),
    ]
