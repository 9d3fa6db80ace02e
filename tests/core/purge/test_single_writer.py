"""A walk that was alone on the server looks at nothing twice; one that was not looks at the whole table again."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.purge.batch_runner import Progress
from cath_dagster.core.purge.closing_scan import closing_scan
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from cath_dagster.development.postgres import embedded_postgres, remove_state, running
from tests.support.entries import CUTOFF, ENTRY, NEW, OLD, Entries, old_entries

NEWEST, KEPT = datetime(2026, 11, 1, tzinfo=UTC), 300

WALK = old_entries(cutoff=CUTOFF.replace(tzinfo=UTC))


class Looks:
    """Counts the closing looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr("cath_dagster.core.purge.engine.closing_scan", self._look)

    def _look(self, *given: Any, **named: Any) -> Any:
        self.count += 1
        return closing_scan(*given, **named)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def fill(entries: Entries) -> None:
    """Fill many blocks: every fourth row is kept, and the first."""
    entries.sql.execute("TRUNCATE entry")
    entries.sql.execute(
        "INSERT INTO entry (id, seen_at, note) "
        f"SELECT n, CASE WHEN n % 4 = 1 THEN '{NEW}' ELSE '{OLD}' END::timestamp, repeat('x', 400) "
        f"FROM generate_series(1, {4 * KEPT}) n"
    )


def purge(entries: Entries, disturb: Callable[[], object] | None = None, pacer: Pacer | None = None) -> Progress:
    """Purge; once the walk has passed the first block, do something in another session."""
    waiting = [disturb] if disturb is not None else []

    def report(table: str, done: int, total: int) -> None:
        del table, total
        if done and waiting:
            waiting.pop()()

    progress = entries.purger(report=report, pacer=pacer).delete(WALK, limit=None)
    assert not waiting
    return progress


@pytest.fixture
def alone() -> Iterator[Entries]:
    """A workshop on a server of its own: other tests write on the suite's all the time."""
    folder = Path(tempfile.mkdtemp(prefix="cath-dagster-test-"))
    cluster = embedded_postgres(folder, "pg", {"fsync": "off", "autovacuum": "off"})
    try:
        with running(cluster):
            url = cluster.url("postgres")
            engine = open_engine(url, variable="CATH_DATABASE_URL", application_name="tidy")
            migrate(engine, CATH)
            with psycopg.connect(url, autocommit=True) as sql, Database(engine) as database:
                sql.execute(ENTRY)
                yield Entries(url, sql, database, [])
    finally:
        remove_state(folder)


def test_a_walk_alone_on_the_server_looks_at_nothing_twice_and_knows_what_is_left(alone: Entries, looks: Looks) -> None:
    fill(alone)

    progress = purge(alone)

    assert (progress.changed, progress.rows_left, progress.oldest_at) == (3 * KEPT, KEPT, NEWEST)
    assert looks.count == 0


def test_a_write_to_whatever_table_is_a_second_writer(alone: Entries, looks: Looks) -> None:
    fill(alone)

    purge(alone, lambda: alone.sql.execute("CREATE TABLE another ()"))

    assert looks.count == 1


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO entry (id, seen_at) VALUES (0, '{OLD}')",
        f"UPDATE entry SET seen_at = '{OLD}' WHERE id = 1",
        f"UPDATE entry SET seen_at = '{OLD}', note = repeat('y', 900) WHERE id = 1",
    ],
    ids=["added", "changed in its place", "moved"],
)
def test_a_row_that_another_session_lets_match_behind_the_walk_goes_too(
    entries: Entries, looks: Looks, statement: str
) -> None:
    fill(entries)

    progress = purge(entries, lambda: entries.sql.execute(statement))

    assert looks.count >= 1
    assert entries.count("entry", f"seen_at = '{OLD}'") == 0
    assert progress.rows_left == entries.count("entry")


@contextlib.contextmanager
def writing(entries: Entries) -> Iterator[psycopg.Connection[Any]]:
    """Yield another session's transaction that has changed the first row, so that it matches, and not committed."""
    with psycopg.connect(entries.url) as other:
        other.execute(f"UPDATE entry SET owner = 'other', seen_at = '{OLD}' WHERE id = 1")
        yield other


def test_a_row_that_was_being_written_when_the_walk_began_goes_too(entries: Entries, looks: Looks) -> None:
    fill(entries)

    with writing(entries) as other:
        purge(entries, other.commit)

    assert looks.count >= 1
    assert entries.count("entry", f"seen_at = '{OLD}'") == 0


def test_a_row_that_nobody_sees_before_the_end_is_left_to_the_next_run(entries: Entries) -> None:
    fill(entries)

    with writing(entries) as other:
        progress = purge(entries)
        other.commit()

    assert progress.rows_left == KEPT
    assert entries.count("entry", f"seen_at = '{OLD}'") == 1


def test_what_a_trigger_writes_is_not_taken_for_what_the_walk_left(entries: Entries, looks: Looks) -> None:
    fill(entries)
    entries.on_delete(f"UPDATE entry SET seen_at = '{OLD}' WHERE id = 1", at=2 * KEPT)

    purge(entries)

    assert looks.count >= 1
    assert entries.count("entry", f"seen_at = '{OLD}'") == 0


def test_a_walk_that_goes_on_where_another_stopped_looks_at_what_that_one_left(entries: Entries, looks: Looks) -> None:
    fill(entries)
    with pytest.raises(KeyboardInterrupt):
        purge(entries, lambda: (_ for _ in ()).throw(KeyboardInterrupt()))

    progress = purge(entries)

    assert looks.count == 1
    assert progress.rows_left == KEPT


def test_a_polite_walk_leaves_the_look_to_the_end(entries: Entries, looks: Looks) -> None:
    fill(entries)

    progress = purge(entries, pacer=Pacer(PACE_LIMITS[Pace.POLITE], sleep=entries.rests.append))

    assert looks.count == 1
    assert progress.rows_left == KEPT
