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
from tests.core.workshop import (
    IS_OLD,
    NEW,
    OLD,
    RUN,
    WAYS,
    Workshop,
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


def test_deletes_every_matching_row_of_many_blocks_and_no_other(workshop: Workshop) -> None:
    workshop.sql.execute(
        "INSERT INTO entry (id, seen_at, note) "
        f"SELECT n, CASE WHEN n % 3 = 0 THEN '{NEW}' ELSE '{OLD}' END::timestamp, repeat('x', 400) "
        "FROM generate_series(1, 6000) n"
    )

    progress = workshop.purger().delete(old_entries(), limit=None)

    assert progress.changed == 4000
    assert workshop.ids() == list(range(3, 6001, 3))
    assert workshop.ledger_sum() == 4000


@WAYS
def test_keeps_a_row_exactly_at_the_cutoff_and_one_without_an_instant(
    workshop: Workshop, way: Callable[[], Purge]
) -> None:
    workshop.sql.execute(
        "INSERT INTO entry (id, seen_at) VALUES (1, '2026-08-20 01:00'), (2, NULL), (3, '2026-08-20 00:59:59.999999')"
    )

    workshop.purger().delete(way(), limit=None)

    assert workshop.ids() == [1, 2]


@WAYS
def test_finds_nothing_in_an_empty_table(workshop: Workshop, way: Callable[[], Purge]) -> None:
    progress = workshop.purger().delete(way(), limit=None)

    assert progress.changed == 0
    assert progress.rows_left == 0
    assert progress.oldest_at is None


@WAYS
def test_deletes_nothing_the_second_time(workshop: Workshop, way: Callable[[], Purge]) -> None:
    workshop.fill(50)
    workshop.purger().delete(way(), limit=None)

    again = workshop.purger().delete(way(), limit=None)

    assert again.changed == 0
    assert workshop.ledger_sum() == 50


def test_tells_how_many_rows_are_left_and_how_old_the_oldest_is(workshop: Workshop) -> None:
    workshop.fill(5)
    workshop.fill(7, seen_at=NEW, first=100)

    progress = workshop.purger().delete(old_entries(), limit=None)

    assert progress.rows_left == 7
    assert progress.oldest_at == datetime(2026, 11, 1, tzinfo=UTC)


def test_takes_the_rows_of_one_block_in_more_than_one_batch(workshop: Workshop) -> None:
    workshop.fill(100)
    assert workshop.value("SELECT count(DISTINCT (ctid::text::point)[0]) FROM entry") == 1

    progress = workshop.purger().delete(old_entries(), limit=None)

    assert progress.changed == 100
    assert len(workshop.batch_sizes()) > 1


def test_walks_a_table_whose_name_needs_quotes(workshop: Workshop) -> None:
    workshop.sql.execute('CREATE SCHEMA "Odd One"')
    workshop.sql.execute('CREATE TABLE "Odd One"."Select Me" (id int PRIMARY KEY)')
    workshop.sql.execute('INSERT INTO "Odd One"."Select Me" SELECT generate_series(1, 500)')
    odd = sa.Table("Select Me", sa.MetaData(schema="Odd One"), sa.Column("id", sa.Integer, primary_key=True))

    progress = workshop.purger().delete(Purge(table=odd, rule="odd", predicate=odd.c.id % 2 == 0), limit=None)

    assert progress.changed == 250
    assert workshop.count('"Odd One"."Select Me"', "id % 2 = 0") == 0


def leave_room_in_front(workshop: Workshop) -> None:
    """Fill many blocks with old rows, so that the first blocks have room for rows to come."""
    workshop.fill(4000, note="x" * 300)
    workshop.sql.execute("DELETE FROM entry WHERE id <= 100")
    workshop.sql.execute("VACUUM entry")


def block_of(workshop: Workshop, entry_id: int) -> int:
    return int(workshop.value(f"SELECT (ctid::text::point)[0] FROM entry WHERE id = {entry_id}"))


def test_deletes_a_row_that_an_update_moved_behind_the_walk(workshop: Workshop) -> None:
    leave_room_in_front(workshop)
    moves: list[tuple[int, int, int]] = []

    def move(table: str, done: int, total: int) -> None:
        del table, total
        if done >= 10 and not moves:
            before = block_of(workshop, 3000)
            workshop.sql.execute("UPDATE entry SET note = note || 'y' WHERE id = 3000")
            moves.append((block_of(workshop, 3000), done, before))

    progress = workshop.purger(move).delete(old_entries(), limit=None)

    (after, done, before) = moves[0]
    assert after < done < before
    assert workshop.count("entry") == 0
    assert progress.changed == 3900


def test_deletes_a_row_inserted_back_dated_behind_the_walk(workshop: Workshop) -> None:
    leave_room_in_front(workshop)
    places: list[tuple[int, int]] = []

    def insert(table: str, done: int, total: int) -> None:
        del table, total
        if done >= 10 and not places:
            workshop.fill(1, first=5000)
            places.append((block_of(workshop, 5000), done))

    progress = workshop.purger(insert).delete(old_entries(), limit=None)

    assert places[0][0] < places[0][1]
    assert workshop.count("entry") == 0
    assert progress.changed == 3901


def test_deletes_a_row_inserted_back_dated_after_the_last_block(workshop: Workshop) -> None:
    workshop.fill(100)
    late = iter([1])

    def insert(table: str, done: int, total: int) -> None:
        del table
        if done == total and next(late, None):
            workshop.sql.execute(
                "INSERT INTO entry (id, seen_at, note) SELECT n, '2026-01-01', repeat('x', 900) "
                "FROM generate_series(1001, 1100) n"
            )

    workshop.purger(insert).delete(old_entries(), limit=None)

    assert workshop.count("entry") == 0


def test_deletes_a_row_inserted_back_dated_during_a_purge_by_keys(workshop: Workshop) -> None:
    workshop.fill(200)
    late = iter([1])

    def insert(table: str, done: int, total: int) -> None:
        del table, done, total
        if next(late, None):
            workshop.fill(1, first=1000)

    workshop.purger(insert).delete(keyed(), limit=None)

    assert workshop.ids() == []


# Rescued rows


@WAYS
def test_keeps_a_row_rescued_while_its_batch_waited(workshop: Workshop, way: Callable[[], Purge]) -> None:
    workshop.fill(20)

    with workshop.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id = 7"):
        progress = workshop.purger().delete(way(), limit=None)

    assert workshop.ids() == [7]
    assert progress.changed == 19
    assert workshop.ledger_sum() == 19


@WAYS
def test_deletes_a_row_that_was_changed_and_still_matches(workshop: Workshop, way: Callable[[], Purge]) -> None:
    workshop.fill(20)

    with workshop.held_until_awaited("UPDATE entry SET note = 'changed' WHERE id = 7"):
        progress = workshop.purger().delete(way(), limit=None)

    assert workshop.ids() == []
    assert progress.changed == 20


@WAYS
def test_keeps_the_children_the_archive_and_the_files_of_a_rescued_row(
    workshop: Workshop, way: Callable[..., Purge]
) -> None:
    add_family(workshop, "CASCADE")
    workshop.sql.execute("CREATE TABLE kept_entry (id int PRIMARY KEY, seen_at timestamp, kept_by text)")
    purge = way(children=FAMILY, copies=COPY_TO, files=select_files)

    with workshop.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id = 2"):
        workshop.purger().delete(purge, limit=None)

    assert workshop.ids() == [2, 4]
    assert workshop.count("part", "entry_id = 2") == 2
    assert workshop.count("screw", "part_id IN (SELECT id FROM part WHERE entry_id = 2)") == 4
    assert workshop.count("kept_entry", "id = 2") == 0
    assert workshop.count("maintenance.file_outbox", "path = 'files/2'") == 0


def test_keeps_a_row_rescued_by_another_table_while_its_batch_waited(workshop: Workshop) -> None:
    workshop.sql.execute("CREATE TABLE holder (owner text PRIMARY KEY, is_held boolean NOT NULL)")
    workshop.sql.execute("INSERT INTO holder VALUES ('ann', false), ('bob', false)")
    workshop.fill(6)
    workshop.sql.execute("UPDATE entry SET owner = CASE WHEN id <= 3 THEN 'ann' ELSE 'bob' END")
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

    with workshop.held_until_awaited("UPDATE holder SET is_held = true WHERE owner = 'ann'"):
        progress = workshop.purger().delete(purge, limit=None)

    assert workshop.ids() == [1, 2, 3]
    assert progress.changed == 3


def test_goes_on_to_other_rows_when_all_those_of_a_limit_were_rescued(workshop: Workshop) -> None:
    workshop.fill(5)

    with workshop.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id <= 2"):
        progress = workshop.purger().delete(old_entries(), limit=2)

    assert progress.changed == 2
    assert workshop.count("entry", f"seen_at = '{NEW}'") == 2


# Batches sized by time


def test_sizes_batches_by_what_a_row_costs(workshop: Workshop) -> None:
    """A row that takes 5 ms: a batch that aims at 100 ms takes about twenty of them."""
    workshop.fill(1000)

    def clock() -> float:
        return (1000 - workshop.count("entry")) * 0.005

    progress = workshop.purger(clock=clock).delete(old_entries(), limit=None)

    settled = workshop.batch_sizes()[3:-1]
    assert progress.changed == 1000
    assert max(settled) <= 50
    assert sum(settled) / len(settled) >= 8
    assert progress.longest_seconds <= 0.25


@WAYS
def test_sizes_batches_with_children_by_what_a_row_costs(workshop: Workshop, way: Callable[..., Purge]) -> None:
    """A row that takes a whole second, such as one with a foreign key that no index serves, goes with few others."""
    workshop.sql.execute("CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry ON DELETE CASCADE)")
    workshop.fill(300)

    def clock() -> float:
        return float(300 - workshop.count("entry"))

    progress = workshop.purger(clock=clock).delete(way(children=(Child(part, part.c.entry_id),)), limit=None)

    assert progress.changed == 300
    assert max(workshop.batch_sizes()[3:]) <= 4


def test_grows_its_batches_where_rows_are_cheap(workshop: Workshop) -> None:
    workshop.fill(20_000)
    ticks = itertools.count()

    progress = workshop.purger(clock=lambda: next(ticks) * 0.0001).delete(old_entries(), limit=None)

    assert progress.changed == 20_000
    assert progress.batches < 20


# Limits


@pytest.mark.parametrize("limit", [0, 1, 17, 30])
def test_stops_at_the_limit(workshop: Workshop, limit: int) -> None:
    workshop.fill(40)

    progress = workshop.purger().delete(old_entries(), limit=limit)

    assert progress.changed == limit
    assert progress.reached_limit
    assert workshop.count("entry") == 40 - limit


def test_does_not_reach_a_limit_above_what_matches(workshop: Workshop) -> None:
    workshop.fill(40)

    progress = workshop.purger().delete(old_entries(), limit=41)

    assert progress.changed == 40
    assert not progress.reached_limit


def test_takes_no_more_than_its_limit_when_the_answer_to_a_commit_is_lost(workshop: Workshop) -> None:
    workshop.fill(100)
    engine = open_engine(workshop.url, variable="CATH_DATABASE_URL", application_name=f"tidy:{RUN}")

    def lose_answer(connection: sa.Connection) -> None:
        driver = connection.connection.driver_connection
        if workshop.count("entry") == 100 and driver is not None:
            # Committed, if it was a batch, and nobody hears of it.
            driver.commit()
            if workshop.count("entry") < 100:
                driver.close()

    sa.event.listen(engine, "commit", lose_answer)
    with Database(engine, sleep=workshop.pauses.append) as database:
        progress = Workshop(workshop.url, workshop.sql, database, []).purger().delete(old_entries(), limit=20)

    assert len(workshop.pauses) == 1
    assert workshop.count("entry") == 80
    assert workshop.ledger_sum() == 20
    assert progress.reached_limit


# Children, archive and files

FAMILY = (Child(part, part.c.entry_id, (Child(screw, screw.c.part_id),)),)
COPY_TO = CopyTo(kept_entry, {"id": entry.c.id, "seen_at": entry.c.seen_at, "kept_by": sa.literal(RUN)})


def select_files(chosen: sa.ColumnElement[bool]) -> sa.Select[tuple[str, str]]:
    key = sa.cast(entry.c.id, sa.Text)
    return sa.select(key.label("key"), (sa.literal("files/") + key).label("path")).where(chosen)


def add_family(workshop: Workshop, on_delete: str) -> None:
    """Add three old entries and a new one, each with two parts of two screws."""
    workshop.sql.execute(f"CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry ON DELETE {on_delete})")
    workshop.sql.execute(f"CREATE TABLE screw (id int PRIMARY KEY, part_id int REFERENCES part ON DELETE {on_delete})")
    workshop.fill(3)
    workshop.fill(1, seen_at=NEW, first=4)
    workshop.sql.execute("INSERT INTO part SELECT 10 * e + n, e FROM generate_series(1, 4) e, generate_series(1, 2) n")
    workshop.sql.execute("INSERT INTO screw SELECT 10 * id + n, id FROM part, generate_series(1, 2) n")


@WAYS
@pytest.mark.parametrize("on_delete", ["CASCADE", "RESTRICT", "NO ACTION"])
def test_deletes_and_counts_children_at_two_levels(
    workshop: Workshop, way: Callable[..., Purge], on_delete: str
) -> None:
    add_family(workshop, on_delete)

    workshop.purger().delete(way(children=FAMILY), limit=None)

    assert workshop.ids() == [4]
    assert workshop.ids("part") == [41, 42]
    assert workshop.count("screw") == 4
    assert (workshop.ledger_sum(), workshop.ledger_sum("part"), workshop.ledger_sum("screw")) == (3, 6, 12)


def test_deletes_children_of_more_entries_than_one_batch_takes(workshop: Workshop) -> None:
    add_family(workshop, "RESTRICT")
    workshop.fill(2000, first=100)
    workshop.sql.execute("INSERT INTO part SELECT 10 * id, id FROM entry WHERE id >= 100")

    progress = workshop.purger().delete(old_entries(children=FAMILY), limit=None)

    assert progress.changed == 2003
    assert progress.batches > 1
    assert workshop.ids("part") == [41, 42]
    assert workshop.ledger_sum("part") == 2006


@WAYS
def test_archives_what_it_deletes(workshop: Workshop, way: Callable[..., Purge]) -> None:
    workshop.sql.execute("CREATE TABLE kept_entry (id int PRIMARY KEY, seen_at timestamp, kept_by text)")
    workshop.fill(30)
    workshop.fill(3, seen_at=NEW, first=100)

    workshop.purger().delete(way(copies=COPY_TO), limit=None)

    assert workshop.ids("kept_entry") == list(range(1, 31))
    assert workshop.count("kept_entry", f"seen_at = '{OLD}' AND kept_by = '{RUN}'") == 30
    assert workshop.ledger_sum(column="archived") == 30


@WAYS
def test_leaves_what_another_archiver_kept_as_it_is(workshop: Workshop, way: Callable[..., Purge]) -> None:
    workshop.sql.execute("CREATE TABLE kept_entry (id int PRIMARY KEY, seen_at timestamp, kept_by text)")
    workshop.fill(3)
    workshop.sql.execute("INSERT INTO kept_entry VALUES (2, '2025-05-05', 'another')")

    workshop.purger().delete(way(copies=COPY_TO), limit=None)

    assert workshop.count("entry") == 0
    assert workshop.value("SELECT kept_by FROM kept_entry WHERE id = 2") == "another"
    assert workshop.ledger_sum(column="archived") == 2
    assert workshop.ledger_sum() == 3


@WAYS
def test_queues_the_files_of_what_it_deletes(workshop: Workshop, way: Callable[..., Purge]) -> None:
    workshop.fill(2)
    workshop.fill(1, seen_at=NEW, first=3)

    workshop.purger().delete(way(files=select_files), limit=None)

    queued = workshop.sql.execute("SELECT job, run_id, path FROM maintenance.file_outbox ORDER BY path").fetchall()
    assert queued == [("tidy", RUN, "files/1"), ("tidy", RUN, "files/2")]


def test_queues_a_file_once_that_is_queued_already(workshop: Workshop) -> None:
    workshop.fill(1)
    workshop.sql.execute(
        "INSERT INTO maintenance.file_outbox (job, run_id, path, table_name, row_key)"
        " VALUES ('tidy', 'old', 'files/1', 'entry', '1')"
    )

    workshop.purger().delete(old_entries(files=select_files), limit=None)

    assert workshop.count("maintenance.file_outbox") == 1
    assert workshop.count("entry") == 0


def test_undoes_archive_files_and_children_of_a_row_that_does_not_go(workshop: Workshop) -> None:
    add_family(workshop, "RESTRICT")
    workshop.sql.execute("CREATE TABLE kept_entry (id int PRIMARY KEY, seen_at timestamp, kept_by text)")
    workshop.sql.execute(
        "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.id = 2 THEN RAISE EXCEPTION 'no'; END IF; RETURN OLD; END $$"
    )
    workshop.sql.execute("CREATE TRIGGER forbids BEFORE DELETE ON entry FOR EACH ROW EXECUTE FUNCTION forbid()")
    parts, screws = workshop.count("part", "entry_id = 2"), workshop.count("screw")

    progress = workshop.purger().delete(old_entries(children=FAMILY, copies=COPY_TO, files=select_files), limit=None)

    assert list(progress.refused) == [2]
    assert workshop.ids() == [2, 4]
    assert workshop.count("part", "entry_id = 2") == parts > 0
    assert workshop.count("screw") == screws // 2
    assert workshop.ids("kept_entry") == [1, 3]
    assert workshop.value("SELECT array_agg(path ORDER BY path) FROM maintenance.file_outbox") == ["files/1", "files/3"]


def test_names_the_constraint_of_a_reference_nobody_knew_of(workshop: Workshop) -> None:
    workshop.fill(3)
    workshop.sql.execute(
        "CREATE TABLE secret (id int, entry_id int CONSTRAINT secret_holds_entry REFERENCES entry, who text)"
    )
    workshop.sql.execute("INSERT INTO secret VALUES (1, 2, 'ann@example.org')")

    progress = workshop.purger().delete(old_entries(), limit=None)

    assert workshop.ids() == [2]
    assert progress.refused[2].says == "the constraint secret_holds_entry on secret keeps it"
    assert progress.refused[2].is_hold


# Faults


@WAYS
@pytest.mark.parametrize("state", ["40P01", "40001"], ids=["deadlock", "serialization"])
def test_tries_a_batch_again_after_a_fault_that_passes(
    workshop: Workshop, way: Callable[[], Purge], state: str
) -> None:
    workshop.fill(200)
    workshop.on_delete(f"RAISE EXCEPTION 'passing' USING ERRCODE = '{state}'", at=120)

    progress = workshop.purger().delete(way(), limit=None)

    assert workshop.count("entry") == 0
    assert progress.changed == 200
    assert workshop.ledger_sum() == 200
    assert len(workshop.pauses) == 1


def test_deletes_nothing_twice_when_the_connection_is_cut_between_batches(patient: Workshop) -> None:
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
def test_redoes_the_batch_in_which_the_connection_is_cut(patient: Workshop, way: Callable[[], Purge]) -> None:
    patient.fill(200)
    patient.on_delete("PERFORM pg_terminate_backend(pg_backend_pid())", at=120)

    with patient.database:
        patient.database.lock("cath/tidy")
        progress = patient.purger().delete(way(), limit=None)

    assert patient.count("entry") == 0
    assert progress.changed == 200
    assert patient.ledger_sum() == 200


def test_stops_when_another_took_its_lock_while_the_connection_was_lost(workshop: Workshop) -> None:
    workshop.fill(2000)
    seen: list[int] = []

    with psycopg.connect(workshop.url, autocommit=True, application_name="usurper:run-2") as usurper:

        def usurp(table: str, done: int, total: int) -> None:
            del table, done, total
            if seen:
                return
            seen.append(workshop.count("entry"))
            workshop.sql.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'tidy:run-1' AND datname = current_database()"
            )
            usurper.execute("SELECT pg_advisory_lock(hashtextextended('cath/tidy', 0))")

        workshop.database.lock("cath/tidy")
        with pytest.raises(DatabaseUnavailableError, match="usurper:run-2"):
            workshop.purger(usurp).delete(old_entries(), limit=None)

    assert workshop.count("entry") == seen[0]
    assert workshop.ledger_sum() == 2000 - seen[0]


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
    workshop: Workshop, revision: Revision, matched: int
) -> None:
    workshop.fill(500)
    workshop.fill(10, seen_at=NEW, first=1000)

    progress = workshop.purger().update(revision, limit=None, matched=matched)

    assert progress.changed == 500
    assert workshop.count("entry", "owner = 'marked'") == 500
    assert workshop.count("entry", "owner = 'marked' AND id >= 1000") == 0
    assert workshop.ledger_sum(column="updated") == 500


