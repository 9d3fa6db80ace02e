"""Rows that the database does not let go, by a trigger or a constraint: the others go, and those are named."""

from collections.abc import Callable
from datetime import datetime

import pytest
import sqlalchemy as sa
from psycopg import sql

from cath_dagster.core.model.outcome import Status
from cath_dagster.core.model.purge import Child, Purge, Revision
from cath_dagster.core.purge import blast_radius
from cath_dagster.core.purge.engine import Purger
from tests.support.entries import AS_OF, IS_OLD, NEW, Entries, entry, keyed, old_entries, part
from tests.support.maintained import outcome
from tests.support.purging import tidy
from tests.support.roles import role_in
from tests.support.service import Service


def with_parts() -> Purge:
    return old_entries(children=(Child(part, part.c.entry_id),))


WAYS = pytest.mark.parametrize("way", [old_entries, keyed, with_parts], ids=["walk", "keys", "with children"])
RAISES = "RAISE EXCEPTION 'entry of % stays', OLD.owner"
STAYS = "RETURN NULL"
IN_OTHER_WORDS = "RAISE EXCEPTION 'no' USING ERRCODE = '45000'"
BY_A_FAULT = "PERFORM 1 / 0"


def forbid(entries: Entries, action: str, *, condition: str = "OLD.id % 500 = 7", table: str = "entry") -> None:
    entries.sql.execute("CREATE TABLE IF NOT EXISTS part (id int PRIMARY KEY, entry_id int REFERENCES entry)")
    entries.sql.execute(
        "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF {condition} THEN {action}; END IF; RETURN OLD; END $$"
    )
    entries.sql.execute(f"CREATE TRIGGER forbids BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION forbid()")


@WAYS
@pytest.mark.parametrize("action", [RAISES, STAYS, IN_OTHER_WORDS, BY_A_FAULT])
def test_a_row_that_a_trigger_keeps_does_not_keep_the_others(
    entries: Entries, way: Callable[[], Purge], action: str
) -> None:
    entries.fill(3_000)
    forbid(entries, action)

    progress = entries.purger().delete(way(), limit=None)

    assert entries.ids() == [7, 507, 1007, 1507, 2007, 2507]
    assert set(progress.refused) == set(entries.ids())
    assert progress.changed == entries.ledger_sum() == 2_994
    assert all("the trigger forbids on entry" in refusal.says for refusal in progress.refused.values())
    assert not progress.gave_up


@WAYS
def test_ends_where_every_row_is_refused(entries: Entries, way: Callable[[], Purge]) -> None:
    entries.fill(100)
    forbid(entries, RAISES, condition="true")

    progress = entries.purger().delete(way(), limit=None)

    assert (len(progress.refused), progress.changed, progress.gave_up) == (100, 0, False)


@WAYS
def test_stops_at_the_limit_beside_rows_that_are_refused(entries: Entries, way: Callable[[], Purge]) -> None:
    entries.fill(100)
    forbid(entries, RAISES, condition="OLD.id <= 10")

    progress = entries.purger().delete(way(), limit=20)

    assert (progress.changed, progress.reached_limit) == (20, True)


def test_what_goes_along_with_a_refused_row_stays_with_it(entries: Entries) -> None:
    entries.fill(50)
    forbid(entries, STAYS)
    entries.sql.execute("INSERT INTO part SELECT n, n FROM generate_series(1, 50) n")

    entries.purger().delete(with_parts(), limit=None)

    assert entries.ids() == entries.ids("part") == [7]


def test_a_row_whose_child_a_trigger_keeps_stays_and_makes_no_orphan(entries: Entries) -> None:
    entries.fill(50)
    entries.sql.execute("CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry ON DELETE CASCADE)")
    entries.sql.execute("INSERT INTO part SELECT n, n FROM generate_series(1, 50) n")
    forbid(entries, STAYS, table="part")

    progress = entries.purger().delete(with_parts(), limit=None)

    assert entries.ids() == entries.ids("part") == [7]
    assert "the trigger forbids on part" in progress.refused[7].says


@WAYS
def test_what_is_checked_at_the_commit_only_is_told_from_the_row_that_it_is_of(
    entries: Entries, way: Callable[[], Purge]
) -> None:
    entries.fill(200)
    entries.sql.execute("CREATE TABLE part (id int PRIMARY KEY, entry_id int REFERENCES entry)")
    entries.sql.execute(
        "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.id = 7 THEN RAISE EXCEPTION 'late'; END IF; RETURN NULL; END $$"
    )
    entries.sql.execute(
        "CREATE CONSTRAINT TRIGGER forbids AFTER DELETE ON entry DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION forbid()"
    )

    progress = entries.purger().delete(way(), limit=None)

    assert (entries.ids(), list(progress.refused)) == ([7], [7])


def test_a_rule_that_keeps_every_row_is_named(entries: Entries) -> None:
    entries.fill(30)
    entries.sql.execute("CREATE RULE keeps AS ON DELETE TO entry WHERE OLD.id = 7 DO INSTEAD NOTHING")

    progress = entries.purger().delete(old_entries(), limit=None)

    assert (entries.ids(), progress.refused[7].says) == ([7], "a rule on entry keeps it")


