"""Instants that PostgreSQL holds and Python does not, as the oldest of a table, of a batch, and of what is left."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.core.extremes import instant_on_calendar, on_calendar
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.purge.access_path import describe_access
from tests.support.entries import AS_OF, IS_OLD, NEW, OLD, Entries, entry

BEFORE = ("-infinity", "4713-01-01 00:00:00 BC", "0044-03-15 12:00:00.000001 BC", "0001-01-01 00:00:00")
AFTER = ("infinity", "294276-12-31 23:59:59.999999", "20265-01-01 00:00:00", "9999-12-31 23:59:59.999999")


def purge(**changes: Any) -> Purge:
    values = {"table": entry, "rule": "old", "predicate": IS_OLD, "cutoff": AS_OF, "age": entry.c.seen_at}
    return Purge(**{**values, **changes})


def add(entries: Entries, *instants: str, copies: int = 1) -> None:
    entries.sql.cursor().executemany(
        "INSERT INTO entry (id, seen_at) SELECT coalesce(max(id), 0) + 1, %s::timestamp FROM entry",
        [(instant,) for instant in instants for _ in range(copies)],
    )


@pytest.mark.parametrize("left", [AFTER, (*AFTER, NEW)])
@pytest.mark.parametrize("changes", [{}, {"reads_other_rows": True}], ids=["by the heap", "by keys"])
def test_deletes_what_is_older_and_says_the_oldest_that_has_an_age(
    entries: Entries, left: tuple[str, ...], changes: dict[str, Any]
) -> None:
    add(entries, *BEFORE, OLD, *left)

    done = entries.purger().delete(purge(**changes), limit=None)

    assert entries.count("entry") == len(left)
    assert done.changed == len(BEFORE) + 1
    assert done.oldest_at == (datetime(2026, 11, 1, tzinfo=UTC) if NEW in left else None)


@pytest.mark.parametrize("limit", [None, 3])
def test_goes_along_an_index_past_them(entries: Entries, limit: int | None) -> None:
    add(entries, *BEFORE, copies=2)
    add(entries, *[NEW] * 5_000)
    entries.sql.execute("CREATE INDEX ON entry (seen_at)")
    entries.sql.execute("ANALYZE entry")

    done = entries.purger().delete(purge(), limit=limit)

    assert describe_access(done.accessed.as_details()).startswith("along the index")
    assert done.changed == (limit or 2 * len(BEFORE))
    assert done.oldest_at == datetime(2026, 11, 1, tzinfo=UTC)


def test_one_that_is_kept_does_not_hide_the_oldest_of_the_others(entries: Entries) -> None:
    add(entries, "-infinity", "2026-05-01", NEW)

    done = entries.purger().delete(purge(predicate=sa.and_(IS_OLD, entry.c.id < 0)), limit=None)

    assert done.oldest_at == datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize("instant", [*BEFORE, *AFTER])
@pytest.mark.parametrize("kind", [sa.DateTime(), sa.DateTime(timezone=True), sa.Date()], ids=str)
def test_reads_the_nearest_end_of_the_calendar(entries: Entries, instant: str, kind: sa.types.TypeEngine[Any]) -> None:
    value = sa.cast(sa.literal(instant, sa.Text), kind)

    found = entries.database.transaction(lambda c: c.scalar(sa.select(on_calendar(value))))

    day = found.date() if isinstance(found, datetime) else found
    assert day == (date(1, 1, 2) if instant in BEFORE else date(9999, 12, 30))


@pytest.mark.parametrize("instant", [*BEFORE, *AFTER, "2026-11-18 01:00:00.001"])
def test_reads_what_the_server_wrote_into_json(entries: Entries, instant: str) -> None:
    value = sa.cast(sa.literal(instant, sa.Text), sa.DateTime(timezone=True))

    written = entries.database.transaction(lambda c: c.scalar(sa.select(sa.func.to_jsonb(value))))

    assert abs(instant_on_calendar(str(written)) - _nearest(entries, value)).days <= 1


def _nearest(entries: Entries, value: sa.ColumnElement[Any]) -> datetime:
    found = entries.database.transaction(lambda c: c.scalar(sa.select(on_calendar(value))))
    assert isinstance(found, datetime)
    return found


def test_null_stays_null(entries: Entries) -> None:
    value = sa.cast(sa.null(), sa.DateTime())

    assert entries.database.transaction(lambda c: c.scalar(sa.select(on_calendar(value)))) is None
