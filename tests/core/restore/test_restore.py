"""Undoing a run: every row comes back as it was, parents first, once, and is left alone for a while."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.core.errors import ConfigurationError, RefusedError
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.restore.restore import UnknownRunError
from tests.support.service import outcome
from tests.support.undo_database import AS_OF, DAYS, OLD_THINGS, PIECES, RUN, UndoDatabase

pytestmark = pytest.mark.both_versions

AWKWARD = {
    "numeric": ["0", "-0.000000000000000000000000000001", "1" * 60, "NaN", "Infinity"],
    "numeric(10, 2)": ["12.30", "-0.01"],
    "double precision": ["0.1", "-0", "NaN", "-Infinity", "5e-324", "1.7976931348623157e308"],
    "real": ["0.1", "16777217"],
    "bigint": ["9223372036854775807", "-9223372036854775808"],
    "money": ["1234.56"],
    "text": [
        "",
        " ",
        "null",
        "NULL",
        "'quoted' \"twice\" \\ %s %(x)s :name",
        "two\nlines\ttab",
        "żółć 🙂 \u2028",
        "\x01",
    ],
    "varchar(5)": ["ab   ", "abcde"],
    "char(5)": ["ab", ""],
    '"char"': ["x"],
    "boolean": ["t", "f"],
    "uuid": ["6d1f2e0a-7a6e-4b56-9a5b-0c7f3b1f9c11"],
    "bytea": ["\\x", "\\x00ff275c"],
    "bit(3)": ["101"],
    "bit varying": ["1", "10101010101"],
    "date": ["2026-02-28", "infinity", "0044-03-15 BC", "20000-01-01"],
    "time": ["23:59:59.999999", "24:00:00"],
    "timetz": ["12:00:00+05:30"],
    "timestamp": ["2026-03-29 02:30:00.123456", "-infinity"],
    "timestamp(3)": ["2026-03-29 02:30:00.123"],
    "timestamptz": ["2026-10-25 02:30:00+02", "2026-10-25 02:30:00+01", "0001-01-01 00:00:00+00 BC"],
    "interval": ["1 year -2 mons +3 days -04:05:06.7", "-1 day"],
    "json": ["null", '{"b": 1, "a": [1, 2.50, "\\u00e9"]}', '"text"', " [1 ] "],
    "jsonb": ["null", '"null"', '{"a": {"b": null}}', "12345678901234567890.123"],
    "integer[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}"],
    "text[]": [r'{NULL,"NULL","","a,b","x\\y","\"quoted\""}'],
    "mood": ["sad", 'it\'s "ok"'],
    "pair": ['(1,"a,b")', "(,)"],
    "short": ["abc"],
    "int4range": ["[1,5)", "empty", "(,)"],
    "inet": ["10.0.0.1", "10.0.0.0/8", "::1"],
    "macaddr": ["08:00:2b:01:02:03"],
    "point": ["(0.1,-2)"],
    "tsvector": ["'a':1A 'cat':5"],
    "pg_lsn": ["16/B374D848"],
}


@pytest.fixture
def undoable(cath_url: str) -> Iterator[UndoDatabase]:
    with UndoDatabase.open(cath_url) as opened:
        yield opened


def counts(result: RunResult, name: str) -> dict[str, int]:
    return {done.target: getattr(done, name) for done in result.outcomes if getattr(done, name)}


def foretold(result: RunResult) -> dict[str, tuple[int, int, int]]:
    """Return by table how many rows come back or cannot, how many cannot, and how many are skipped."""
    return {done.target: (done.matched, done.failed, done.skipped) for done in result.outcomes}


@contextlib.contextmanager
def kept_settings(undoable: UndoDatabase, **values: str) -> Iterator[None]:
    """Let the database's sessions have other settings, and connect anew."""
    (name,) = undoable.rows("SELECT current_database()")[0]
    for setting, value in values.items():
        undoable.sql.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'")
    undoable.sql.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    yield


# What comes back


def test_puts_everything_back_as_it_was(undoable: UndoDatabase) -> None:
    undoable.fill(3)
    before = undoable.everything()
    undoable.purge()

    result = undoable.restore()

    assert result.status is Status.SUCCESS
    assert undoable.everything() == before
    assert counts(result, "restored") == {"thing": 3, "piece": 6, "crumb": 12}
    assert counts(result, "updated") == {"mention": 3}


