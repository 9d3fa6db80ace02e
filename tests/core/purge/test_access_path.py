"""How a purge finds its rows: by the planner's choice, the same rows whatever the way, and no whole scan for a few."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.expressions import blocks, in_blocks
from cath_dagster.core.purge.access_path import Accessed, choose_access_path, describe_access
from cath_dagster.core.purge.batch import BatchDeleter
from cath_dagster.core.purge.pace import PACE_LIMITS
from tests.support.entries import Entries, entry, old_entries, part

pytestmark = pytest.mark.both_versions

NEWEST = datetime(2026, 11, 1)
ROWS = 20_000
"""Over 2,000 days, ten a day."""


def older_than(days: int, **more: Any) -> Purge:
    return replace(old_entries(**more), predicate=entry.c.seen_at < NEWEST - timedelta(days=days))


def fill(entries: Entries, *, index: str = "CREATE INDEX entry_seen_at ON entry (seen_at)") -> None:
    entries.sql.execute(
        "INSERT INTO entry (id, seen_at, note) "
        f"SELECT n, '{NEWEST}'::timestamp - (n % 2000) * interval '1 day', repeat('x', 100) "
        f"FROM generate_series(1, {ROWS}) n"
    )
    if index:
        entries.sql.execute(index)
    entries.sql.execute("VACUUM ANALYZE entry")


def way(entries: Entries, purge: Purge) -> str:
    path = entries.database.transaction(lambda connection: choose_access_path(connection, purge))
    return describe_access(Accessed.by(path).as_details())


@pytest.mark.parametrize(
    ("days", "chosen"), [(1_980, "along the index entry_seen_at"), (400, "by the heap")], ids=["few", "many"]
)
def test_goes_along_the_index_for_few_rows_and_by_the_heap_for_many(entries: Entries, days: int, chosen: str) -> None:
    fill(entries)

    progress = entries.purger().delete(older_than(days), limit=None)

    assert describe_access(progress.accessed.as_details()) == chosen
    assert progress.changed == entries.ledger_sum() == 10 * (1_999 - days)
    assert entries.count("entry", f"seen_at < '{NEWEST - timedelta(days=days)}'") == 0
    assert entries.count("entry") == ROWS - progress.changed
    assert progress.oldest_at is not None
    assert progress.oldest_at.replace(tzinfo=None) == NEWEST - timedelta(days=days)


@pytest.mark.parametrize(
    "index",
    [
        "",
        "CREATE INDEX entry_seen_at ON entry (id, seen_at)",
        "CREATE INDEX entry_seen_at ON entry USING brin (seen_at)",
        "CREATE INDEX entry_seen_at ON entry (seen_at) WHERE owner IS NOT NULL",
    ],
    ids=["none", "of another column first", "without an order", "of some rows"],
)
def test_goes_by_the_heap_where_no_index_serves(entries: Entries, index: str) -> None:
    fill(entries, index=index)

    assert way(entries, older_than(1_980)) == "by the heap"


def test_counts_no_rows_left_where_an_index_spares_the_scan(entries: Entries) -> None:
    fill(entries)

    assert entries.purger().delete(older_than(1_980), limit=None).rows_left is None
    assert entries.purger().delete(older_than(400), limit=None).rows_left == entries.count("entry")


def test_takes_rows_that_are_moved_below_the_cursor_of_the_index(entries: Entries) -> None:
    fill(entries)
    moved = iter([True])

    def move(table: str, done: int, total: int) -> None:
        del table, done, total
        if next(moved, None):
            entries.sql.execute("UPDATE entry SET seen_at = '2000-01-01' WHERE id = 1")
            entries.sql.execute("UPDATE entry SET seen_at = now() WHERE id = 1985")

    progress = entries.purger(move).delete(older_than(1_980), limit=None)

    assert describe_access(progress.accessed.as_details()).startswith("along")
    assert entries.count("entry", "id = 1") == 0
    assert entries.count("entry", "id = 1985") == 1
    assert progress.changed == 190


def test_goes_on_through_more_rows_of_one_age_than_it_reads_at_once(
    entries: Entries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cath_dagster.core.purge.key_walk.KEYS_IN_MEMORY", 7)
    fill(entries)
    entries.sql.execute("UPDATE entry SET seen_at = '2000-01-01' WHERE id <= 40")
    entries.sql.execute("VACUUM ANALYZE entry")

    progress = entries.purger().delete(older_than(1_980), limit=None)

    assert describe_access(progress.accessed.as_details()).startswith("along")
    assert entries.count("entry", f"seen_at < '{NEWEST - timedelta(days=1_980)}'") == 0


def test_a_limited_purge_takes_the_oldest_first_along_an_index(entries: Entries) -> None:
    fill(entries)

    progress = entries.purger().delete(older_than(1_980), limit=25)

    assert progress.reached_limit
    assert entries.count("entry", f"seen_at <= '{NEWEST - timedelta(days=1_998)}'") == 0
    assert entries.count("entry", f"seen_at = '{NEWEST - timedelta(days=1_997)}'") == 5


def test_takes_children_along_the_index_too(entries: Entries) -> None:
    fill(entries)
    entries.sql.execute("CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry)")
    entries.sql.execute("CREATE INDEX ON part (entry_id); INSERT INTO part SELECT id, id FROM entry")

    progress = entries.purger().delete(older_than(1_980, children=(Child(part, part.c.entry_id),)), limit=None)

    assert describe_access(progress.accessed.as_details()).startswith("along")
    assert entries.count("entry") == entries.count("part") == ROWS - 190
    assert entries.ledger_sum("part") == 190


def test_refuses_what_is_no_table(entries: Entries) -> None:
    entries.sql.execute("ALTER TABLE entry RENAME TO real_entry; CREATE VIEW entry AS SELECT * FROM real_entry")

    with pytest.raises(DatabaseStatementError, match="entry cannot be purged: it is a view"):
        entries.purger().delete(old_entries(), limit=None)


def test_reads_a_range_alone_also_when_the_server_has_planned_once_for_all(entries: Entries) -> None:
    entries.fill(8_000, note="x" * 200)
    entries.sql.execute("CREATE INDEX ON entry (seen_at); ANALYZE entry")
    purger, purge = entries.purger(), replace(old_entries(), age=None)
    deleter = BatchDeleter(ledger=purger.ledger, job=purger.job, run_id=purger.run_id)
    # As a walk does once it knows what a row costs, and as often as makes the driver prepare the statement.
    for block in range(8):
        values = blocks(block, block + 1)
        work = partial(deleter.delete, purge, in_blocks(purge.table), None, values=values)
        assert purger.database.transaction(work).changed > 0

    def general_plan(connection: sa.Connection) -> str:
        named = "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'DELETE FROM entry WHERE entry.ctid%'"
        name = connection.scalar(sa.text(named))
        connection.execute(sa.text("SET LOCAL plan_cache_mode = force_generic_plan"))
        explained = connection.exec_driver_sql(f"EXPLAIN EXECUTE {name} ('(0,0)', '(1,0)', '2026-08-20')")
        return "\n".join(explained.scalars())

    assert "Tid Range Scan on entry" in entries.database.transaction(general_plan)


# Where an earlier run left off


def kill_at(block: int) -> Any:
    def report(table: str, done: int, total: int) -> None:
        del table, total
        if done >= block:
            raise KeyboardInterrupt

    return report


def even_clock() -> Callable[[], float]:
    """Return a clock by which every batch takes about what is aimed for: batches grow alike on any machine."""
    ticks = itertools.count()
    return lambda: next(ticks) * PACE_LIMITS[Pace.BULK].target_seconds / 2


def killed_and_run_again(entries: Entries, purge: Purge, again: Purge) -> list[int]:
    """Return the blocks that the second run reports, after a first that was killed half way."""
    entries.sql.execute(
        "INSERT INTO entry (id, seen_at, note) SELECT n, '2026-01-01', repeat('x', 400) FROM generate_series(1, 8000) n"
    )
    entries.sql.execute("ANALYZE entry")
    with pytest.raises(KeyboardInterrupt):
        entries.purger(kill_at(200), even_clock()).delete(purge, limit=None)
    seen: list[int] = []
    entries.purger(lambda table, done, total: seen.append(done), run_id="run-2").delete(again, limit=None)
    assert entries.count("entry") == 0
    assert entries.ledger_sum() == 8_000
    return seen


AUGUST = datetime(2026, 8, 20)


def test_the_next_run_with_the_same_cutoff_goes_on_where_one_was_killed(entries: Entries) -> None:
    purge = old_entries(cutoff=AUGUST)

    assert killed_and_run_again(entries, purge, purge)[0] > 200


def test_the_next_run_with_another_cutoff_begins_anew(entries: Entries) -> None:
    later = replace(old_entries(cutoff=AUGUST + timedelta(days=1)), predicate=entry.c.seen_at < AUGUST)

    assert killed_and_run_again(entries, old_entries(cutoff=AUGUST), later)[0] <= 1


def test_finds_what_came_in_below_where_it_goes_on(entries: Entries) -> None:
    purge = old_entries(cutoff=AUGUST)
    entries.fill(3_000, note="x" * 200)
    with pytest.raises(KeyboardInterrupt):
        entries.purger(kill_at(50), even_clock()).delete(purge, limit=None)
    # The freed room at the table's beginning takes the next rows.
    entries.sql.execute("VACUUM entry")
    entries.fill(10, first=5_000)
    assert entries.value("SELECT max((ctid::text::point)[0]) FROM entry WHERE id >= 5000") < 50

    entries.purger(run_id="run-2").delete(purge, limit=None)

    assert entries.count("entry") == 0


def test_begins_anew_after_the_table_was_rewritten(entries: Entries) -> None:
    purge = old_entries(cutoff=AUGUST)
    entries.fill(3_000, note="x" * 200)
    with pytest.raises(KeyboardInterrupt):
        entries.purger(kill_at(50), even_clock()).delete(purge, limit=None)
    entries.sql.execute("VACUUM FULL entry")
    seen: list[int] = []

    entries.purger(lambda table, done, total: seen.append(done), run_id="run-2").delete(purge, limit=None)

    assert seen[0] <= 1
    assert entries.count("entry") == 0


def test_an_empty_table_needs_no_way(entries: Entries) -> None:
    assert way(entries, old_entries()) == "by the heap"
    assert entries.purger().delete(Purge(table=entry, rule="all", predicate=sa.true()), limit=None).changed == 0
