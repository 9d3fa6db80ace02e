"""Partitioned tables: whole partitions past the cutoff are dropped where that is asked for, the rest is walked."""

import contextlib
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.heap import Heap, read_heaps, read_heaps_of
from cath_dagster.core.purge.access_path import describe_access
from cath_dagster.core.purge.blast_radius import measure
from cath_dagster.core.purge.engine import Purger
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from cath_dagster.core.purge.partitions import find_obstacle, find_whole
from tests.support.entries import RUN, Entries, entry, silent

pytestmark = pytest.mark.both_versions

event = sa.Table(
    "event",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seen_at", sa.DateTime),
    sa.Column("is_held", sa.Boolean),
)
CUTOFF = datetime(2026, 8, 20)


def old_events(predicate: sa.ColumnElement[bool] | None = None) -> Purge:
    is_old = event.c.seen_at < CUTOFF if predicate is None else predicate
    return Purge(table=event, rule="old events", predicate=is_old, cutoff=CUTOFF, age=event.c.seen_at)


@pytest.fixture
def months(entries: Entries) -> Entries:
    """A workshop with a thousand events a month, from June to October 2026, and an empty November."""
    entries.sql.execute(
        "CREATE TABLE event (id int, seen_at timestamp NOT NULL, is_held boolean DEFAULT false, "
        "PRIMARY KEY (id, seen_at)) PARTITION BY RANGE (seen_at)"
    )
    for month in range(5, 12):
        entries.sql.execute(
            f"CREATE TABLE event_{month} PARTITION OF event "
            f"FOR VALUES FROM ('2026-{month:02}-01') TO ('2026-{month + 1:02}-01')"
        )
    entries.sql.execute(
        "INSERT INTO event SELECT n, '2026-06-01'::timestamp + (n % 150) * interval '1 day' FROM generate_series(1, 4500) n"
    )
    entries.sql.execute("ANALYZE event")
    return entries


def purger(entries: Entries, *, drops: bool, keeps_keys: bool = False) -> Purger:
    return replace(entries.purger(silent), drops_partitions=drops, keeps_keys=keeps_keys)


def partitions(entries: Entries) -> set[str]:
    return {row[0] for row in entries.sql.execute("SELECT inhrelid::regclass::text FROM pg_inherits")} & {
        f"event_{month}" for month in range(5, 12)
    }


AUGUST = datetime(2026, 8, 1)
EXPIRED = 80 * 30
"""80 of 150 days lie before the cutoff, with 30 events each."""


@pytest.mark.parametrize("drops", [False, True], ids=["walked", "dropped"])
def test_deletes_the_same_rows_either_way(months: Entries, *, drops: bool) -> None:
    progress = purger(months, drops=drops).delete(old_events(), limit=None)

    assert months.count("event") == 4_500 - EXPIRED
    assert months.count("event", f"seen_at < '{CUTOFF}'") == 0
    assert progress.changed == months.ledger_sum("event") == EXPIRED
    assert progress.rows_left == 4_500 - EXPIRED


@pytest.mark.parametrize("drops", [False, True], ids=["walked", "dropped"])
def test_counts_what_is_left_where_the_partitions_past_the_cutoff_are_empty(months: Entries, *, drops: bool) -> None:
    months.sql.execute("TRUNCATE event_5, event_6, event_7")

    progress = purger(months, drops=drops).delete(old_events(event.c.seen_at < AUGUST), limit=None)

    assert progress.rows_left == months.count("event") > 0


def test_drops_what_is_past_the_cutoff_as_a_whole_and_nothing_else(months: Entries) -> None:
    progress = purger(months, drops=True).delete(old_events(), limit=None)

    assert partitions(months) == {"event_8", "event_9", "event_10", "event_11"}
    assert months.value("SELECT to_regclass('event_7')") is None
    assert describe_access(progress.accessed.as_details()) == "3 partitions dropped, by the heap"


def test_walks_only_partitions_that_may_hold_matching_rows(months: Entries) -> None:
    assert (
        describe_access(purger(months, drops=False).delete(old_events(), limit=None).accessed.as_details())
        == "by the heaps of 4 partitions"
    )


