"""Undoing a run on whatever tables PostgreSQL has: keys of several columns or none, partitions, cycles, deferred keys."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.core.archive.obstacles import PERSONAL, UndoPolicy, find_obstacles
from cath_dagster.core.archive.protected_rows import spare, tables_left_alone
from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.core.postgres.heap import read_heaps
from tests.support.service import outcome
from tests.support.undo_database import AS_OF, DAYS, OLD_THINGS, UndoDatabase, thing

ALONE = replace(OLD_THINGS, children=())


@pytest.fixture
def undoable(cath_url: str) -> Iterator[UndoDatabase]:
    with UndoDatabase.open(cath_url) as opened:
        yield opened


def declare(name: str, *keys: str, schema: str | None = None, **columns: Any) -> sa.Table:
    """Return what a service's `tables.py` would say of a table."""
    return sa.Table(
        name,
        sa.MetaData(),
        *(sa.Column(key, sa.Integer, primary_key=True) for key in keys),
        *(sa.Column(column, kind) for column, kind in columns.items()),
        info={PERSONAL: ()},
        schema=schema,
    )


def old(table: sa.Table, *children: Child) -> Purge:
    return Purge(table=table, rule="old ones", predicate=table.c.is_old, children=children)


def foretold(result: RunResult) -> dict[str, tuple[int, int, int]]:
    return {done.target: (done.matched, done.failed, done.skipped) for done in result.outcomes}


def obstacles(undoable: UndoDatabase, purge: Purge) -> list[str]:
    return undoable.database.transaction(lambda connection: find_obstacles(connection, purge, UndoPolicy(DAYS)))


def undo(undoable: UndoDatabase, *tables: str, purge: Purge) -> None:
    """Purge and restore, and hold what the tables have against what they had; dry run and restore agree."""
    assert obstacles(undoable, purge) == []
    queries = [
        f"SELECT {table}::text, record_send({table}) FROM {name} AS {table} ORDER BY 1"
        for name in tables
        for table in [name.rpartition(".")[2]]
    ]
    before = [undoable.rows(query) for query in queries]
    undoable.purge(purge)
    assert [undoable.rows(query) for query in queries] != before

    preview = undoable.restore(dry_run=True, restore_id="dry")
    result = undoable.restore()

    assert (preview.status, result.status, result.error) == (Status.SUCCESS, Status.SUCCESS, None)
    assert [undoable.rows(query) for query in queries] == before
    assert foretold(preview) == foretold(result)
    again = undoable.restore(restore_id="again")
    assert all(done.restored == 0 for done in again.outcomes)


# Keys


def test_restores_a_partitioned_table_whose_key_has_its_partitions_column(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "CREATE TABLE day (id int, at date, is_old boolean DEFAULT true, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        "CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE day_2 PARTITION OF day DEFAULT;"
        "INSERT INTO day SELECT n, date '2026-01-20' + n, n % 3 > 0, 'note ' || n FROM generate_series(1, 30) n"
    )

    undo(undoable, "day", purge=old(declare("day", "id", is_old=sa.Boolean)))