@pytest.mark.parametrize("kind", AWKWARD)
def test_brings_back_a_value_of_every_type_exactly(undoable: UndoDatabase, kind: str) -> None:
    undoable.sql.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'it''s \"ok\"'); CREATE TYPE pair AS (number int, word text);"
        "CREATE DOMAIN short AS varchar(5) CHECK (VALUE <> '')"
    )
    undoable.sql.execute(f"ALTER TABLE thing ADD COLUMN value {kind}")
    for number, value in enumerate(AWKWARD[kind], start=1):
        undoable.sql.execute(f"INSERT INTO thing (id, value) VALUES (%s, CAST(%s AS {kind}))", (number, value))
    undoable.sql.execute("INSERT INTO thing (id, value) VALUES (99, NULL)")
    digests = "SELECT id, value::text, value IS NULL, pg_column_size(value) FROM thing ORDER BY id"
    before = undoable.rows(digests)
    undoable.purge(replace(OLD_THINGS, children=PIECES))

    result = undoable.restore()

    assert result.status is Status.SUCCESS
    assert undoable.rows(digests) == before


def test_brings_values_back_whatever_the_sessions_of_the_database_are_set_to(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "ALTER TABLE thing ADD COLUMN day date, ADD COLUMN span interval, ADD COLUMN number float8, ADD COLUMN bytes bytea"
    )
    undoable.sql.execute("INSERT INTO thing VALUES (1, true, 'x', '2026-02-03', '-1 day 02:03', 0.1, '\\\\x0041')")
    before = undoable.rows("SELECT * FROM thing")
    with kept_settings(
        undoable, datestyle="ISO, DMY", bytea_output="escape", intervalstyle="sql_standard", extra_float_digits="-5"
    ):
        undoable.purge()
    with kept_settings(undoable, datestyle="ISO, MDY", intervalstyle="postgres", extra_float_digits="1"):
        undoable.restore()

    assert undoable.rows("SELECT * FROM thing") == before


def test_brings_back_rows_of_a_table_with_more_columns_than_a_function_takes(undoable: UndoDatabase) -> None:
    columns = ", ".join(f"ADD COLUMN c{number} int DEFAULT {number}" for number in range(150))
    undoable.sql.execute(f"ALTER TABLE thing {columns}")
    undoable.fill(1)
    before = undoable.everything()
    undoable.purge()

    undoable.restore()

    assert undoable.everything() == before


def test_brings_back_identities_and_computes_generated_columns(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        "CREATE TABLE stamp (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, is_old boolean DEFAULT true, "
        "twice int GENERATED ALWAYS AS (number * 2) STORED, number int)"
    )
    undoable.sql.execute("INSERT INTO stamp (number) VALUES (5), (6)")
    before = undoable.rows("SELECT * FROM stamp ORDER BY id")
    stamp = sa.Table(
        "stamp", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("is_old", sa.Boolean)
    )
    undoable.purge(replace(OLD_THINGS, table=stamp, predicate=stamp.c.is_old, children=()))

    undoable.restore()

    assert undoable.rows("SELECT * FROM stamp ORDER BY id") == before


def test_brings_back_names_that_must_be_quoted(undoable: UndoDatabase) -> None:
    undoable.sql.execute(
        'CREATE TABLE "Odd: Table" ("the Id" int PRIMARY KEY, is_old boolean DEFAULT true, "50% :x" text, "select" int)'
    )
    undoable.sql.cursor().execute('INSERT INTO "Odd: Table" VALUES (1, true, %s, 3)', ("100 %",))
    odd = sa.Table(
        "Odd: Table",
        sa.MetaData(),
        sa.Column("the Id", sa.Integer, primary_key=True),
        sa.Column("is_old", sa.Boolean),
    )
    undoable.purge(replace(OLD_THINGS, table=odd, predicate=odd.c.is_old, children=()))
    assert undoable.count('"Odd: Table"') == 0

    result = undoable.restore(where="\"50% :x\" LIKE '1%' AND \"the Id\"::text = '1'")

    assert result.error is None
    assert undoable.rows('SELECT * FROM "Odd: Table"') == [(1, True, "100 %", 3)]