def test_keeps_a_partition_in_which_one_row_is_spared(months: Entries) -> None:
    months.sql.execute("UPDATE event SET is_held = true WHERE id = 150")
    is_free = sa.and_(event.c.seen_at < CUTOFF, sa.not_(event.c.is_held))

    purger(months, drops=True).delete(old_events(is_free), limit=None)

    assert "event_6" in partitions(months)
    assert months.count("event_6") == 1
    assert months.count("event", f"seen_at < '{CUTOFF}'") == 1


def test_keeps_the_partitions_of_a_table_that_others_refer_to(months: Entries) -> None:
    months.sql.execute(
        "CREATE TABLE note (event_id int, event_at timestamp, "
        "FOREIGN KEY (event_id, event_at) REFERENCES event ON DELETE SET NULL)"
    )

    progress = purger(months, drops=True).delete(old_events(), limit=None)

    assert len(partitions(months)) == 7
    assert progress.changed == EXPIRED


NOT_BY_ITSELF = {
    "a view": "CREATE VIEW june AS SELECT * FROM event_6",
    "a foreign key": "CREATE TABLE note (id int, at timestamp, FOREIGN KEY (id, at) REFERENCES event_6)",
    "a trigger of its own": (
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';"
        "CREATE TRIGGER sees AFTER DELETE ON event_6 FOR EACH ROW EXECUTE FUNCTION see()"
    ),
    "a publication": "CREATE PUBLICATION told FOR TABLE event_6",
    "an event trigger": (
        "CREATE FUNCTION veto() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM "
        "pg_event_trigger_dropped_objects() WHERE object_name = 'event_6') THEN RAISE 'no'; END IF; END $$;"
        "CREATE EVENT TRIGGER veto ON sql_drop EXECUTE FUNCTION veto()"
    ),
}


@pytest.mark.parametrize("statements", NOT_BY_ITSELF.values(), ids=NOT_BY_ITSELF)
def test_walks_a_partition_that_cannot_be_dropped_by_itself_and_drops_the_others(
    months: Entries, statements: str
) -> None:
    months.sql.execute(statements)

    progress = purger(months, drops=True).delete(old_events(), limit=None)

    assert partitions(months) == {"event_6", "event_8", "event_9", "event_10", "event_11"}
    assert months.count("event", f"seen_at < '{CUTOFF}'") == 0
    assert progress.changed == months.ledger_sum("event") == EXPIRED


def test_drops_partitions_of_its_own_role_only(months: Entries) -> None:
    months.sql.execute("ALTER TABLE event_6 OWNER TO pg_read_all_data")

    def find(connection: sa.Connection) -> set[str]:
        heaps = tuple(read_heaps(connection, event))
        connection.execute(sa.text("SET LOCAL ROLE pg_read_all_data"))
        return {heap.table.name for heap in find_whole(connection, old_events(), heaps)}

    assert months.database.transaction(find) == {"event_6"}


def test_the_heaps_of_several_tables_are_those_of_each(months: Entries) -> None:
    tables = [entry, event, entry]

    def read(connection: sa.Connection) -> tuple[list[list[object]], list[list[object]]]:
        together, apart = read_heaps_of(connection, tables), [read_heaps(connection, table) for table in tables]
        return [list(map(_told, heaps)) for heaps in together], [list(map(_told, heaps)) for heaps in apart]

    together, apart = months.database.transaction(read)

    assert together == apart
    assert [len(heaps) > 1 for heaps in together] == [False, True, False]


def _told(heap: Heap) -> tuple[object, ...]:
    """Return all that is known of a heap; the table that stands for a partition is made anew each time."""
    return (
        heap.table.schema,
        heap.table.name,
        *(getattr(heap, each.name) for each in fields(heap) if each.name != "table"),
    )


def test_walks_the_partitions_of_a_partition(months: Entries) -> None:
    months.sql.execute("DROP TABLE event_6")
    months.sql.execute(
        "CREATE TABLE event_6 PARTITION OF event FOR VALUES FROM ('2026-06-01') TO ('2026-07-01') PARTITION BY HASH (id);"
        "CREATE TABLE event_6_0 PARTITION OF event_6 FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        "INSERT INTO event SELECT n, '2026-06-02' FROM generate_series(1, 100) n"
    )

    progress = purger(months, drops=True).delete(old_events(), limit=None)

    assert (months.count("event_6"), "event_5" in partitions(months)) == (0, False)
    assert progress.changed == EXPIRED - 900 + 100