@pytest.mark.parametrize("limit", [0, 1, 20])
def test_changes_no_more_rows_than_the_limit(workshop: Workshop, limit: int) -> None:
    workshop.fill(50)

    progress = workshop.purger().update(MARK, limit=limit)

    assert progress.changed == limit
    assert progress.reached_limit
    assert workshop.count("entry", "owner = 'marked'") == limit


@REVISION_WAYS
def test_does_not_change_a_row_rescued_while_its_batch_waited(
    workshop: Workshop, revision: Revision, matched: int
) -> None:
    workshop.fill(40)

    with workshop.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id = 7"):
        progress = workshop.purger().update(revision, limit=None, matched=matched)

    assert progress.changed == 39
    assert workshop.value("SELECT owner FROM entry WHERE id = 7") is None


@REVISION_WAYS
def test_goes_on_changing_rows_when_a_whole_batch_was_rescued(
    workshop: Workshop, revision: Revision, matched: int
) -> None:
    workshop.fill(40)

    with workshop.held_until_awaited(f"UPDATE entry SET seen_at = '{NEW}' WHERE id <= 20"):
        progress = workshop.purger().update(revision, limit=None, matched=matched)

    assert progress.changed == 20
    assert workshop.count("entry", "owner IS NULL AND seen_at < '2026-08-20'") == 0