def test_puts_a_row_back_before_those_of_its_own_table_that_refer_to_it(undoable: UndoDatabase) -> None:
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN parent_id int REFERENCES thing ON DELETE NO ACTION")
    # Each refers to a later one: across parts the parent is not there yet when its child's turn comes.
    undoable.sql.execute(
        "INSERT INTO thing (id, parent_id) SELECT n, NULLIF(n + 700, n + 700) FROM generate_series(1, 1400) n"
    )
    undoable.sql.execute("UPDATE thing SET parent_id = id + 700 WHERE id <= 700")
    undoable.sql.execute("ALTER TABLE thing ALTER CONSTRAINT thing_parent_id_fkey DEFERRABLE INITIALLY DEFERRED")
    before = undoable.rows("SELECT id, parent_id FROM thing ORDER BY id")
    by_keys = replace(OLD_THINGS, reads_other_rows=True)
    undoable.sql.execute("ALTER TABLE thing DROP CONSTRAINT thing_parent_id_fkey")
    undoable.purge(by_keys)
    undoable.sql.execute("ALTER TABLE thing ADD CONSTRAINT parent FOREIGN KEY (parent_id) REFERENCES thing")

    result = undoable.restore()

    assert result.status is Status.SUCCESS
    assert undoable.rows("SELECT id, parent_id FROM thing ORDER BY id") == before


# Which rows