def test_deletes_row_by_row_where_a_trigger_of_the_whole_table_sees_each_delete(months: Entries) -> None:
    months.sql.execute(
        "CREATE TABLE seen (id int);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO seen VALUES (OLD.id); RETURN OLD; END';"
        "CREATE TRIGGER sees AFTER DELETE ON event FOR EACH ROW EXECUTE FUNCTION see()"
    )

    purger(months, drops=True).delete(old_events(), limit=None)

    assert months.count("seen") == EXPIRED


def test_takes_no_partition_as_a_whole_from_a_limited_purge(months: Entries) -> None:
    progress = purger(months, drops=True).delete(old_events(), limit=100)

    assert len(partitions(months)) == 7
    assert (progress.changed, months.count("event")) == (100, 4_400)


def test_writes_the_keys_of_a_dropped_partition_down(months: Entries) -> None:
    purger(months, drops=True, keeps_keys=True).delete(old_events(), limit=None)

    assert months.value("SELECT count(DISTINCT key) FROM maintenance.deleted_key WHERE table_name = 'event'") == EXPIRED


def test_walks_a_partition_whose_lock_it_does_not_get(months: Entries, monkeypatch: pytest.MonkeyPatch) -> None:
    hasty = replace(PACE_LIMITS[Pace.BULK].limits, lock_seconds=0.05)
    monkeypatch.setattr("cath_dagster.core.purge.partitions.LIMITS", hasty)
    rests: list[float] = []

    with psycopg.connect(months.url) as reader:
        reader.execute("SELECT count(*) FROM event_6")
        busy = replace(purger(months, drops=True), pacer=Pacer(PACE_LIMITS[Pace.BULK], sleep=rests.append))
        progress = busy.delete(old_events(), limit=None)

    assert "event_6" in partitions(months)
    assert months.count("event_6") == 0
    assert progress.changed == EXPIRED
    assert len(rests) >= 3


@contextlib.contextmanager
def dropping_fails(entries: Entries, what: str) -> Iterator[None]:
    entries.sql.execute(
        f"CREATE FUNCTION veto() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {what}; END $$;"
        "CREATE EVENT TRIGGER veto ON sql_drop EXECUTE FUNCTION veto()"
    )
    yield
    entries.sql.execute("DROP EVENT TRIGGER veto")


def test_killed_while_it_drops_a_partition_leaves_it_whole_for_the_next_run(months: Entries) -> None:
    engine = open_engine(months.url, variable="CATH_DATABASE_URL", application_name=f"tidy:{RUN}")
    attempts: list[float] = []

    class KilledError(Exception):
        pass

    def die(seconds: float) -> None:
        attempts.append(seconds)
        raise KilledError

    with dropping_fails(months, "PERFORM pg_terminate_backend(pg_backend_pid())"), Database(engine, sleep=die) as lost:
        with pytest.raises(KilledError):
            replace(purger(months, drops=True), database=lost).delete(old_events(), limit=None)
        assert len(partitions(months)) == 7
        assert months.count("event") == 4_500
        assert months.ledger_sum("event") == 0

    purger(months, drops=True).delete(old_events(), limit=None)
    assert months.ledger_sum("event") == EXPIRED


def test_measures_all_partitions_together(months: Entries, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = months.database.transaction(
        lambda connection: measure(connection, event, old_events().predicate, exact=True)
    )
    assert (measured.matched, measured.rows) == (EXPIRED, 4_500)

    monkeypatch.setattr("cath_dagster.core.purge.blast_radius.EXACT_BLOCKS", 1)
    monkeypatch.setattr("cath_dagster.core.purge.blast_radius.MIN_ROWS", 100_000)
    drawn = months.database.transaction(lambda connection: measure(connection, event, old_events().predicate))
    assert abs(drawn.rows - 4_500) <= max(drawn.margin, 1)


def test_names_the_owner_to_a_role_that_could_not_drop_partitions(months: Entries) -> None:
    def find(connection: sa.Connection) -> str | None:
        connection.execute(sa.text("SET LOCAL ROLE pg_read_all_data"))
        return find_obstacle(connection, event)

    obstacle: Any = months.database.transaction(find)

    assert "pg_read_all_data does not own event" in obstacle
    assert 'GRANT "postgres" TO "pg_read_all_data"' in obstacle
    assert months.database.transaction(lambda connection: find_obstacle(connection, event)) is None