def test_a_restored_row_of_a_table_with_a_longer_key_is_left_alone(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE TABLE day (id int, at int, is_old boolean DEFAULT true, PRIMARY KEY (id, at))")
    undoable.sql.execute("INSERT INTO day VALUES (1, 1), (2, 1)")
    purge = old(declare("day", "id", is_old=sa.Boolean))
    undoable.purge(purge)
    undoable.restore(where="id = 2")
    undoable.sql.execute("INSERT INTO day VALUES (3, 1)")

    def taken(connection: sa.Connection) -> list[int]:
        spared = spare(purge, tables_left_alone(connection, AS_OF), AS_OF)
        return list(connection.scalars(sa.select(purge.key).where(spared.predicate)))

    assert undoable.database.transaction(taken) == [3]


@pytest.mark.parametrize("keys", [("thing_id", "number"), ()], ids=["declared", "not declared"])
def test_restores_children_with_a_key_of_several_columns_and_leaves_them_alone(
    undoable: UndoDatabase, keys: tuple[str, ...]
) -> None:
    undoable.sql.execute(
        "CREATE TABLE line (thing_id int REFERENCES thing ON DELETE CASCADE, number int, word text, PRIMARY KEY (thing_id, number));"
        "INSERT INTO thing (id) SELECT generate_series(1, 3);"
        "INSERT INTO line SELECT t, n, '\"' || n FROM generate_series(1, 3) t, generate_series(1, 4) n"
    )
    line = declare("line", *keys) if keys else declare("line", thing_id=sa.Integer)
    purge = replace(OLD_THINGS, children=(*OLD_THINGS.children, Child(line, line.c.thing_id)))

    undo(undoable, "thing", "line", purge=purge)

    known = undoable.rows("SELECT key FROM maintenance.restored_row WHERE table_name = 'line' ORDER BY 1")
    assert known[0] == ('["1","1"]',)

    def spared(connection: sa.Connection) -> int:
        left_alone = spare(purge, {"line"} if keys else {"thing"}, AS_OF)
        query = sa.select(sa.func.count()).select_from(thing).where(left_alone.predicate)
        return connection.scalar(query) or 0

    assert undoable.database.transaction(spared) == 0


def test_restores_a_table_that_has_a_unique_index_in_place_of_a_key(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "CREATE TABLE day (id int NOT NULL, is_old boolean DEFAULT true); CREATE UNIQUE INDEX ON day (id)"
    )
    undoable.sql.execute("INSERT INTO day SELECT generate_series(1, 3)")

    undo(undoable, "day", purge=old(declare("day", "id", is_old=sa.Boolean)))


@pytest.mark.parametrize("index", ["", "CREATE UNIQUE INDEX ON day (id)", "CREATE INDEX ON day (id)"])
def test_refuses_to_archive_what_has_no_key_to_be_restored_by(undoable: UndoDatabase, index: str) -> None:
    undoable.sql.execute(f"CREATE TABLE day (id int, is_old boolean DEFAULT true); {index}")

    (reason,) = obstacles(undoable, old(declare("day", "id", is_old=sa.Boolean)))

    assert "day has no primary key" in reason
    assert "undo_days: 0" in reason


@pytest.mark.parametrize("deferred", ["DEFERRABLE", "DEFERRABLE INITIALLY DEFERRED"])
@pytest.mark.parametrize("kind", ["PRIMARY KEY", "UNIQUE"])
def test_restores_rows_whose_unique_columns_are_held_at_the_commit(
    undoable: UndoDatabase, deferred: str, kind: str
) -> None:
    undoable.sql.execute(f"CREATE TABLE day (id int NOT NULL {kind} {deferred}, is_old boolean DEFAULT true)")
    undoable.sql.execute("INSERT INTO day SELECT generate_series(1, 3)")

    undo(undoable, "day", purge=old(declare("day", "id", is_old=sa.Boolean)))


def test_skips_what_has_the_unique_values_of_a_deferred_constraint(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD CONSTRAINT one UNIQUE (note) DEFERRABLE INITIALLY DEFERRED")
    undoable.fill(3)
    undoable.purge()
    undoable.sql.execute("INSERT INTO thing (id, note) VALUES (77, 'note 1')")

    preview = undoable.restore(table="thing", dry_run=True, restore_id="dry")
    result = undoable.restore(table="thing")

    assert foretold(preview) == foretold(result)
    assert outcome(result, "thing").details == outcome(preview, "thing").details == {"taken_ids": ["1"]}


def test_restores_a_table_and_its_namesake_in_another_schema(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "CREATE SCHEMA other; CREATE TABLE other.thing (id int PRIMARY KEY, is_old boolean DEFAULT true, word text);"
        "CREATE TABLE other.piece (id int PRIMARY KEY, thing_id int REFERENCES other.thing ON DELETE CASCADE);"
        "INSERT INTO other.thing SELECT n, true, 'w' || n FROM generate_series(1, 3) n;"
        "INSERT INTO other.piece SELECT n, n FROM generate_series(1, 3) n"
    )
    undoable.fill(2)
    things = declare("thing", "id", schema="other", is_old=sa.Boolean)
    pieces = declare("piece", "id", schema="other", thing_id=sa.Integer)

    undo(undoable, "other.thing", "other.piece", purge=old(things, Child(pieces, pieces.c.thing_id)))

    assert (undoable.count("thing"), undoable.count("piece")) == (2, 4)


@pytest.mark.parametrize("name", ["50% off", 'Say "hi"', "system_user", "lateral", "Ö", "a.b"])
def test_restores_a_family_whatever_it_is_called(undoable: UndoDatabase, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    cursor = undoable.sql.cursor()
    cursor.execute(f"CREATE TABLE {quoted} (id int PRIMARY KEY, is_old boolean DEFAULT true, {quoted} text)".encode())
    cursor.execute(f"CREATE TABLE child ({quoted} int PRIMARY KEY REFERENCES {quoted} ON DELETE CASCADE)".encode())
    cursor.execute(f"INSERT INTO {quoted} VALUES (1), (2)".encode())
    cursor.execute("INSERT INTO child VALUES (1)")
    child = declare("child", name)
    purge = old(declare(name, "id", is_old=sa.Boolean), Child(child, child.c[name]))
    assert obstacles(undoable, purge) == []

    undoable.purge(purge)
    result = undoable.restore()

    assert (result.status, result.error) == (Status.SUCCESS, None)
    assert foretold(result) == {name: (2, 0, 0), "child": (1, 0, 0)}


# Values


def test_keeps_the_blanks_at_the_end_of_a_bpchar_without_a_length(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE DOMAIN padded AS bpchar; CREATE TYPE pair AS (a bpchar, b bpchar[])")
    undoable.sql.execute(
        "ALTER TABLE thing ADD COLUMN a bpchar, ADD COLUMN b padded, ADD COLUMN c bpchar[], ADD COLUMN d pair"
    )
    undoable.sql.execute("INSERT INTO thing VALUES (1, true, '', 'x  ', 'y ', ARRAY['z  '], ROW('p ', ARRAY['q ']))")

    undo(undoable, "thing", purge=OLD_THINGS)


def test_leaves_a_domains_rule_to_the_row_that_breaks_it(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE DOMAIN small AS int; ALTER TABLE thing ADD COLUMN n small")
    undoable.sql.execute("INSERT INTO thing (id, n) SELECT n, n FROM generate_series(1, 3) n")
    undoable.purge(ALONE)
    undoable.sql.execute("ALTER DOMAIN small ADD CONSTRAINT is_small CHECK (VALUE < 3)")

    preview = undoable.restore(dry_run=True, restore_id="dry")
    result = undoable.restore()

    assert outcome(result, "thing").details["reasons"] == ["1: a constraint does not hold of them (is_small)"]
    assert "domain small" in " ".join(preview.notes)
    assert undoable.rows("SELECT id FROM thing ORDER BY 1") == [(1,), (2,)]


# Rows that refer to each other


def test_restores_rows_that_refer_to_each_other_across_tables(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN main_id int REFERENCES piece ON DELETE SET NULL;")
    undoable.fill(120)
    undoable.sql.execute("UPDATE thing SET main_id = 10 * id + 1")

    undo(undoable, "thing", "piece", "crumb", "mention", purge=OLD_THINGS)


def test_restores_rows_of_one_table_that_refer_to_each_other_across_archives(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN other_id int REFERENCES thing ON DELETE SET NULL")
    undoable.sql.execute("INSERT INTO thing (id) SELECT generate_series(1, 1100)")
    # Each refers to the next, the last to the first: none can come back without all.
    undoable.sql.execute("UPDATE thing SET other_id = id % 1100 + 1")

    undo(undoable, "thing", purge=OLD_THINGS)


def test_tells_of_rows_that_wait_for_each_other_and_for_one_that_is_gone(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN main_id int REFERENCES piece ON DELETE SET NULL")
    undoable.sql.execute("CREATE TABLE owner (id int PRIMARY KEY); INSERT INTO owner VALUES (1), (2)")
    undoable.sql.execute("ALTER TABLE piece ADD COLUMN owner_id int REFERENCES owner")
    undoable.fill(4)
    undoable.sql.execute("UPDATE thing SET main_id = 10 * id + 1; UPDATE piece SET owner_id = 1 + thing_id % 2")
    undoable.purge()
    undoable.sql.execute("DELETE FROM owner WHERE id = 1")

    preview = undoable.restore(dry_run=True, restore_id="dry")
    result = undoable.restore()

    assert foretold(preview) == foretold(result)
    assert (preview.status, result.status) == (Status.FAILED, Status.FAILED)
    assert undoable.rows("SELECT id FROM thing ORDER BY 1") == [(1,), (3,)]
    assert (undoable.count("piece"), undoable.count("crumb")) == (4, 8)


def test_leaves_a_row_that_was_made_anew_without_the_reference_that_the_old_one_had(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN other_id int REFERENCES thing ON DELETE SET NULL")
    undoable.sql.execute("INSERT INTO thing (id) SELECT generate_series(1, 40)")
    undoable.sql.execute("UPDATE thing SET other_id = id % 40 + 1")
    undoable.purge()
    undoable.sql.execute("INSERT INTO thing (id, note) SELECT n, 'anew' FROM generate_series(1, 40, 2) n")

    preview = undoable.restore(dry_run=True, restore_id="dry")
    result = undoable.restore()

    assert foretold(preview) == foretold(result)
    assert undoable.count("thing", "note = 'anew' AND other_id IS NULL") == 20
    assert undoable.count("thing", "note IS NULL AND other_id = id % 40 + 1") == 20


def test_a_key_that_the_server_does_not_enforce_is_in_no_rows_way(undoable: UndoDatabase) -> None:
    if undoable.value("SELECT current_setting('server_version_num')::int") < 180000:
        pytest.skip("PostgreSQL has no such keys before 18")
    undoable.sql.execute("CREATE TABLE owner (id int PRIMARY KEY)")
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN owner_id int REFERENCES owner NOT ENFORCED")
    undoable.sql.execute("INSERT INTO thing (id, owner_id) VALUES (1, 9)")

    undo(undoable, "thing", purge=OLD_THINGS)


# What a dry run foresees


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("ADD CONSTRAINT no_second CHECK (id <> 2)", "a constraint does not hold of them (no_second)"),
        ("ADD CONSTRAINT no_second CHECK (length(note) < 100 % 101 AND id <> 2) NOT VALID",
         "a constraint does not hold of them (no_second)"),
        ("ALTER COLUMN word SET NOT NULL", "a column must have a value now, and theirs is NULL (word)"),
        ("ALTER COLUMN note TYPE varchar(6)", "a value does not fit into its column"),
    ],
)  # fmt: skip
def test_foresees_which_rows_the_table_does_not_take_any_more(undoable: UndoDatabase, change: str, reason: str) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN word text")
    undoable.fill(3)
    undoable.sql.execute("UPDATE thing SET word = 'w' WHERE id <> 2; UPDATE thing SET note = 'longer one' WHERE id = 2")
    undoable.purge()
    undoable.sql.cursor().execute(f"ALTER TABLE thing {change}".encode())

    preview = undoable.restore(dry_run=True, restore_id="dry")
    result = undoable.restore()

    assert foretold(preview) == foretold(result)
    assert foretold(result)["thing"] == (3, 1, 0)
    for told in (preview, result):
        says = outcome(told, "thing").details["reasons"]
        assert isinstance(says, list)
        assert [words.startswith(f"1: {reason}") for words in says] == [True]


def test_names_in_a_dry_run_what_it_cannot_foresee(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.purge()
    undoable.sql.execute(
        "CREATE UNIQUE INDEX one_note ON thing (lower(note)); INSERT INTO thing (id, note) VALUES (77, 'NOTE 1');"
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.id = 2 THEN RAISE 'no'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER guard BEFORE INSERT ON thing FOR EACH ROW EXECUTE FUNCTION no()"
    )

    preview = undoable.restore(table="thing", dry_run=True, restore_id="dry")
    result = undoable.restore(table="thing")

    assert "index one_note, trigger guard" in " ".join(preview.notes)
    assert foretold(result)["thing"] == (1, 1, 1)
    assert outcome(result, "thing").details["taken_ids"] == ["1"]
    assert outcome(result, "thing").details["reasons"] == ["1: a trigger refuses them (P0001)"]


def test_names_rows_that_no_partition_takes_any_more(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "CREATE TABLE day (id int PRIMARY KEY, is_old boolean DEFAULT true) PARTITION BY RANGE (id);"
        "CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM (0) TO (5); CREATE TABLE day_2 PARTITION OF day DEFAULT;"
        "INSERT INTO day SELECT generate_series(1, 9)"
    )
    undoable.purge(old(declare("day", "id", is_old=sa.Boolean)))
    undoable.sql.execute("DROP TABLE day_2")

    result = undoable.restore()

    assert outcome(result, "day").details["reasons"] == ["5: no partition takes them now"]
    assert undoable.count("day") == 4


# A table that has changed since


def test_restores_by_the_key_that_the_rows_had_where_the_table_has_another_now(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE TABLE day (id int PRIMARY KEY, is_old boolean DEFAULT true)")
    undoable.sql.execute("INSERT INTO day SELECT generate_series(1, 3)")
    undoable.purge(old(declare("day", "id", is_old=sa.Boolean)))
    undoable.sql.execute(
        "ALTER TABLE day DROP CONSTRAINT day_pkey, ADD COLUMN number int GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    )

    result = undoable.restore()

    assert (result.error, foretold(result)) == (None, {"day": (3, 0, 0)})
    assert foretold(undoable.restore(restore_id="again")) == {"day": (0, 0, 3)}
    assert undoable.rows("SELECT id FROM day ORDER BY 1") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("kind", ["bigint", "text", "numeric"])
def test_restores_into_a_column_that_has_got_a_wider_type(undoable: UndoDatabase, kind: str) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN n int; INSERT INTO thing (id, n) VALUES (1, 7)")
    undoable.purge(ALONE)
    undoable.sql.execute(f"ALTER TABLE thing ALTER COLUMN n TYPE {kind}")

    assert undoable.restore().status is Status.SUCCESS
    assert undoable.value("SELECT n::text FROM thing") == "7"


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("kind", ["int", "date", "json", "int[]"])
def test_refuses_where_a_columns_type_does_not_read_what_was_archived(
    undoable: UndoDatabase, kind: str, dry_run: bool
) -> None:
    undoable.sql.execute("INSERT INTO thing (id, note) VALUES (1, 'seven'), (2, '8')")
    undoable.purge(ALONE)
    undoable.sql.execute(f"ALTER TABLE thing ALTER COLUMN note TYPE {kind} USING NULL")

    result = undoable.restore(dry_run=dry_run)

    assert (result.status, undoable.count("thing")) == (Status.REFUSED, 0)
    assert "note (of type text then" in (result.error or "")
    assert "seven" not in (result.error or "")


def test_refuses_where_the_key_and_what_it_was_are_both_gone(undoable: UndoDatabase) -> None:
    undoable.sql.execute("INSERT INTO thing (id, note) VALUES (1, 'seven')")
    undoable.purge(ALONE)
    undoable.sql.execute(
        "ALTER TABLE thing DROP COLUMN id CASCADE, ADD COLUMN number int GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    )

    result = undoable.restore()

    assert (result.status, undoable.count("thing")) == (Status.REFUSED, 0)
    assert "lost columns that the archived rows have: id" in (result.error or "")


# What is no table


def test_names_the_partition_that_is_a_foreign_table(undoable: UndoDatabase) -> None:
    if undoable.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'file_fdw'") == 0:
        pytest.skip("this server has no file_fdw")
    undoable.sql.execute(
        "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;"
        "CREATE TABLE day (id int, is_old boolean) PARTITION BY RANGE (id);"
        "CREATE FOREIGN TABLE day_far PARTITION OF day FOR VALUES FROM (0) TO (5) SERVER files OPTIONS (program 'true')"
    )
    day = declare("day", "id", is_old=sa.Boolean)

    with pytest.raises(DatabaseStatementError, match=r"its partition public\.day_far is a foreign table"):
        undoable.database.transaction(lambda connection: read_heaps(connection, day))
