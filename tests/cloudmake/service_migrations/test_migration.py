"""A migration's text: what is cut where, and what no transaction may hold."""

import hashlib

import pytest

from cath_dagster.cloudmake.service_migrations.migration import Migration, enum_values_used, find_obstacles
from cath_dagster.cloudmake.service_migrations.sql_text import statements


def migration(text: str, tag: str = "0001_x") -> Migration:
    return Migration(tag=tag, content=text.encode())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        (";;", 0),
        ("-- SELECT 1;", 0),
        ("/* a; /* nested; */ b; */", 0),
        ("SELECT 1", 1),
        ("SELECT 1; SELECT 2;", 2),
        ("SELECT ';'; SELECT 2", 2),
        ("SELECT 'it''s;'", 1),
        (r"SELECT E'\';'; SELECT 2", 2),
        ('SELECT 1 AS "a;b"', 1),
        ("DO $$ BEGIN; COMMIT; END $$; SELECT 1", 2),
        ("SELECT $a$ $$;$$ $b$;$b$ $a$; SELECT 2", 2),
        ("SELECT a$b$c; SELECT 2", 2),
        ("CREATE RULE r AS ON INSERT TO t DO (DELETE FROM t; SELECT 1)", 1),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 1", 2),
        ("SELECT 'never closed; SELECT 2", 2),
        ("SELECT $$ never closed; SELECT 2", 1),
    ],
)
def test_a_semicolon_ends_a_statement_unless_it_is_within_something(text: str, count: int) -> None:
    assert len(statements(text)) == count


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("CREATE INDEX CONCURRENTLY i ON t (a)", "CONCURRENTLY"),
        ("create unique index\nconcurrently i on t (a)", "CONCURRENTLY"),
        ("DROP INDEX CONCURRENTLY i", "CONCURRENTLY"),
        ("REINDEX TABLE CONCURRENTLY t", "CONCURRENTLY"),
        ("ALTER TABLE t DETACH PARTITION p CONCURRENTLY", "CONCURRENTLY"),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", None),
        ("-- CREATE INDEX CONCURRENTLY", None),
        ("COMMENT ON TABLE t IS 'built CONCURRENTLY'", None),
        ('CREATE TABLE t ("concurrently" int)', None),
        ("CREATE TABLE t (a int); COMMIT; CREATE TABLE u (a int)", "COMMIT"),
        ("BEGIN; SELECT 1", "BEGIN"),
        ("START TRANSACTION", "START TRANSACTION"),
        ("ROLLBACK", "ROLLBACK"),
        ("SAVEPOINT a; ROLLBACK TO a", None),
        ("ROLLBACK WORK TO SAVEPOINT a", None),
        ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION"),
        ("PREPARE q AS SELECT 1", None),
        ("DO $$ BEGIN COMMIT; END $$", None),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", None),
        ("\ufeffCREATE TABLE t (a int)", "byte order mark"),
        ("SELECT '\ufeff'", None),
    ],
)
def test_what_no_transaction_may_hold_is_an_obstacle(text: str, says: str | None) -> None:
    found = find_obstacles(migration(text))

    assert len(found) == (says is not None)
    assert says is None or (says in found[0] and found[0].startswith("0001_x: "))


def test_bytes_that_are_no_text_are_an_obstacle() -> None:
    (found,) = find_obstacles(Migration(tag="0001_x", content=b"INSERT INTO t VALUES ('\xff')"))

    assert "UTF-8" in found


def test_parts_are_cut_at_the_breakpoint_wherever_it_stands_and_blank_ones_are_left_out() -> None:
    text = "SELECT 1;--> statement-breakpoint\nSELECT 2\n--> statement-breakpoint\n\n--> statement-breakpoint"

    assert migration(text).parts == ["SELECT 1;", "\nSELECT 2\n"]


def test_the_hash_is_that_of_the_bytes_a_mark_at_their_beginning_included() -> None:
    content = "\ufeffSELECT 'ä';\r\n".encode()

    assert Migration(tag="x", content=content).hash == hashlib.sha256(content).hexdigest()


def test_a_value_that_is_added_and_stands_in_a_later_statement_is_a_doubt() -> None:
    adds = migration("ALTER TYPE kind ADD VALUE IF NOT EXISTS 'archived' AFTER 'core'", "0001_adds")
    uses = migration("UPDATE t SET kind = 'archived'", "0002_uses")

    assert [doubt.partition(":")[0] for doubt in enum_values_used([adds, uses])] == ["0002_uses"]
    assert list(enum_values_used([uses, adds])) == []
