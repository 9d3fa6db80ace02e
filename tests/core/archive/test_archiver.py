"""The archive of deleted rows: written with their delete, whole and exact, and gone when its window ends."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from cath_dagster.core.archive.archiver import BYTES_PER_ARCHIVE, ROWS_PER_ARCHIVE, count_ended, delete_ended
from cath_dagster.core.archive.obstacles import PERSONAL, UndoPolicy, find_obstacles
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.model.purge import Child, Purge
from tests.support.undo_database import AS_OF, DAYS, OLD_THINGS, RUN, UndoDatabase, crumb, piece, silent, thing

pytestmark = pytest.mark.both_versions

ENDED = AS_OF + timedelta(days=DAYS)
POLICY = UndoPolicy(days=DAYS)


@pytest.fixture
def undoable(cath_url: str) -> Iterator[UndoDatabase]:
    with UndoDatabase.open(cath_url) as opened:
        yield opened


def archived(undoable: UndoDatabase) -> dict[str, int]:
    """Return by table how many rows are archived."""
    return dict(
        undoable.sql.execute(
            "SELECT table_name, sum(row_count)::int FROM maintenance.archived_rows GROUP BY 1"
        ).fetchall()
    )


def obstacles(undoable: UndoDatabase, purge: Purge = OLD_THINGS, policy: UndoPolicy = POLICY) -> list[str]:
    return undoable.database.transaction(lambda connection: find_obstacles(connection, purge, policy))


def test_archives_what_goes_what_goes_along_and_what_is_set_to_null(undoable: UndoDatabase) -> None:
    undoable.fill(3)

    undoable.purge()

    assert archived(undoable) == {"thing": 3, "piece": 6, "crumb": 12, "mention": 3}
    assert undoable.count("thing") + undoable.count("piece") + undoable.count("crumb") == 0
    assert undoable.count("mention", "thing_id IS NULL") == 3


def test_archives_nothing_of_what_stays(undoable: UndoDatabase) -> None:
    undoable.fill(3)
    undoable.sql.execute("UPDATE thing SET is_old = false WHERE id = 2")

    undoable.purge()

    assert archived(undoable) == {"thing": 2, "piece": 4, "crumb": 8, "mention": 2}
    assert undoable.rows("SELECT id FROM thing") == [(2,)]


def test_says_of_each_archive_whose_it_is_by_which_rule_and_until_when(undoable: UndoDatabase) -> None:
    undoable.fill(1)

    undoable.purge(replace(OLD_THINGS, cutoff=AS_OF))

    query = "SELECT DISTINCT run_id, job, rule, cutoff, undo_days, keep_until FROM maintenance.archived_rows"
    assert undoable.rows(query) == [(RUN, "tidy", "old things", AS_OF, DAYS, ENDED)]


def test_keeps_the_columns_with_their_types_beside_the_values(undoable: UndoDatabase) -> None:
    undoable.fill(1)

    undoable.purge()

    columns, rows = undoable.rows("SELECT columns, rows FROM maintenance.archived_rows WHERE table_name = 'thing'")[0]
    assert columns == [
        {"name": "id", "type": "integer", "key": True},
        {"name": "is_old", "type": "boolean"},
        {"name": "note", "type": "text"},
    ]
    assert rows == [["1", "true", "note 1"]]


def test_archives_a_column_that_no_job_knows(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN later text DEFAULT 'added later'")
    undoable.fill(1)

    undoable.purge()

    assert (
        undoable.value("SELECT rows->0->>3 FROM maintenance.archived_rows WHERE table_name = 'thing'") == "added later"
    )


def test_divides_many_rows_into_archives_of_bounded_length(undoable: UndoDatabase) -> None:
    undoable.sql.execute("INSERT INTO thing (id) SELECT generate_series(1, 1200)")

    undoable.archive_at_once()

    counts = undoable.rows("SELECT row_count FROM maintenance.archived_rows WHERE table_name = 'thing' ORDER BY 1")
    assert counts == [(200,), (ROWS_PER_ARCHIVE,), (ROWS_PER_ARCHIVE,)]


def test_divides_large_rows_into_archives_of_bounded_size(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        f"INSERT INTO thing (id, note) SELECT n, repeat('x', {BYTES_PER_ARCHIVE}) FROM generate_series(1, 6) n"
    )

    undoable.archive_at_once()

    assert archived(undoable) == {"thing": 6}
    assert (
        undoable.value("SELECT max(length(rows::text)) FROM maintenance.archived_rows") < 2 * BYTES_PER_ARCHIVE + 1_000
    )


def test_stores_archives_compressed(undoable: UndoDatabase) -> None:
    undoable.sql.execute("INSERT INTO thing (id, note) SELECT n, repeat('long ', 200) FROM generate_series(1, 500) n")

    undoable.archive_at_once()

    written, stored = undoable.rows(
        "SELECT sum(octet_length(rows::text)), sum(pg_column_size(rows)) FROM maintenance.archived_rows"
    )[0]
    assert stored < written / 4


def test_a_row_that_refuses_to_go_is_not_archived_and_the_others_are(undoable: UndoDatabase) -> None:
    undoable.fill(3)
    undoable.sql.execute("CREATE TABLE holder (thing_id int REFERENCES thing ON DELETE RESTRICT)")
    undoable.sql.execute("INSERT INTO holder VALUES (2)")

    undoable.purge()

    left = {row[0] for row in undoable.rows("SELECT id FROM thing")}
    kept = {
        int(key)
        for (key,) in undoable.rows(
            "SELECT r->>0 FROM maintenance.archived_rows, json_array_elements(rows) r WHERE table_name = 'thing'"
        )
    }
    assert (left, kept) == ({2}, {1, 3})


def test_archives_nothing_of_a_family_of_which_a_trigger_keeps_a_row(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.sql.execute(
        "CREATE FUNCTION spare() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.id = 121 THEN RETURN NULL; END IF; RETURN OLD; END $$;"
        "CREATE TRIGGER spare BEFORE DELETE ON crumb FOR EACH ROW EXECUTE FUNCTION spare()"
    )

    undoable.purge()

    assert undoable.rows("SELECT id FROM crumb ORDER BY 1") == [(111,), (112,), (121,), (122,)]
    assert archived(undoable) == {"thing": 1, "piece": 2, "crumb": 4, "mention": 1}


def test_archives_each_row_of_a_table_that_goes_along_in_two_ways_once(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE piece ADD COLUMN other_id int REFERENCES thing ON DELETE CASCADE")
    other = sa.Table(
        "piece",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("thing_id", sa.Integer),
        sa.Column("other_id", sa.Integer),
        info={PERSONAL: ()},
    )
    undoable.sql.execute("INSERT INTO thing (id) VALUES (1), (2)")
    undoable.sql.execute("INSERT INTO piece (id, thing_id, other_id) VALUES (1, 1, 2), (2, 2, NULL), (3, NULL, 1)")

    undoable.purge(replace(OLD_THINGS, children=(Child(other, other.c.thing_id), Child(other, other.c.other_id))))

    assert archived(undoable) == {"thing": 2, "piece": 3}


# What cannot be undone


def test_finds_nothing_in_the_way_of_a_family_that_is_known(undoable: UndoDatabase) -> None:
    assert obstacles(undoable) == []


def test_names_a_table_whose_rows_would_go_unseen(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE TABLE splinter (id int PRIMARY KEY, piece_id int REFERENCES piece ON DELETE CASCADE)")

    (reason,) = obstacles(undoable)

    assert "splinter" in reason
    assert "undo_days: 0" in reason


def test_names_a_child_that_the_purge_does_not_declare(undoable: UndoDatabase) -> None:
    (reason,) = obstacles(undoable, replace(OLD_THINGS, children=()))

    assert "piece_thing_id_fkey" in reason


def test_names_a_reference_that_falls_back_to_a_default(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "CREATE TABLE hint (id int PRIMARY KEY, thing_id int DEFAULT 1 REFERENCES thing ON DELETE SET DEFAULT)"
    )

    (reason,) = obstacles(undoable)

    assert "hint_thing_id_fkey" in reason


def test_names_a_referring_table_without_a_key(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE TABLE hint (thing_id int REFERENCES thing ON DELETE SET NULL)")

    (reason,) = obstacles(undoable)

    assert "hint" in reason
    assert "primary key" in reason


def test_names_the_tables_and_columns_with_personal_data(undoable: UndoDatabase) -> None:
    person = thing.to_metadata(sa.MetaData())
    person.info = {PERSONAL: ("name", "email")}

    (reason,) = obstacles(undoable, replace(OLD_THINGS, table=person))

    assert "thing (name, email)" in reason
    assert "archive_personal_data_because" in reason


def test_takes_a_table_of_which_nothing_is_said_for_personal(undoable: UndoDatabase) -> None:
    unsaid = crumb.to_metadata(sa.MetaData())
    unsaid.info = {}
    family = (Child(piece, piece.c.thing_id, (Child(unsaid, unsaid.c.piece_id),)),)

    (reason,) = obstacles(undoable, replace(OLD_THINGS, children=family))

    assert "crumb" in reason


def test_takes_personal_data_for_which_a_reason_is_given(undoable: UndoDatabase) -> None:
    person = thing.to_metadata(sa.MetaData())
    person.info = {PERSONAL: ("name",)}

    assert obstacles(undoable, replace(OLD_THINGS, table=person), UndoPolicy(DAYS, "the owner asked for it")) == []
    assert obstacles(undoable, replace(OLD_THINGS, table=person), UndoPolicy(DAYS, "  ")) != []


# The end of the window


def test_deletes_archives_when_their_window_ends_and_no_sooner(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.purge()

    assert delete_ended(undoable.database, "tidy", ENDED - timedelta(seconds=1), report=silent) == 0
    assert archived(undoable)["thing"] == 2
    assert delete_ended(undoable.database, "tidy", ENDED, report=silent) == 2 + 4 + 8 + 2
    assert archived(undoable) == {}


def test_leaves_the_archives_of_another_job(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()

    assert delete_ended(undoable.database, "another", ENDED, report=silent) == 0
    assert archived(undoable) != {}


def test_counts_what_has_ended_and_deletes_nothing(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()

    assert undoable.database.transaction(lambda connection: count_ended(connection, "tidy", ENDED)) == 8
    assert archived(undoable) != {}


def test_deletes_more_archives_than_one_transaction_takes(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()
    copied = (
        "run_id",
        "job",
        "schema_name",
        "table_name",
        "rule",
        "columns",
        "row_count",
        "rows",
        "checksum",
        "undo_days",
        "keep_until",
    )
    names = ", ".join(copied)
    undoable.sql.execute(
        f"INSERT INTO maintenance.archived_rows ({names}) SELECT {names} FROM maintenance.archived_rows, generate_series(1, 150)"
    )

    delete_ended(undoable.database, "tidy", ENDED, report=silent)

    assert archived(undoable) == {}


def test_declares_the_tables_that_the_migration_makes(undoable: UndoDatabase) -> None:
    from cath_dagster.core.maintenance.tables import METADATA as OURS
    from cath_dagster.core.maintenance.tables import SCHEMA

    def compare(connection: sa.Connection) -> dict[str, tuple[list[str], list[str]]]:
        inspector = sa.inspect(connection)
        return {
            name: (
                [column["name"] for column in inspector.get_columns(name, schema=SCHEMA)],
                [column.name for column in OURS.tables[f"{SCHEMA}.{name}"].columns],
            )
            for name in ("ledger_event", "file_outbox", "archived_rows", "restored_row")
        }

    for made, declared in undoable.database.transaction(compare).values():
        assert made == declared


@pytest.mark.parametrize("partitions", [1, 3])
def test_archives_the_rows_of_a_partitioned_table_and_drops_none_of_its_partitions(
    undoable: UndoDatabase, partitions: int
) -> None:
    undoable.sql.execute("CREATE TABLE day (id int PRIMARY KEY, is_old boolean DEFAULT true) PARTITION BY RANGE (id)")
    for number in range(partitions):
        bounds = f"FROM ({number * 10}) TO ({number * 10 + 10})"
        undoable.sql.execute(f"CREATE TABLE day_{number} PARTITION OF day FOR VALUES {bounds}")
    undoable.sql.execute(f"INSERT INTO day SELECT generate_series(0, {partitions * 10 - 1})")
    day = sa.Table("day", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("is_old", sa.Boolean))
    purge = Purge(table=day, rule="old days", predicate=day.c.is_old)

    undoable.purge(purge, drops_partitions=True)

    assert archived(undoable) == {"day": partitions * 10}
    assert undoable.count("day") == 0
    assert undoable.restore().status is Status.SUCCESS
    assert undoable.rows("SELECT id FROM day ORDER BY id") == [(number,) for number in range(partitions * 10)]