def test_puts_back_the_rows_of_one_table(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.purge()

    result = undoable.restore(table="thing")

    assert counts(result, "restored") == {"thing": 2}
    assert (undoable.count("thing"), undoable.count("piece")) == (2, 0)
    assert undoable.count("mention", "thing_id IS NOT NULL") == 2


def test_puts_back_the_rows_for_which_a_condition_holds(undoable: UndoDatabase) -> None:
    undoable.fill(3)
    undoable.purge()

    result = undoable.restore(table="thing", where="id > 1 AND thing.note <> 'note 3' -- the second")

    assert counts(result, "restored") == {"thing": 1}
    assert undoable.rows("SELECT id, note FROM thing") == [(2, "note 2")]
    assert undoable.rows("SELECT id FROM mention WHERE thing_id IS NOT NULL") == [(2,)]


def test_a_condition_holds_for_every_table_where_none_is_named(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.sql.execute(
        "ALTER TABLE thing ADD COLUMN colour text; ALTER TABLE piece ADD COLUMN colour text;"
        "ALTER TABLE crumb ADD COLUMN colour text; UPDATE thing SET colour = 'red' WHERE id = 1;"
        "UPDATE piece SET colour = 'red' WHERE thing_id = 1"
    )
    undoable.purge()

    result = undoable.restore(where="colour = 'red'")

    assert counts(result, "restored") == {"thing": 1, "piece": 2}


@pytest.mark.parametrize(
    "where",
    ["colour = 'red'", "id =", "id > 1; DELETE FROM mention", "true) AS x; DELETE FROM mention; --", "count(*) > 1"],
)
def test_refuses_what_is_no_condition_and_changes_nothing(undoable: UndoDatabase, where: str) -> None:
    undoable.fill(2)
    undoable.purge()

    with pytest.raises(ConfigurationError, match="--where"):
        undoable.restore(table="thing", where=where)

    assert (undoable.count("thing"), undoable.count("mention")) == (0, 2)


def test_a_condition_cannot_write(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.sql.execute(
        "CREATE FUNCTION wipe() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN DELETE FROM mention; RETURN true; END $$"
    )
    undoable.purge()

    for dry_run in (True, False):
        result = undoable.restore(table="thing", where="wipe()", dry_run=dry_run)
        assert result.status is Status.FAILED
        assert "read-only" in (result.error or "")

    assert (undoable.count("thing"), undoable.count("mention")) == (0, 2)


def test_refuses_a_table_of_which_nothing_was_archived(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()

    with pytest.raises(ConfigurationError, match="thing"):
        undoable.restore(table="things")


# Again


def test_does_nothing_the_second_time(undoable: UndoDatabase) -> None:
    undoable.fill(3)
    before = undoable.everything()
    undoable.purge()
    undoable.restore()

    again = undoable.restore(restore_id="again")

    assert again.status is Status.SUCCESS
    assert counts(again, "restored") == counts(again, "updated") == {}
    assert counts(again, "skipped") == {"thing": 3, "piece": 6, "crumb": 12}
    assert undoable.everything() == before


def test_skips_what_is_there_and_leaves_it_as_it_is(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.purge()
    undoable.sql.execute("INSERT INTO thing (id, note) VALUES (1, 'somebody else''s')")

    result = undoable.restore(table="thing")

    assert (outcome(result, "thing").restored, outcome(result, "thing").skipped) == (1, 1)
    assert undoable.rows("SELECT id, note FROM thing ORDER BY id") == [(1, "somebody else's"), (2, "note 2")]


def test_skips_a_row_whose_unique_values_another_has_and_names_it(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE UNIQUE INDEX ON thing (note)")
    undoable.fill(2)
    undoable.purge()
    undoable.sql.execute("INSERT INTO thing (id, note) VALUES (77, 'note 1')")

    result = undoable.restore(table="thing")

    done = outcome(result, "thing")
    assert (result.status, done.restored, done.skipped, done.details) == (Status.SUCCESS, 1, 1, {"taken_ids": ["1"]})
    assert undoable.rows("SELECT id FROM thing ORDER BY id") == [(2,), (77,)]


def test_a_restore_cut_off_midway_is_finished_by_the_next(undoable: UndoDatabase) -> None:
    undoable.fill(100)
    before = undoable.everything()
    undoable.purge()
    undoable.sql.execute("CREATE SEQUENCE inserted")
    undoable.sql.execute(
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF nextval('inserted') = 150 THEN RAISE insufficient_privilege; END IF; RETURN NEW; END $$"
    )
    for table in ("thing", "piece"):
        undoable.sql.execute(f"CREATE TRIGGER stop BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION stop()")
    cut = undoable.restore()
    assert cut.status is Status.FAILED
    assert outcome(cut, "thing").restored == undoable.count("thing") == 100
    assert undoable.count("piece") < 200

    result = undoable.restore(restore_id="again")

    assert result.status is Status.SUCCESS
    assert undoable.everything() == before
    recorded = "SELECT sum(restored) FROM maintenance.purge_ledger WHERE table_name = 'piece'"
    assert undoable.value(recorded) == 200


# What cannot come back


def test_tells_which_rows_have_lost_what_they_refer_to_and_brings_the_others_back(undoable: UndoDatabase) -> None:
    undoable.sql.execute("CREATE TABLE owner (id int PRIMARY KEY)")
    undoable.sql.execute("INSERT INTO owner VALUES (1), (2)")
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN owner_id int REFERENCES owner ON DELETE RESTRICT")
    undoable.fill(4)
    undoable.sql.execute("UPDATE thing SET owner_id = 1 + id % 2")
    undoable.purge()
    undoable.sql.execute("DELETE FROM owner WHERE id = 1")

    preview = undoable.restore(dry_run=True, restore_id="dry")
    result = undoable.restore()

    assert result.status is Status.FAILED
    assert outcome(result, "thing").details["failed_ids"] == ["2", "4"]
    assert "thing_owner_id_fkey" in " ".join(result.notes)
    assert undoable.rows("SELECT id FROM thing ORDER BY id") == [(1,), (3,)]
    assert (outcome(result, "piece").restored, outcome(result, "piece").failed) == (4, 4)
    assert undoable.rows("SELECT id FROM mention WHERE thing_id IS NOT NULL ORDER BY 1") == [(1,), (3,)]
    assert foretold(preview) == foretold(result)
    assert outcome(preview, "thing").details == outcome(result, "thing").details
    assert outcome(result, "piece").details["reasons"] == [
        "4: the row that they refer to is gone (piece_thing_id_fkey)"
    ]


def test_tells_which_row_a_constraint_keeps_out_and_brings_the_others_back(undoable: UndoDatabase) -> None:
    undoable.fill(3)
    undoable.purge()
    undoable.sql.execute("ALTER TABLE thing ADD CONSTRAINT no_second CHECK (id <> 2)")

    result = undoable.restore(table="thing")

    assert result.status is Status.FAILED
    assert (outcome(result, "thing").restored, outcome(result, "thing").failed) == (2, 1)
    assert outcome(result, "thing").details["failed_ids"] == ["2"]
    assert "no_second" in " ".join(result.notes)


def test_names_a_column_that_the_table_has_lost_and_restores_nothing(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()
    undoable.sql.execute("ALTER TABLE piece DROP COLUMN note")

    result = undoable.restore()

    assert (result.status, undoable.count("thing")) == (Status.REFUSED, 0)
    assert "piece" in (result.error or "")
    assert "note" in (result.error or "")


def test_names_a_column_that_has_come_without_a_default_and_restores_nothing(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()
    undoable.sql.execute("ALTER TABLE piece ADD COLUMN weight int NOT NULL")

    result = undoable.restore()

    assert (result.status, undoable.count("thing")) == (Status.REFUSED, 0)
    assert "weight" in (result.error or "")


def test_gives_a_column_that_has_come_since_its_default(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()
    undoable.sql.execute("ALTER TABLE thing ADD COLUMN weight int NOT NULL DEFAULT 7")

    undoable.restore()

    assert undoable.rows("SELECT id, weight FROM thing") == [(1, 7)]


def test_cuts_no_value_that_has_become_too_long(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()
    undoable.sql.execute("ALTER TABLE thing ALTER COLUMN note TYPE varchar(3)")

    result = undoable.restore(table="thing")

    assert (result.status, outcome(result, "thing").failed, undoable.count("thing")) == (Status.FAILED, 1, 0)


def test_refuses_a_damaged_archive_and_restores_nothing(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.purge()
    undoable.sql.execute(
        "UPDATE maintenance.archived_rows SET rows = replace(rows::text, 'note', 'Note')::json WHERE table_name = 'thing'"
    )

    result = undoable.restore()

    assert result.status is Status.REFUSED
    assert "checksum" in (result.error or "")
    assert undoable.count("thing") + undoable.count("piece") == 0


def test_refuses_when_the_window_has_ended(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()

    result = undoable.restore(days_later=DAYS)

    assert result.status is Status.REFUSED
    assert (AS_OF + timedelta(days=DAYS)).isoformat() in (result.error or "")
    assert undoable.count("thing") == 0


def test_refuses_a_run_that_nobody_knows(undoable: UndoDatabase) -> None:
    with pytest.raises(UnknownRunError, match="no-such-run"):
        undoable.restore("no-such-run")


def test_says_of_a_run_without_archive_that_it_has_none(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()
    undoable.sql.execute("DELETE FROM maintenance.archived_rows")

    with pytest.raises(RefusedError, match="no archive"):
        undoable.restore()


def test_refuses_beside_a_run_of_a_job_that_deletes_from_the_same_tables(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()
    with psycopg.connect(undoable.url, application_name="tidy:busy") as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended('cath/tidy', 0))")

        result = undoable.restore()

    assert result.status is Status.REFUSED
    assert "tidy:busy" in (result.error or "")
    assert undoable.count("thing") == 0


# A dry run


def test_tells_in_a_dry_run_what_the_restore_then_does_and_changes_nothing(undoable: UndoDatabase) -> None:
    undoable.fill(3)
    undoable.purge()
    undoable.sql.execute("INSERT INTO thing (id) VALUES (1)")
    before = undoable.everything()

    preview = undoable.restore(dry_run=True, restore_id="dry")

    assert undoable.everything() == before
    assert undoable.count("maintenance.restored_row") == 0
    assert outcome(preview, "thing").skipped == 1
    assert foretold(preview) == foretold(undoable.restore())
    assert counts(preview, "restored") == {}


def test_a_dry_run_counts_by_the_same_condition(undoable: UndoDatabase) -> None:
    undoable.fill(3)
    undoable.purge()

    preview = undoable.restore(dry_run=True, restore_id="dry", table="thing", where="id = 2")

    assert counts(preview, "matched") == {"thing": 1, "mention": 1}
    assert counts(undoable.restore(table="thing", where="id = 2"), "matched") == {"thing": 1, "mention": 1}


# What is written down


def test_the_ledger_tells_what_was_restored_under_the_restores_own_id(undoable: UndoDatabase) -> None:
    undoable.fill(2)
    undoable.purge()

    undoable.restore(restore_id="back")

    query = "SELECT table_name, job, restored, updated, outcome FROM maintenance.purge_ledger WHERE run_id = 'back' ORDER BY 1"
    assert undoable.rows(query) == [
        ("crumb", "tidy", 8, 0, "success"),
        ("mention", "tidy", 0, 2, "success"),
        ("piece", "tidy", 4, 0, "success"),
        ("thing", "tidy", 2, 0, "success"),
    ]
    rules = undoable.rows("SELECT DISTINCT rule FROM maintenance.ledger_event WHERE run_id = 'back' AND kind = 'batch'")
    assert rules == [(f"restored from run {RUN}",)]


def test_remembers_how_long_restored_rows_are_left_alone(undoable: UndoDatabase) -> None:
    undoable.fill(1)
    undoable.purge()

    undoable.restore(days_later=3)

    remembered: list[tuple[Any, ...]] = undoable.rows(
        "SELECT table_name, key, run_id, left_alone_until FROM maintenance.restored_row WHERE table_name = 'thing'"
    )
    assert remembered == [("thing", "1", RUN, AS_OF + timedelta(days=3 + DAYS))]
