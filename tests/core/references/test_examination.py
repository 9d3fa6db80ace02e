"""A purge and the foreign keys to what it purges: what they hold stays, what they would take along is known before."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.core.model.outcome import Status
from cath_dagster.core.model.purge import Child, Purge
from tests.support.maintained import outcome
from tests.support.purging import tidy
from tests.support.service import Service

pytestmark = pytest.mark.both_versions

METADATA = sa.MetaData()
entry = sa.Table("entry", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("is_old", sa.Boolean))
part = sa.Table("part", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("entry_id", sa.Integer))

OLD = Purge(table=entry, rule="old entries", predicate=entry.c.is_old)
WITH_PARTS = replace(OLD, children=(Child(part, part.c.entry_id),))


@pytest.fixture
def bench(service: Service) -> Service:
    """CaTH with ten entries, five of them old, each with a part and a code of its own."""
    service.connection.execute(
        "CREATE TABLE entry (id int PRIMARY KEY, is_old boolean NOT NULL, code text UNIQUE, tenant int, UNIQUE (tenant, id))"
    )
    service.connection.execute(
        "CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry ON DELETE CASCADE)"
    )
    service.connection.execute("INSERT INTO entry SELECT n, n <= 5, 'code ' || n, 7 FROM generate_series(1, 10) n")
    service.connection.execute("INSERT INTO part SELECT n, n FROM generate_series(1, 10) n")
    return service


def ids(service: Service, table: str = "entry") -> list[int]:
    return [row[0] for row in service.rows(f"SELECT id FROM {table} ORDER BY id")]


HOLDING = {
    "no action": "CREATE TABLE holder (entry_id int REFERENCES entry); INSERT INTO holder VALUES (2)",
    "restrict": "CREATE TABLE holder (entry_id int REFERENCES entry ON DELETE RESTRICT); INSERT INTO holder VALUES (2)",
    "deferred": (
        "CREATE TABLE holder (entry_id int REFERENCES entry DEFERRABLE INITIALLY DEFERRED);"
        "INSERT INTO holder VALUES (2)"
    ),
    "to another unique column": (
        "CREATE TABLE holder (entry text REFERENCES entry (code)); INSERT INTO holder VALUES ('code 2')"
    ),
    "of two columns": (
        "CREATE TABLE holder (t int, e int, FOREIGN KEY (t, e) REFERENCES entry (tenant, id));"
        "INSERT INTO holder VALUES (7, 2), (7, NULL), (NULL, 3)"
    ),
    "from another schema": (
        'CREATE SCHEMA "else"; CREATE TABLE "else"."Holder" ("Entry" int REFERENCES entry);'
        'INSERT INTO "else"."Holder" VALUES (2)'
    ),
    "from a partitioned table": (
        "CREATE TABLE holder (entry_id int REFERENCES entry) PARTITION BY RANGE (entry_id);"
        "CREATE TABLE holder_1 PARTITION OF holder DEFAULT; INSERT INTO holder VALUES (2)"
    ),
    "to what goes along": "CREATE TABLE holder (part_id int REFERENCES part); INSERT INTO holder VALUES (2)",
    "to itself": "ALTER TABLE entry ADD next int REFERENCES entry; UPDATE entry SET next = 2 WHERE id = 8",
}


@pytest.mark.parametrize("statements", HOLDING.values(), ids=HOLDING)
@pytest.mark.parametrize("purge", [OLD, WITH_PARTS], ids=["alone", "with children"])
def test_keeps_the_row_that_another_holds_and_lets_the_others_go(bench: Service, purge: Purge, statements: str) -> None:
    if purge is OLD:
        bench.connection.execute("ALTER TABLE part DROP CONSTRAINT part_entry_id_fkey")
        if "part" in statements and "partition" not in statements:
            pytest.skip("nothing goes along")
    for statement in statements.split(";"):
        bench.connection.execute(statement)

    plan = tidy(bench, purge, dry_run=True)
    result = tidy(bench, purge)

    assert (plan.status, plan.would_refuse, result.status) == (Status.SUCCESS, None, Status.SUCCESS)
    assert ids(bench) == [2, 6, 7, 8, 9, 10]
    assert outcome(plan, "entry").matched == outcome(result, "entry").deleted == 4
    assert outcome(result, "entry").kept == 1
    assert outcome(result, "entry").details["held_ids"] == outcome(plan, "entry").details["held_ids"] == ["2"]
    assert [note for note in result.notes if "_fkey" in note] == [note for note in plan.notes if "_fkey" in note]
    assert len(result.notes) == 1


def test_a_second_run_with_a_held_row_changes_nothing_and_ends_well(bench: Service) -> None:
    bench.connection.execute("CREATE TABLE holder (entry_id int REFERENCES entry)")
    bench.connection.execute("INSERT INTO holder VALUES (2)")
    tidy(bench, OLD)
    tidy(bench, WITH_PARTS)

    again = tidy(bench, WITH_PARTS)

    assert (again.status, outcome(again, "entry").deleted, outcome(again, "entry").kept) == (Status.SUCCESS, 0, 1)


def test_a_key_that_the_server_does_not_enforce_holds_nothing(bench: Service) -> None:
    if bench.connection.info.server_version < 180_000:
        pytest.skip("every key is enforced")
    bench.connection.execute("CREATE TABLE holder (entry_id int REFERENCES entry NOT ENFORCED)")
    bench.connection.execute("INSERT INTO holder VALUES (2)")

    assert outcome(tidy(bench, WITH_PARTS), "entry").deleted == 5


def test_a_row_that_comes_to_be_held_during_the_run_does_not_take_its_batch_along(bench: Service) -> None:
    bench.connection.execute("CREATE TABLE holder (entry_id int REFERENCES entry)")
    bench.connection.execute(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF OLD.id = 1 THEN INSERT INTO holder VALUES (3); END IF; RETURN OLD; END $$"
    )
    bench.connection.execute("CREATE TRIGGER hold BEFORE DELETE ON entry FOR EACH ROW EXECUTE FUNCTION hold()")

    result = tidy(bench, WITH_PARTS)

    assert result.status is Status.SUCCESS
    assert ids(bench) == [3, 6, 7, 8, 9, 10]
    assert outcome(result, "entry").kept == 1
    assert any("holder_entry_id_fkey" in note for note in result.notes)


# Rows that refer to rows of their own table


def chain(service: Service, length: int, *, is_old: str = "true", order: str = "ASC") -> None:
    """Make entries from 101 on, each of which refers to the one before; in the heap in this order."""
    service.connection.execute("ALTER TABLE entry ADD next int REFERENCES entry DEFERRABLE")
    service.connection.execute(
        "INSERT INTO entry (id, is_old, next) SELECT n, "
        f"{is_old}, nullif(n - 1, 100) FROM generate_series(101, {100 + length}) n ORDER BY n {order}"
    )


@pytest.mark.parametrize("order", ["ASC", "DESC"])
def test_a_chain_of_rows_longer_than_a_batch_goes_whole(bench: Service, order: str) -> None:
    chain(bench, 2_000, order=order)

    plan = tidy(bench, WITH_PARTS, dry_run=True)
    result = tidy(bench, WITH_PARTS)

    assert outcome(plan, "entry").matched == outcome(result, "entry").deleted == 2_005
    assert result.status is Status.SUCCESS
    assert outcome(result, "entry").batches > 2


def test_of_a_chain_stays_what_leads_down_to_a_row_that_stays(bench: Service) -> None:
    chain(bench, 50, is_old="n <> 120")

    plan = tidy(bench, WITH_PARTS, dry_run=True)
    result = tidy(bench, WITH_PARTS)

    assert ids(bench) == [*range(6, 11), *range(101, 121)]
    assert outcome(plan, "entry").matched == outcome(result, "entry").deleted == 35
    assert outcome(result, "entry").kept == 19


def test_rows_that_refer_to_each_other_in_a_circle_go_together(bench: Service) -> None:
    chain(bench, 40)
    bench.connection.execute("UPDATE entry SET next = 140 WHERE id = 101")

    result = tidy(bench, WITH_PARTS)

    assert (result.status, ids(bench)) == (Status.SUCCESS, [6, 7, 8, 9, 10])


# Rows that would go along unknown

NOTE = "CREATE TABLE note (entry_id int REFERENCES entry ON DELETE CASCADE, said text)"


def test_refuses_a_cascade_that_nobody_declared_before_anything_is_deleted(bench: Service) -> None:
    bench.connection.execute(NOTE)

    plan = tidy(bench, WITH_PARTS, dry_run=True)
    result = tidy(bench, WITH_PARTS)

    assert result.status is Status.REFUSED
    assert "note_entry_id_fkey" in (result.error or "")
    assert "allow_cascades" in (result.error or "")
    assert plan.would_refuse == result.error
    assert len(ids(bench)) == 10


def test_counts_the_rows_of_a_cascade_that_the_settings_allow(bench: Service) -> None:
    bench.connection.execute(NOTE)
    bench.connection.execute("INSERT INTO note SELECT 1, 'made up' FROM generate_series(1, 3)")
    bench.connection.execute("INSERT INTO note VALUES (9, 'made up')")

    plan = tidy(bench, WITH_PARTS, dry_run=True, allow_cascades="note_entry_id_fkey, another_fkey")
    result = tidy(bench, WITH_PARTS, allow_cascades="note_entry_id_fkey, another_fkey")

    assert result.status is Status.SUCCESS
    assert outcome(plan, "note").matched == outcome(result, "note").deleted == 3
    assert bench.ledger(result.run_id)["note"][3] == 3
    assert bench.count("note") == 1


def test_names_every_cascade_of_a_cascade(bench: Service) -> None:
    bench.connection.execute("CREATE TABLE note (id int PRIMARY KEY, part_id int REFERENCES part ON DELETE CASCADE)")
    bench.connection.execute(
        "CREATE TABLE word (t int, note_id int REFERENCES note ON DELETE CASCADE, PRIMARY KEY (t, note_id))"
    )
    bench.connection.execute("INSERT INTO note VALUES (1, 1), (2, 9)")
    bench.connection.execute("INSERT INTO word VALUES (1, 1), (2, 1), (1, 2)")

    refused = tidy(bench, WITH_PARTS, allow_cascades="note_part_id_fkey")
    result = tidy(bench, WITH_PARTS, allow_cascades="note_part_id_fkey,word_note_id_fkey")

    assert refused.status is Status.REFUSED
    assert "word_note_id_fkey" in (refused.error or "")
    assert "note_part_id_fkey" not in (refused.error or "")
    assert (outcome(result, "note").deleted, outcome(result, "word").deleted) == (1, 2)


def test_counts_a_cascade_of_several_columns(bench: Service) -> None:
    bench.connection.execute(
        "CREATE TABLE note (t int, e int, FOREIGN KEY (t, e) REFERENCES entry (tenant, id) ON DELETE CASCADE)"
    )
    bench.connection.execute("INSERT INTO note VALUES (7, 1), (7, 9), (8, NULL)")

    result = tidy(bench, WITH_PARTS, allow_cascades="note_t_e_fkey")

    assert (outcome(result, "note").deleted, bench.count("note")) == (1, 2)


def test_keeps_a_row_of_which_one_that_would_go_along_by_several_columns_is_held(bench: Service) -> None:
    bench.connection.execute(
        "CREATE TABLE note (id int PRIMARY KEY, t int, e int,"
        " FOREIGN KEY (t, e) REFERENCES entry (tenant, id) ON DELETE CASCADE)"
    )
    bench.connection.execute("CREATE TABLE holder (note_id int REFERENCES note)")
    bench.connection.execute("INSERT INTO note VALUES (1, 7, 1), (2, 7, 2)")
    bench.connection.execute("INSERT INTO holder VALUES (2)")

    plan = tidy(bench, WITH_PARTS, allow_cascades="note_t_e_fkey", dry_run=True)
    result = tidy(bench, WITH_PARTS, allow_cascades="note_t_e_fkey")

    assert ids(bench) == [2, 6, 7, 8, 9, 10]
    assert outcome(plan, "note").matched == outcome(result, "note").deleted == 1
    assert outcome(result, "entry").kept == 1


def test_refuses_a_cascade_in_a_circle_also_where_the_settings_name_it(bench: Service) -> None:
    bench.connection.execute("ALTER TABLE entry ADD above int CONSTRAINT above_fkey REFERENCES entry ON DELETE CASCADE")

    result = tidy(bench, WITH_PARTS, allow_cascades="above_fkey")

    assert result.status is Status.REFUSED
    assert "could not be counted" in (result.error or "")


def test_refuses_a_second_cascade_of_a_child_also_where_the_settings_name_it(bench: Service) -> None:
    bench.connection.execute("ALTER TABLE part ADD other int CONSTRAINT other_fkey REFERENCES entry ON DELETE CASCADE")

    result = tidy(bench, WITH_PARTS, allow_cascades="other_fkey")

    assert result.status is Status.REFUSED
    assert "other_fkey" in (result.error or "")


def test_refuses_to_archive_a_cascade_without_a_reason_and_archives_it_with_one(bench: Service) -> None:
    bench.connection.execute(NOTE.replace("entry_id int", "entry_id int PRIMARY KEY"))
    bench.connection.execute("INSERT INTO note VALUES (1, 'made up')")
    undoing: dict[str, Any] = {"allow_cascades": "note_entry_id_fkey", "undo_days": 30}

    refused = tidy(bench, WITH_PARTS, **undoing)
    result = tidy(bench, WITH_PARTS, archive_personal_data_because="a test", **undoing)

    assert refused.status is Status.REFUSED
    assert result.status is Status.SUCCESS
    assert bench.value("SELECT row_count FROM maintenance.archived_rows WHERE table_name = 'note'") == 1


# Declarations that the catalogue contradicts


def test_refuses_a_child_whose_key_refers_to_another_column_than_rows_are_found_by(bench: Service) -> None:
    bench.connection.execute("ALTER TABLE entry ADD number int UNIQUE")
    bench.connection.execute("UPDATE entry SET number = 11 - id")
    bench.connection.execute("DROP TABLE part")
    bench.connection.execute("CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry (number))")
    bench.connection.execute("INSERT INTO part VALUES (1, 1), (2, 10)")

    result = tidy(bench, WITH_PARTS)

    assert result.status is Status.REFUSED
    assert "part_entry_id_fkey refers to entry (number)" in (result.error or "")
    assert len(ids(bench, "part")) == 2


def test_takes_the_children_of_another_unique_column_where_the_job_says_so(bench: Service) -> None:
    bench.connection.execute("ALTER TABLE entry ADD number int UNIQUE")
    bench.connection.execute("UPDATE entry SET number = 11 - id")
    bench.connection.execute("DROP TABLE part")
    bench.connection.execute("CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry (number))")
    bench.connection.execute("INSERT INTO part VALUES (1, 1), (2, 10)")
    numbered = sa.Table(
        "entry", sa.MetaData(), *(column._copy() for column in entry.c), sa.Column("number", sa.Integer)
    )
    child = Child(part, part.c.entry_id, refers_to=numbered.c.number)

    result = tidy(bench, Purge(table=numbered, rule="old entries", predicate=numbered.c.is_old, children=(child,)))

    assert (result.status, ids(bench, "part")) == (Status.SUCCESS, [1])


def test_refuses_a_table_that_others_inherit_from(bench: Service) -> None:
    bench.connection.execute("CREATE TABLE entry_of_2020 () INHERITS (entry)")
    bench.connection.execute("INSERT INTO entry_of_2020 (id, is_old) VALUES (99, true)")

    result = tidy(bench, WITH_PARTS)

    assert result.status is Status.REFUSED
    assert "entry_of_2020" in (result.error or "")
    assert len(ids(bench)) == 11