@REVISION_WAYS
def test_changes_a_row_that_another_transaction_moved_while_its_batch_waited(
    workshop: Workshop, revision: Revision, matched: int
) -> None:
    workshop.fill(40)

    with workshop.held_until_awaited("UPDATE entry SET note = 'moved' WHERE id = 7"):
        progress = workshop.purger().update(revision, limit=None, matched=matched)

    assert progress.changed == 40
    assert workshop.count("entry", "owner = 'marked' AND note = 'moved'") == 1


@REVISION_WAYS
def test_changes_rows_that_others_add_and_move_while_it_is_at_work(
    workshop: Workshop, revision: Revision, matched: int
) -> None:
    workshop.fill(10_000, note="x" * 300)
    disturbed: list[int] = []

    def disturb(table: str, done: int, total: int) -> None:
        if not disturbed:
            disturbed.append(total)
            workshop.fill(20, first=50_000)
            # To the end of the heap, behind what was read as its end.
            workshop.sql.execute("UPDATE entry SET note = 'moved' WHERE owner IS NULL AND id % 7 = 0")

    progress = workshop.purger(disturb).update(revision, limit=None, matched=matched)

    assert disturbed
    assert progress.changed == workshop.ledger_sum(column="updated") == 10_020
    assert workshop.count("entry", "owner IS NULL") == 0
    assert progress.batches > 3


