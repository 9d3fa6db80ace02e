"""What becomes of runs, as it is written, and what it adds up to."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from cath_dagster.core.history import writing
from cath_dagster.core.history.tables import METADATA, SCHEMA
from cath_dagster.core.postgres.database import Database
from tests.operations.history import BEGUN, ended, job, rows, totals
from tests.operations.instance import NOW, Instance


@pytest.fixture
def connection(database: Database, instance: Instance) -> Iterator[sa.Connection]:
    """Yield a connection on which every statement is a transaction of its own."""
    url = instance.url.replace("postgresql:", "postgresql+psycopg:")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def test_the_tables_that_the_code_knows_are_those_that_the_migrations_make(connection: sa.Connection) -> None:
    ours = {table.name for table in METADATA.tables.values()}
    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _: name == SCHEMA if kind == "schema" else kind != "table" or name in ours,
    }
    context = MigrationContext.configure(connection, opts=options)

    differences = [one for one in compare_metadata(context, METADATA) if not str(one[0]).endswith("_index")]

    assert differences == []


def test_a_run_is_written_when_it_starts_and_closed_when_it_ends(connection: sa.Connection, instance: Instance) -> None:
    writing.begin(connection, replace(BEGUN, actor="someone", parameters={"max_rows": 3}))

    assert rows(instance, "status, completed_at, actor, parameters") == [("running", None, "someone", {"max_rows": 3})]
    assert totals(instance) == (0, 0, 0)

    writing.end(connection, BEGUN, ended(seconds=1.5, outcomes=[{"target": "t", "deleted": 3}]))

    (row,) = rows(instance, "status, duration_ms, outcomes, error")
    assert row == ("success", 1_500, [{"target": "t", "deleted": 3}], None)
    assert totals(instance) == (1, 0, 1_500)
    found = job(instance)
    assert (found["last_run_at"], found["last_status"], found["last_duration_ms"]) == (NOW, "success", 1_500)


def test_every_way_to_end_counts_as_decided_and_an_error_is_cleared_by_a_success(
    connection: sa.Connection, instance: Instance
) -> None:
    expected = (0, 0)
    for number, status in enumerate(("failed", "timeout", "refused", "canceled", "success")):
        begun = replace(BEGUN, run_id=f"r{number}", started_at=NOW + timedelta(hours=number))
        writing.begin(connection, begun)
        error = None if status == "success" else f"it was {status}"
        writing.end(connection, begun, ended(status, at=begun.started_at, error=error))
        expected = (expected[0] + 1, expected[1] + (status in ("failed", "timeout")))
        assert totals(instance) == (*expected, 2_000), status
        assert (job(instance)["last_status"], job(instance)["last_error"]) == (status, error)


def test_a_dry_run_is_in_the_history_and_in_no_total(connection: sa.Connection, instance: Instance) -> None:
    writing.begin(connection, replace(BEGUN, dry_run=True))
    writing.end(connection, replace(BEGUN, dry_run=True), ended("failed", error="it would"))

    assert rows(instance, "dry_run, status") == [(True, "failed")]
    assert totals(instance) == (0, 0, 0)
    assert job(instance)["last_status"] is None


def test_whatever_is_written_twice_counts_once(connection: sa.Connection, instance: Instance) -> None:
    for _ in range(2):
        writing.begin(connection, BEGUN)
    for _ in range(2):
        writing.end(connection, BEGUN, ended("failed", error="lost"))

    assert totals(instance) == (1, 1, 2_000)
    # It was not lost: what it says itself counts.
    writing.end(connection, BEGUN, ended(seconds=4))

    assert totals(instance) == (1, 0, 4_000)
    assert job(instance)["last_error"] is None
    assert rows(instance, "status, error") == [("success", None)]


def test_a_run_that_was_taken_for_lost_and_says_that_it_lives_is_under_way_again(
    connection: sa.Connection, instance: Instance
) -> None:
    writing.begin(connection, BEGUN)
    writing.end(connection, BEGUN, ended("failed", error="lost"))
    writing.begin(connection, BEGUN)

    assert rows(instance, "status, completed_at, error, counted") == [("running", None, None, False)]
    assert totals(instance) == (0, 0, 0)


def test_attempts_are_rows_and_one_run(connection: sa.Connection, instance: Instance) -> None:
    for attempt, status in enumerate(("failed", "failed", "success"), 1):
        begun = replace(BEGUN, attempt=attempt, started_at=NOW + timedelta(seconds=10 * attempt - 10))
        writing.begin(connection, begun)
        writing.end(connection, begun, ended(status, at=begun.started_at))

    assert rows(instance, "attempt, status, duration_ms, counted") == [
        (1, "failed", 2_000, False), (2, "failed", 2_000, False), (3, "success", 2_000, True),
    ]  # fmt: skip
    assert totals(instance) == (1, 0, 22_000)
    assert job(instance)["last_run_at"] == NOW


def test_a_step_that_failed_fails_the_run_whatever_the_last_one_did(
    connection: sa.Connection, instance: Instance
) -> None:
    writing.begin(connection, BEGUN)
    writing.note(connection, BEGUN, ended("failed", error="the first step", outcomes=[{"target": "a"}]))
    assert rows(instance, "status, counted") == [("running", False)]
    writing.note(connection, BEGUN, ended("failed", error="the second", outcomes=[{"target": "b"}]))

    writing.end(connection, BEGUN, ended(outcomes=[{"target": "c"}]))

    assert rows(instance, "status, error, jsonb_array_length(outcomes)") == [("failed", "the first step", 3)]


def test_a_step_goes_on_with_the_last_attempt_that_there_is(connection: sa.Connection, instance: Instance) -> None:
    writing.begin(connection, BEGUN)
    writing.end(connection, BEGUN, ended("failed"))
    writing.begin(connection, replace(BEGUN, attempt=2, started_at=NOW + timedelta(seconds=3)))
    step = replace(BEGUN, is_continued=True, started_at=NOW + timedelta(seconds=6))
    writing.note(connection, step, ended(outcomes=[{"target": "a"}]))
    writing.end(connection, step, ended("failed", at=step.started_at))
    again = replace(step, attempt=2, started_at=NOW + timedelta(seconds=9))
    writing.begin(connection, again)
    writing.end(connection, again, ended(at=again.started_at))

    assert rows(instance, "attempt, status, jsonb_array_length(outcomes), counted") == [
        (1, "failed", 0, False), (2, "failed", 1, False), (3, "success", 0, True),
    ]  # fmt: skip
    assert totals(instance) == (1, 0, 11_000)


def test_a_run_that_nobody_saw_begin_is_written_whole_and_an_older_one_is_not_the_last(
    connection: sa.Connection, instance: Instance
) -> None:
    writing.end(connection, BEGUN, ended())
    older = replace(BEGUN, run_id="older", started_at=NOW - timedelta(days=1))
    writing.end(connection, older, ended("failed", at=older.started_at, error="then"))

    assert totals(instance) == (2, 1, 2_000)
    assert (job(instance)["last_run_id"], job(instance)["last_status"]) == ("r1", "success")


def test_ticks_skipped_for_one_reason_are_one_row_that_counts_them(
    connection: sa.Connection, instance: Instance
) -> None:
    def skip(minute: int, reason: str = "run r0 is going") -> bool:
        return writing.skip(connection, replace(BEGUN, started_at=NOW + timedelta(minutes=minute)), reason)

    assert [skip(minute) for minute in (0, 1, 1, 2, 0)] == [True, True, False, True, False]
    assert skip(3, "scheduling is stopped")
    assert skip(4)
    begun = replace(BEGUN, started_at=NOW + timedelta(minutes=5))
    writing.begin(connection, begun)
    assert skip(6)

    assert rows(instance, "status, skipped_ticks, error") == [
        ("skipped", 3, "run r0 is going"),
        ("skipped", 1, "scheduling is stopped"),
        ("skipped", 1, "run r0 is going"),
        ("running", 0, None),
        ("skipped", 1, "run r0 is going"),
    ]
    assert totals(instance) == (0, 0, 0)


def test_missed_ticks_are_on_the_first_row_after_them(connection: sa.Connection, instance: Instance) -> None:
    assert not writing.miss(connection, "cath", "clear_audit", NOW, 4)
    for hour in (0, 1, 2):
        writing.begin(connection, replace(BEGUN, run_id=f"r{hour}", started_at=NOW + timedelta(hours=hour)))

    later = NOW + timedelta(seconds=1)
    assert writing.miss(connection, "cath", "clear_audit", later, 4)
    assert not writing.miss(connection, "cath", "clear_audit", later, 4)

    assert rows(instance, "missed_ticks") == [(0,), (4,), (0,)]


def test_two_that_end_at_once_are_both_counted(connection: sa.Connection, instance: Instance) -> None:
    """The job's row keeps the second from reading before the first has committed."""
    writing.begin(connection, BEGUN)
    engine = sa.create_engine(instance.url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)
    with engine.connect() as first, psycopg.connect(instance.url, autocommit=True) as other:
        with first.begin():
            writing.end(first, BEGUN, ended())
            other.execute("SET lock_timeout = '50ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("SELECT FROM operations.scheduled_job WHERE name = 'clear_audit' FOR NO KEY UPDATE")
        writing.end(connection, replace(BEGUN, run_id="r2"), ended())
    engine.dispose()

    assert totals(instance) == (2, 0, 2_000)


def test_no_status_but_those_that_are_known(connection: sa.Connection) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        writing.end(connection, BEGUN, ended("sucess"))


def test_a_run_is_the_consoles_only_where_the_audit_log_has_its_nonce_and_only_once(
    connection: sa.Connection, instance: Instance
) -> None:
    """Where the console's migration has not run, a table like its own stands in."""
    texts = ("actor", "origin", "action", "location", "job", "nonce", "result", "previous_hash", "hash")
    instance.connection.execute(
        "CREATE TABLE IF NOT EXISTS operations.audit_log (sequence bigint, at timestamptz,"
        f" {', '.join(f'{name} text' for name in texts)})"
    )
    # Its triggers are the console's to test.
    instance.connection.execute("SET session_replication_role = replica")
    for number, (nonce, job_name) in enumerate((("n1", "clear_audit"), ("n2", "subscriptions"))):
        instance.connection.execute(
            f"INSERT INTO operations.audit_log (sequence, at, {', '.join(texts)}) VALUES ({number}, now(),"
            f" 'jane', '', 'run', 'cath', '{job_name}', '{nonce}', '', '', '{number}')"
        )
    instance.connection.execute("SET session_replication_role = origin")
    claims = {"r1": "n1", "r2": "n1", "r3": "n2", "r4": "made up"}
    for number, (run_id, nonce) in enumerate(claims.items()):
        begun = replace(BEGUN, run_id=run_id, trigger="manual", nonce=nonce, started_at=NOW + timedelta(hours=number))
        writing.begin(connection, begun)
        writing.end(connection, begun, ended(at=begun.started_at))

    assert rows(instance, "run_id, trigger, actor") == [
        ("r1", "api", "jane"), ("r2", "manual", None), ("r3", "manual", None), ("r4", "manual", None),
    ]  # fmt: skip