def test_a_column_that_cannot_be_set_to_null_keeps_the_row(entries: Entries) -> None:
    entries.fill(30)
    entries.sql.execute("CREATE TABLE holder (entry_id int NOT NULL REFERENCES entry ON DELETE SET NULL)")
    entries.sql.execute("INSERT INTO holder VALUES (7)")

    progress = entries.purger().delete(old_entries(), limit=None)

    assert (entries.ids(), list(progress.refused)) == ([7], [7])


def test_a_run_that_goes_on_where_another_left_off_comes_back_to_what_was_refused(entries: Entries) -> None:
    entries.fill(3_000)
    forbid(entries, RAISES)
    purge = old_entries(cutoff=AS_OF)
    entries.purger().delete(purge, limit=None)
    entries.sql.execute("DROP TRIGGER forbids ON entry")

    entries.purger(run_id="run-2").delete(purge, limit=None)

    assert entries.ids() == []


def test_a_revision_that_a_trigger_refuses_for_one_row_changes_the_others(entries: Entries) -> None:
    entries.fill(2_000)
    entries.sql.execute(
        "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.id = 7 THEN RAISE EXCEPTION 'no'; END IF; RETURN NEW; END $$"
    )
    entries.sql.execute("CREATE TRIGGER forbids BEFORE UPDATE ON entry FOR EACH ROW EXECUTE FUNCTION forbid()")

    for is_plain in (True, False):
        purger: Purger = entries.purger()
        progress = purger.update(revision(is_plain=is_plain), limit=None, matched=2_000)
        assert list(progress.refused) == [7]

    assert entries.count("entry", f"seen_at = '{NEW}'") == 1_999


def revision(*, is_plain: bool) -> Revision:
    newest = sa.literal(datetime.fromisoformat(NEW))
    return Revision(table=entry, rule="renew", predicate=IS_OLD, values={"seen_at": newest}, is_plain=is_plain)


# A whole run


@pytest.fixture
def bench(service: Service) -> Service:
    service.connection.execute("CREATE TABLE entry (id int PRIMARY KEY, seen_at timestamp, owner text)")
    service.connection.execute("INSERT INTO entry SELECT n, '2026-01-01', 'made up' FROM generate_series(1, 20) n")
    return service


def test_a_run_of_which_a_trigger_refuses_a_row_fails_and_names_the_trigger_and_no_words_of_it(bench: Service) -> None:
    bench.connection.execute(
        "CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF OLD.id = 7 THEN RAISE EXCEPTION 'entry of % stays', OLD.owner; END IF; RETURN OLD; END $$"
    )
    bench.connection.execute("CREATE TRIGGER forbids BEFORE DELETE ON entry FOR EACH ROW EXECUTE FUNCTION forbid()")

    result = tidy(bench, old_entries())

    found = outcome(result, "entry")
    assert result.status is Status.FAILED
    assert (found.deleted, found.failed, found.kept, found.skipped) == (19, 1, 0, 0)
    assert "the trigger forbids on entry" in (result.error or "")
    assert "made up" not in str(result)


@pytest.mark.both_versions
def test_a_table_that_the_role_may_not_read_holds_rows_all_the_same(bench: Service) -> None:
    bench.connection.execute("CREATE TABLE holder (entry_id int REFERENCES entry)")
    bench.connection.execute("INSERT INTO holder VALUES (7)")
    with role_in(bench.url, bench.connection) as role:
        name = sql.Identifier(role.name)
        for statement in (
            "GRANT USAGE ON SCHEMA maintenance TO {}",
            "GRANT ALL ON ALL TABLES IN SCHEMA maintenance TO {}",
            "GRANT SELECT, DELETE ON entry TO {}",
        ):
            bench.connection.execute(sql.SQL(statement).format(name))
        plan = tidy(bench, old_entries(), url=role.url, dry_run=True)
        result = tidy(bench, old_entries(), url=role.url)

    found = outcome(result, "entry")
    assert (result.status, found.deleted, found.kept) == (Status.SUCCESS, 19, 1)
    assert any("holder_entry_id_fkey" in note and "7" in note for note in result.notes)
    assert any("GRANT SELECT" in note for note in plan.notes)


def test_a_large_table_with_rows_that_hold_each_other_is_sampled(
    bench: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blast_radius, "EXACT_BLOCKS", 0)
    monkeypatch.setattr(blast_radius, "MIN_DRAWN", 2)
    bench.connection.execute("UPDATE entry SET owner = repeat('x', 2000)")
    bench.connection.execute("ALTER TABLE entry ADD next int REFERENCES entry")
    bench.connection.execute("CREATE TABLE holder (entry_id int REFERENCES entry)")
    bench.connection.execute("UPDATE entry SET next = id - 1 WHERE id > 1")
    bench.connection.execute("INSERT INTO holder VALUES (7)")

    result = tidy(bench, Purge(table=entry, rule="old entries", predicate=IS_OLD))

    assert (result.status, outcome(result, "entry").deleted) == (Status.SUCCESS, 13)
