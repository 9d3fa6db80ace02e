"""The purge engine: every matching row goes and no other, whatever others do to the table meanwhile."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.errors import DatabaseUnavailableError
from cath_dagster.core.model.purge import Child, CopyTo, Purge, Revision
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.purge.batch import BatchDeleter
from tests.support.entries import (
    IS_OLD,
    NEW,
    OLD,
    RUN,
    WAYS,
    Entries,
    entry,
    holder,
    kept_entry,
    keyed,
    old_entries,
    part,
    screw,
)

pytestmark = pytest.mark.both_versions

# The walk


def test_deletes_every_matching_row_of_many_blocks_and_no_other(entries: Entries) -> None:
    entries.sql.execute(
        "INSERT INTO entry (id, seen_at, note) "
        f"SELECT n, CASE WHEN n % 3 = 0 THEN '{NEW}' ELSE '{OLD}' END::timestamp, repeat('x', 400) "
        "FROM generate_series(1, 6000) n"
    )

    progress = entries.purger().delete(old_entries(), limit=None)

    assert progress.changed == 4000
    assert entries.ids() == list(range(3, 6001, 3))
    assert entries.ledger_sum() == 4000


@WAYS
def test_keeps_a_row_exactly_at_the_cutoff_and_one_without_an_instant(
    entries: Entries, way: Callable[[], Purge]
) -> None:
    entries.sql.execute(
        "INSERT INTO entry (id, seen_at) VALUES (1, '2026-08-20 01:00'), (2, NULL), (3, '2026-08-20 00:59:59.999999')"
    )

    entries.purger().delete(way(), limit=None)

    assert entries.ids() == [1, 2]


@WAYS
def test_finds_nothing_in_an_empty_table(entries: Entries, way: Callable[[], Purge]) -> None:
    progress = entries.purger().delete(way(), limit=None)

    assert progress.changed == 0
    assert progress.rows_left == 0
    assert progress.oldest_at is None


@WAYS
def test_deletes_nothing_the_second_time(entries: Entries, way: Callable[[], Purge]) -> None:
    entries.fill(50)
    entries.purger().delete(way(), limit=None)

    again = entries.purger().delete(way(), limit=None)

    assert again.changed == 0
    assert entries.ledger_sum() == 50


def test_tells_how_many_rows_are_left_and_how_old_the_oldest_is(entries: Entries) -> None:
    entries.fill(5)
    entries.fill(7, seen_at=NEW, first=100)

    progress = entries.purger().delete(old_entries(), limit=None)

    assert progress.rows_left == 7
    assert progress.oldest_at == datetime(2026, 11, 1, tzinfo=UTC)


def test_takes_the_rows_of_one_block_in_more_than_one_batch(entries: Entries) -> None:
    entries.fill(100)
    assert entries.value("SELECT count(DISTINCT (ctid::text::point)[0]) FROM entry") == 1

    progress = entries.purger().delete(old_entries(), limit=None)

    assert progress.changed == 100
    assert len(entries.batch_sizes()) > 1


def test_a_range_deleted_by_one_statement_loses_what_matches_and_the_ledger_says_so(entries: Entries) -> None:
    # A walk does so once it knows what a row costs, and how soon that is depends on the machine.
    entries.fill(30)
    entries.fill(7, seen_at=NEW, first=100)
    purger = entries.purger()
    deleter = BatchDeleter(ledger=purger.ledger, job=purger.job, run_id=purger.run_id)

    done = purger.database.transaction(lambda connection: deleter.delete(old_entries(), sa.true(), None, connection))

    assert done.changed == 30
    assert entries.ids() == list(range(100, 107))
    assert entries.ledger_sum() == 30


def test_walks_a_table_whose_name_needs_quotes(entries: Entries) -> None:
    entries.sql.execute('CREATE SCHEMA "Odd One"')
    entries.sql.execute('CREATE TABLE "Odd One"."Select Me" (id int PRIMARY KEY)')
    entries.sql.execute('INSERT INTO "Odd One"."Select Me" SELECT generate_series(1, 500)')
    odd = sa.Table("Select Me", sa.MetaData(schema="Odd One"), sa.Column("id", sa.Integer, primary_key=True))

    progress = entries.purger().delete(Purge(table=odd, rule="odd", predicate=odd.c.id % 2 == 0), limit=None)

    assert progress.changed == 250
    assert entries.count('"Odd One"."Select Me"', "id % 2 = 0") == 0


def leave_room_in_front(entries: Entries) -> None:
    """Fill many blocks with old rows, so that the first blocks have room for rows to come."""
    entries.fill(4000, note="x" * 300)
    entries.sql.execute("DELETE FROM entry WHERE id <= 100")
    entries.sql.execute("VACUUM entry")


def block_of(entries: Entries, entry_id: int) -> int:
    return int(entries.value(f"SELECT (ctid::text::point)[0] FROM entry WHERE id = {entry_id}"))


def test_deletes_a_row_that_an_update_moved_behind_the_walk(entries: Entries) -> None:
    leave_room_in_front(entries)
    moves: list[tuple[int, int, int]] = []

    def move(table: str, done: int, total: int) -> None:
        del table, total
        if done >= 10 and not moves:
            before = block_of(entries, 3000)
            entries.sql.execute("UPDATE entry SET note = note || 'y' WHERE id = 3000")
            moves.append((block_of(entries, 3000), done, before))

    progress = entries.purger(move).delete(old_entries(), limit=None)

    (after, done, before) = moves[0]
    assert after < done < before
    assert entries.count("entry") == 0
    assert progress.changed == 3900


def test_deletes_a_row_inserted_back_dated_behind_the_walk(entries: Entries) -> None:
    leave_room_in_front(entries)
    places: list[tuple[int, int]] = []

    def insert(table: str, done: int, total: int) -> None:
        del table, total
        if done >= 10 and not places:
            entries.fill(1, first=5000)
            places.append((block_of(entries, 5000), done))

    progress = entries.purger(insert).delete(old_entries(), limit=None)

    assert places[0][0] < places[0][1]
    assert entries.count("entry") == 0
    assert progress.changed == 3901


def test_deletes_a_row_inserted_back_dated_after_the_last_block(entries: Entries) -> None:
    entries.fill(100)
    late = iter([1])

    def insert(table: str, done: int, total: int) -> None:
        del table
        if done == total and next(late, None):
            entries.sql.execute(
                "INSERT INTO entry (id, seen_at, note) SELECT n, '2026-01-01', repeat('x', 900) "
                "FROM generate_series(1001, 1100) n"
            )

    entries.purger(insert).delete(old_entries(), limit=None)

    assert entries.count("entry") == 0


def test_deletes_a_row_inserted_back_dated_during_a_purge_by_keys(entries: Entries) -> None:
    entries.fill(200)
    late = iter([1])

    def insert(table: str, done: int, total: int) -> None:
        del table, done, total
        if next(late, None):
            entries.fill(1, first=1000)

    entries.purger(insert).delete(keyed(), limit=None)

    assert entries.ids() == []


# Rescued rows


@WAYS
def test_keeps_a_row_rescued_while_its_batch_waited(entries: Entries, way: Callable[[], Purge]) -> None:
    entries.fill(20)

    with entries.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id = 7"):
        progress = entries.purger().delete(way(), limit=None)

    assert entries.ids() == [7]
    assert progress.changed == 19
    assert entries.ledger_sum() == 19


@WAYS
def test_deletes_a_row_that_was_changed_and_still_matches(entries: Entries, way: Callable[[], Purge]) -> None:
    entries.fill(20)

    with entries.held_until_awaited("UPDATE entry SET note = 'changed' WHERE id = 7"):
        progress = entries.purger().delete(way(), limit=None)

    assert entries.ids() == []
    assert progress.changed == 20


@WAYS
def test_keeps_the_children_the_archive_and_the_files_of_a_rescued_row(
    entries: Entries, way: Callable[..., Purge]
) -> None:
    add_family(entries, "CASCADE")
    entries.sql.execute("CREATE TABLE kept_entry (id int PRIMARY KEY, seen_at timestamp, kept_by text)")
    purge = way(children=FAMILY, copies=COPY_TO, files=select_files)

    with entries.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id = 2"):
        entries.purger().delete(purge, limit=None)

    assert entries.ids() == [2, 4]
    assert entries.count("part", "entry_id = 2") == 2
    assert entries.count("screw", "part_id IN (SELECT id FROM part WHERE entry_id = 2)") == 4
    assert entries.count("kept_entry", "id = 2") == 0
    assert entries.count("maintenance.file_outbox", "path = 'files/2'") == 0


def test_keeps_a_row_rescued_by_another_table_while_its_batch_waited(entries: Entries) -> None:
    entries.sql.execute("CREATE TABLE holder (owner text PRIMARY KEY, is_held boolean NOT NULL)")
    entries.sql.execute("INSERT INTO holder VALUES ('ann', false), ('bob', false)")
    entries.fill(6)
    entries.sql.execute("UPDATE entry SET owner = CASE WHEN id <= 3 THEN 'ann' ELSE 'bob' END")
    held = sa.exists().where(holder.c.owner == entry.c.owner, holder.c.is_held)
    purge = Purge(
        table=entry,
        rule="entries nobody holds",
        predicate=sa.and_(IS_OLD, ~held),
        reads_other_rows=True,
        lock_others=lambda keys: [
            sa.select(holder)
            .where(holder.c.owner.in_(sa.select(entry.c.owner).where(entry.c.id.in_(keys))))
            .order_by(holder.c.owner)
            .with_for_update()
        ],
    )

    with entries.held_until_awaited("UPDATE holder SET is_held = true WHERE owner = 'ann'"):
        progress = entries.purger().delete(purge, limit=None)

    assert entries.ids() == [1, 2, 3]
    assert progress.changed == 3


def test_goes_on_to_other_rows_when_all_those_of_a_limit_were_rescued(entries: Entries) -> None:
    entries.fill(5)

    with entries.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id <= 2"):
        progress = entries.purger().delete(old_entries(), limit=2)

    assert progress.changed == 2
    assert entries.count("entry", f"seen_at = '{NEW}'") == 2


# Batches sized by time


def test_sizes_batches_by_what_a_row_costs(entries: Entries) -> None:
    """A row that takes 5 ms: a batch that aims at 100 ms takes about twenty of them."""
    entries.fill(1000)

    def clock() -> float:
        return (1000 - entries.count("entry")) * 0.005

    progress = entries.purger(clock=clock).delete(old_entries(), limit=None)

    settled = entries.batch_sizes()[3:-1]
    assert progress.changed == 1000
    assert max(settled) <= 50
    assert sum(settled) / len(settled) >= 8
    assert progress.longest_seconds <= 0.25


@WAYS
def test_sizes_batches_with_children_by_what_a_row_costs(entries: Entries, way: Callable[..., Purge]) -> None:
    """A row that takes a whole second, such as one with a foreign key that no index serves, goes with few others."""
    entries.sql.execute("CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry ON DELETE CASCADE)")
    entries.fill(300)

    def clock() -> float:
        return float(300 - entries.count("entry"))

    progress = entries.purger(clock=clock).delete(way(children=(Child(part, part.c.entry_id),)), limit=None)

    assert progress.changed == 300
    assert max(entries.batch_sizes()[3:]) <= 4


def test_grows_its_batches_where_rows_are_cheap(entries: Entries) -> None:
    entries.fill(20_000)
    ticks = itertools.count()

    progress = entries.purger(clock=lambda: next(ticks) * 0.0001).delete(old_entries(), limit=None)

    assert progress.changed == 20_000
    assert progress.batches < 20


# Limits


@pytest.mark.parametrize("limit", [0, 1, 17, 30])
def test_stops_at_the_limit(entries: Entries, limit: int) -> None:
    entries.fill(40)

    progress = entries.purger().delete(old_entries(), limit=limit)

    assert progress.changed == limit
    assert progress.reached_limit
    assert entries.count("entry") == 40 - limit


def test_does_not_reach_a_limit_above_what_matches(entries: Entries) -> None:
    entries.fill(40)

    progress = entries.purger().delete(old_entries(), limit=41)

    assert progress.changed == 40
    assert not progress.reached_limit


def test_takes_no_more_than_its_limit_when_the_answer_to_a_commit_is_lost(entries: Entries) -> None:
    entries.fill(100)
    engine = open_engine(entries.url, variable="CATH_DATABASE_URL", application_name=f"tidy:{RUN}")

    def lose_answer(connection: sa.Connection) -> None:
        driver = connection.connection.driver_connection
        if entries.count("entry") == 100 and driver is not None:
            # Committed, if it was a batch, and nobody hears of it.
            driver.commit()
            if entries.count("entry") < 100:
                driver.close()

    sa.event.listen(engine, "commit", lose_answer)
    with Database(engine, sleep=entries.pauses.append) as database:
        progress = Entries(entries.url, entries.sql, database, []).purger().delete(old_entries(), limit=20)

    assert len(entries.pauses) == 1
    assert entries.count("entry") == 80
    assert entries.ledger_sum() == 20
    assert progress.reached_limit


# Children, archive and files

FAMILY = (Child(part, part.c.entry_id, (Child(screw, screw.c.part_id),)),)
COPY_TO = CopyTo(kept_entry, {"id": entry.c.id, "seen_at": entry.c.seen_at, "kept_by": sa.literal(RUN)})


def select_files(chosen: sa.ColumnElement[bool]) -> sa.Select[tuple[str, str]]:
    key = sa.cast(entry.c.id, sa.Text)
    return sa.select(key.label("key"), (sa.literal("files/") + key).label("path")).where(chosen)


def add_family(entries: Entries, on_delete: str) -> None:
    """Add three old entries and a new one, each with two parts of two screws."""
    entries.sql.execute(f"CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry ON DELETE {on_delete})")
    entries.sql.execute(f"CREATE TABLE screw (id int PRIMARY KEY, part_id int REFERENCES part ON DELETE {on_delete})")
    entries.fill(3)
    entries.fill(1, seen_at=NEW, first=4)
    entries.sql.execute("INSERT INTO part SELECT 10 * e + n, e FROM generate_series(1, 4) e, generate_series(1, 2) n")
    entries.sql.execute("INSERT INTO screw SELECT 10 * id + n, id FROM part, generate_series(1, 2) n")


@WAYS
@pytest.mark.parametrize("on_delete", ["CASCADE", "RESTRICT", "NO ACTION"])
def test_deletes_and_counts_children_at_two_levels(entries: Entries, way: Callable[..., Purge], on_delete: str) -> None:
    add_family(entries, on_delete)

    entries.purger().delete(way(children=FAMILY), limit=None)

    assert entries.ids() == [4]
    assert entries.ids("part") == [41, 42]
    assert entries.count("screw") == 4
    assert (entries.ledger_sum(), entries.ledger_sum("part"), entries.ledger_sum("screw")) == (3, 6, 12)


def test_deletes_children_of_more_entries_than_one_batch_takes(entries: Entries) -> None:
    add_family(entries, "RESTRICT")
    entries.fill(2000, first=100)
    entries.sql.execute("INSERT INTO part SELECT 10 * id, id FROM entry WHERE id >= 100")

    progress = entries.purger().delete(old_entries(children=FAMILY), limit=None)

    assert progress.changed == 2003
    assert progress.batches > 1
    assert entries.ids("part") == [41, 42]
    assert entries.ledger_sum("part") == 2006


@WAYS
def test_archives_what_it_deletes(entries: Entries, way: Callable[..., Purge]) -> None:
    entries.sql.execute("CREATE TABLE kept_entry (id int PRIMARY KEY, seen_at timestamp, kept_by text)")
    entries.fill(30)
    entries.fill(3, seen_at=NEW, first=100)

    entries.purger().delete(way(copies=COPY_TO), limit=None)

    assert entries.ids("kept_entry") == list(range(1, 31))
    assert entries.count("kept_entry", f"seen_at = '{OLD}' AND kept_by = '{RUN}'") == 30
    assert entries.ledger_sum(column="archived") == 30


@WAYS
def test_leaves_what_another_archiver_kept_as_it_is(entries: Entries, way: Callable[..., Purge]) -> None:
    entries.sql.execute("CREATE TABLE kept_entry (id int PRIMARY KEY, seen_at timestamp, kept_by text)")
    entries.fill(3)
    entries.sql.execute("INSERT INTO kept_entry VALUES (2, '2025-05-05', 'another')")

    entries.purger().delete(way(copies=COPY_TO), limit=None)

    assert entries.count("entry") == 0
    assert entries.value("SELECT kept_by FROM kept_entry WHERE id = 2") == "another"
    assert entries.ledger_sum(column="archived") == 2
    assert entries.ledger_sum() == 3


@WAYS
def test_queues_the_files_of_what_it_deletes(entries: Entries, way: Callable[..., Purge]) -> None:
    entries.fill(2)
    entries.fill(1, seen_at=NEW, first=3)

    entries.purger().delete(way(files=select_files), limit=None)

    queued = entries.sql.execute("SELECT job, run_id, path FROM maintenance.file_outbox ORDER BY path").fetchall()
    assert queued == [("tidy", RUN, "files/1"), ("tidy", RUN, "files/2")]


def test_queues_a_file_once_that_is_queued_already(entries: Entries) -> None:
    entries.fill(1)
    entries.sql.execute(
        "INSERT INTO maintenance.file_outbox (job, run_id, path, table_name, row_key)"
        " VALUES ('tidy', 'old', 'files/1', 'entry', '1')"
    )

    entries.purger().delete(old_entries(files=select_files), limit=None)

    assert entries.count("maintenance.file_outbox") == 1
    assert entries.count("entry") == 0


def test_undoes_archive_files_and_children_of_a_row_that_does_not_go(entries: Entries) -> None:
    add_family(entries, "RESTRICT")
    entries.sql.execute("CREATE TABLE kept_entry (id int PRIMARY KEY, seen_at timestamp, kept_by text)")
    entries.sql.execute(
        "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.id = 2 THEN RAISE EXCEPTION 'no'; END IF; RETURN OLD; END $$"
    )
    entries.sql.execute("CREATE TRIGGER forbids BEFORE DELETE ON entry FOR EACH ROW EXECUTE FUNCTION forbid()")
    parts, screws = entries.count("part", "entry_id = 2"), entries.count("screw")

    progress = entries.purger().delete(old_entries(children=FAMILY, copies=COPY_TO, files=select_files), limit=None)

    assert list(progress.refused) == [2]
    assert entries.ids() == [2, 4]
    assert entries.count("part", "entry_id = 2") == parts > 0
    assert entries.count("screw") == screws // 2
    assert entries.ids("kept_entry") == [1, 3]
    assert entries.value("SELECT array_agg(path ORDER BY path) FROM maintenance.file_outbox") == ["files/1", "files/3"]


def test_names_the_constraint_of_a_reference_nobody_knew_of(entries: Entries) -> None:
    entries.fill(3)
    entries.sql.execute(
        "CREATE TABLE secret (id int, entry_id int CONSTRAINT secret_holds_entry REFERENCES entry, who text)"
    )
    entries.sql.execute("INSERT INTO secret VALUES (1, 2, 'ann@example.org')")

    progress = entries.purger().delete(old_entries(), limit=None)

    assert entries.ids() == [2]
    assert progress.refused[2].says == "the constraint secret_holds_entry on secret keeps it"
    assert progress.refused[2].is_hold


# Faults


@WAYS
@pytest.mark.parametrize("state", ["40P01", "40001"], ids=["deadlock", "serialization"])
def test_tries_a_batch_again_after_a_fault_that_passes(entries: Entries, way: Callable[[], Purge], state: str) -> None:
    entries.fill(200)
    entries.on_delete(f"RAISE EXCEPTION 'passing' USING ERRCODE = '{state}'", at=120)

    progress = entries.purger().delete(way(), limit=None)

    assert entries.count("entry") == 0
    assert progress.changed == 200
    assert entries.ledger_sum() == 200
    assert len(entries.pauses) == 1


def test_deletes_nothing_twice_when_the_connection_is_cut_between_batches(patient: Entries) -> None:
    patient.fill(2000)
    cuts = iter([1])

    def cut(table: str, done: int, total: int) -> None:
        del table, done, total
        if next(cuts, None):
            patient.sql.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'tidy:run-1' AND datname = current_database()"
            )

    with patient.database:
        patient.database.lock("cath/tidy")
        progress = patient.purger(cut).delete(old_entries(), limit=None)
        held = patient.value(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )

    assert next(cuts, None) is None
    assert patient.count("entry") == 0
    assert progress.changed == 2000
    assert patient.ledger_sum() == 2000
    assert held == 1


@WAYS
def test_redoes_the_batch_in_which_the_connection_is_cut(patient: Entries, way: Callable[[], Purge]) -> None:
    patient.fill(200)
    patient.on_delete("PERFORM pg_terminate_backend(pg_backend_pid())", at=120)

    with patient.database:
        patient.database.lock("cath/tidy")
        progress = patient.purger().delete(way(), limit=None)

    assert patient.count("entry") == 0
    assert progress.changed == 200
    assert patient.ledger_sum() == 200


def test_stops_when_another_took_its_lock_while_the_connection_was_lost(entries: Entries) -> None:
    entries.fill(2000)
    seen: list[int] = []

    with psycopg.connect(entries.url, autocommit=True, application_name="usurper:run-2") as usurper:

        def usurp(table: str, done: int, total: int) -> None:
            del table, done, total
            if seen:
                return
            seen.append(entries.count("entry"))
            entries.sql.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'tidy:run-1' AND datname = current_database()"
            )
            usurper.execute("SELECT pg_advisory_lock(hashtextextended('cath/tidy', 0))")

        entries.database.lock("cath/tidy")
        with pytest.raises(DatabaseUnavailableError, match="usurper:run-2"):
            entries.purger(usurp).delete(old_entries(), limit=None)

    assert entries.count("entry") == seen[0]
    assert entries.ledger_sum() == 2000 - seen[0]


# Revisions

MARK = Revision(
    table=entry,
    rule="mark old entries",
    predicate=sa.and_(IS_OLD, entry.c.owner.is_(None)),
    values={"owner": sa.literal("marked")},
)


PLAIN = replace(MARK, is_plain=True)
REVISION_WAYS = pytest.mark.parametrize(
    ("revision", "matched"), [(MARK, 0), (PLAIN, 1), (PLAIN, 100_000)], ids=["decided", "by keys", "walked"]
)
"""How a revision comes to its rows: which way is taken follows from how many are expected."""


@REVISION_WAYS
def test_changes_every_row_a_revision_describes_and_no_other(
    entries: Entries, revision: Revision, matched: int
) -> None:
    entries.fill(500)
    entries.fill(10, seen_at=NEW, first=1000)

    progress = entries.purger().update(revision, limit=None, matched=matched)

    assert progress.changed == 500
    assert entries.count("entry", "owner = 'marked'") == 500
    assert entries.count("entry", "owner = 'marked' AND id >= 1000") == 0
    assert entries.ledger_sum(column="updated") == 500


@pytest.mark.parametrize("limit", [0, 1, 20])
def test_changes_no_more_rows_than_the_limit(entries: Entries, limit: int) -> None:
    entries.fill(50)

    progress = entries.purger().update(MARK, limit=limit)

    assert progress.changed == limit
    assert progress.reached_limit
    assert entries.count("entry", "owner = 'marked'") == limit


@REVISION_WAYS
def test_does_not_change_a_row_rescued_while_its_batch_waited(
    entries: Entries, revision: Revision, matched: int
) -> None:
    entries.fill(40)

    with entries.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id = 7"):
        progress = entries.purger().update(revision, limit=None, matched=matched)

    assert progress.changed == 39
    assert entries.value("SELECT owner FROM entry WHERE id = 7") is None


@REVISION_WAYS
def test_goes_on_changing_rows_when_a_whole_batch_was_rescued(
    entries: Entries, revision: Revision, matched: int
) -> None:
    entries.fill(40)

    with entries.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id <= 20"):
        progress = entries.purger().update(revision, limit=None, matched=matched)

    assert progress.changed == 20
    assert entries.count("entry", "owner IS NULL AND seen_at < '2026-08-20'") == 0


@REVISION_WAYS
def test_changes_a_row_that_another_transaction_moved_while_its_batch_waited(
    entries: Entries, revision: Revision, matched: int
) -> None:
    entries.fill(40)

    with entries.held_until_awaited("UPDATE entry SET note = 'moved' WHERE id = 7"):
        progress = entries.purger().update(revision, limit=None, matched=matched)

    assert progress.changed == 40
    assert entries.count("entry", "owner = 'marked' AND note = 'moved'") == 1


@REVISION_WAYS
def test_changes_rows_that_others_add_and_move_while_it_is_at_work(
    entries: Entries, revision: Revision, matched: int
) -> None:
    entries.fill(10_000, note="x" * 300)
    disturbed: list[int] = []

    def disturb(table: str, done: int, total: int) -> None:
        if not disturbed:
            disturbed.append(total)
            entries.fill(20, first=50_000)
            # To the end of the heap, behind what was read as its end.
            entries.sql.execute("UPDATE entry SET note = 'moved' WHERE owner IS NULL AND id % 7 = 0")

    progress = entries.purger(disturb).update(revision, limit=None, matched=matched)

    assert disturbed
    assert progress.changed == entries.ledger_sum(column="updated") == 10_020
    assert entries.count("entry", "owner IS NULL") == 0
    assert progress.batches > 3


def test_a_walk_changes_each_row_once(entries: Entries) -> None:
    entries.fill(20_000, note="x" * 50)
    entries.sql.execute("ALTER TABLE entry ADD COLUMN changes int NOT NULL DEFAULT 0")
    entries.sql.execute(
        "CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.changes := OLD.changes + 1; RETURN NEW; END $$"
    )
    entries.sql.execute("CREATE TRIGGER tally BEFORE UPDATE ON entry FOR EACH ROW EXECUTE FUNCTION tally()")

    progress = entries.purger().update(PLAIN, limit=None, matched=20_000)

    assert progress.changed == 20_000
    assert entries.count("entry", "changes = 1") == 20_000


def test_a_walk_of_rows_that_are_slow_to_change_takes_few_at_a_time(entries: Entries) -> None:
    entries.fill(2_000)
    entries.sql.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$"
    )
    entries.sql.execute("CREATE TRIGGER dawdle BEFORE UPDATE ON entry FOR EACH ROW EXECUTE FUNCTION dawdle()")

    entries.purger().update(PLAIN, limit=None, matched=2_000)

    sizes = [row[0] for row in entries.sql.execute("SELECT updated FROM maintenance.ledger_event WHERE kind = 'batch'")]
    assert sum(sizes) == 2_000
    # A block at a time: there is no less.
    assert max(sizes) < 500


def test_gives_up_on_rows_that_go_on_matching(entries: Entries) -> None:
    entries.fill(50)
    never = replace(PLAIN, values={"seen_at": entry.c.seen_at})

    progress = entries.purger().update(never, limit=None, matched=50)

    assert progress.gave_up