def test_a_walk_changes_each_row_once(workshop: Workshop) -> None:
    workshop.fill(20_000, note="x" * 50)
    workshop.sql.execute("ALTER TABLE entry ADD COLUMN changes int NOT NULL DEFAULT 0")
    workshop.sql.execute(
        "CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.changes := OLD.changes + 1; RETURN NEW; END $$"
    )
    workshop.sql.execute("CREATE TRIGGER tally BEFORE UPDATE ON entry FOR EACH ROW EXECUTE FUNCTION tally()")

    progress = workshop.purger().update(PLAIN, limit=None, matched=20_000)

    assert progress.changed == 20_000
    assert workshop.count("entry", "changes = 1") == 20_000


def test_a_walk_of_rows_that_are_slow_to_change_takes_few_at_a_time(workshop: Workshop) -> None:
    workshop.fill(2_000)
    workshop.sql.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.001); RETURN NEW; END $$"
    )
    workshop.sql.execute("CREATE TRIGGER dawdle BEFORE UPDATE ON entry FOR EACH ROW EXECUTE FUNCTION dawdle()")

    workshop.purger().update(PLAIN, limit=None, matched=2_000)

    sizes = [
        row[0] for row in workshop.sql.execute("SELECT updated FROM maintenance.ledger_event WHERE kind = 'batch'")
    ]
    assert sum(sizes) == 2_000
    # A block at a time: there is no less.
    assert max(sizes) < 500


def test_gives_up_on_rows_that_go_on_matching(workshop: Workshop) -> None:
    workshop.fill(50)
    never = replace(PLAIN, values={"seen_at": entry.c.seen_at})

    progress = workshop.purger().update(never, limit=None, matched=50)

    assert progress.gave_up
