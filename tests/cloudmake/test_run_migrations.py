"""run_migrations: pending migrations are applied whole or not at all, and what Drizzle would get wrong is refused."""

import hashlib
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cath_dagster.core.model.outcome import RunResult
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.killed import is_killed_at
from tests.cloudmake.migration_folder import FIRST_WHEN, MigrationFolder
from tests.support.maintained import outcome
from tests.support.waiting import wait_until

JOB = "run_migrations"


@pytest.fixture
def folder(cloudmake: CloudMake, tmp_path: Path) -> MigrationFolder:
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(tmp_path / "migrations")
    return MigrationFolder(tmp_path / "migrations")


def migrate(cloudmake: CloudMake, **config: Any) -> RunResult:
    return cloudmake.run(JOB, **{"confirm": True, **config})


def written_down(cloudmake: CloudMake) -> list[tuple[str, int]]:
    return cloudmake.rows("SELECT hash, created_at FROM drizzle.__drizzle_migrations ORDER BY id")


def exists(cloudmake: CloudMake, *names: str) -> list[bool]:
    return [cloudmake.value("SELECT to_regclass(%s) IS NOT NULL", name) for name in names]


def test_applies_what_is_pending_and_writes_it_down_as_drizzle_does(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)", "CREATE INDEX a_id ON a (id)")
    folder.add("0001_b", "CREATE TABLE b (id int); INSERT INTO b VALUES (1)")

    result = migrate(cloudmake)

    hashes = [hashlib.sha256((folder.path / f"{tag}.sql").read_bytes()).hexdigest() for tag in ("0000_a", "0001_b")]
    assert (result.status, result.error) == ("success", None)
    assert written_down(cloudmake) == [(hashes[0], FIRST_WHEN), (hashes[1], FIRST_WHEN + 1_000)]
    assert exists(cloudmake, "a", "a_id", "b") == [True, True, True]
    done = outcome(result, "migrations")
    assert (done.matched, done.updated) == (2, 2)
    assert done.details["pending"] == [f"0000_a {hashes[0]}", f"0001_b {hashes[1]}"]
    assert [line.split()[0] for line in done.details["applied"]] == ["0000_a", "0001_b"]  # type: ignore[union-attr]


def test_a_second_run_finds_nothing(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    migrate(cloudmake)

    again = migrate(cloudmake)

    assert (again.status, outcome(again, "migrations").matched, outcome(again, "migrations").updated) == (
        "success",
        0,
        0,
    )


def test_an_earlier_when_that_comes_later_in_the_journal_is_applied_in_the_journals_order(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)", when=2_000)
    folder.add("0001_b", "ALTER TABLE a ADD COLUMN b int", when=1_000)

    assert migrate(cloudmake).status == "success"
    assert [when for _, when in written_down(cloudmake)] == [2_000, 1_000]


def test_percent_signs_dollars_colons_and_several_statements_of_a_part_mean_themselves(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    folder.add(
        "0000_a",
        "CREATE TABLE a (t text DEFAULT '100%s :b $1 %(x)s'); INSERT INTO a DEFAULT VALUES; SELECT * FROM a;\n"
        "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN '%'; END $$; SELECT 5 % 3",
        "",
        "-- Custom SQL migration file, put your code below! --",
        "INSERT INTO a VALUES (f())",
    )

    assert migrate(cloudmake).error is None
    assert cloudmake.rows("SELECT t FROM a ORDER BY t") == [("%",), ("100%s :b $1 %(x)s",)]


def test_one_that_fails_undoes_all_and_is_named(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    folder.add("0001_b", "CREATE TABLE b (id int)", "SELECT * FROM nowhere")

    result = migrate(cloudmake)

    assert result.status == "failed"
    assert "0001_b, part 2 of 2" in (result.error or "")
    assert "nowhere" in (result.error or "")
    assert exists(cloudmake, "a", "b") == [False, False]
    assert written_down(cloudmake) == []
    assert outcome(result, "migrations").updated == 0


def test_what_a_migration_sets_for_its_session_ends_with_it(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "SELECT pg_catalog.set_config('search_path', '', false); SET lock_timeout = '1ms'")
    folder.add("0001_b", "CREATE TABLE public.b (id int)")

    assert migrate(cloudmake).error is None
    assert exists(cloudmake, "public.b") == [True]


# What is refused, with the tag, before anything is changed


def late(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)", when=2_000)
    migrate(cloudmake)
    folder.add("0001_b", "CREATE TABLE b (id int)", when=1_000)


def late_by_nothing(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)", when=2_000)
    migrate(cloudmake)
    folder.add("0001_b", "CREATE TABLE b (id int)", when=2_000)


def changed(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0001_b", "CREATE TABLE a (id int)")
    migrate(cloudmake)
    folder.write("0001_b", b"CREATE TABLE a (id bigint)")


def changed_line_ends(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0001_b", "CREATE TABLE a (\nid int)")
    migrate(cloudmake)
    folder.write("0001_b", (folder.path / "0001_b.sql").read_bytes().replace(b"\n", b"\r\n"))


def of_a_newer_version(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    migrate(cloudmake)
    cloudmake.connection.execute(
        "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('x', 1900000000000)"
    )
    folder.add("0001_b", "CREATE TABLE b (id int)", when=1_950_000_000_000)


def without_created_at(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    migrate(cloudmake)
    cloudmake.connection.execute("INSERT INTO drizzle.__drizzle_migrations (hash) VALUES ('x')")
    folder.add("0001_b", "CREATE TABLE b (id int)")


def missing(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    folder.add("0001_b", "CREATE TABLE b (id int)")
    (folder.path / "0001_b.sql").unlink()


def not_in_the_journal(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    folder.write("0001_b", b"CREATE TABLE b (id int)")


def twice_in_the_journal(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0001_b", "CREATE TABLE b (id int)")
    folder.add("0001_b", "CREATE TABLE b (id int)")


def concurrently(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    folder.add("0001_b", "CREATE INDEX CONCURRENTLY b ON a (id)")


def commits(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    folder.add("0001_b", "CREATE TABLE b (id int); COMMIT;")


def enum_value(folder: MigrationFolder, cloudmake: CloudMake) -> None:
    folder.add("0000_a", "CREATE TABLE a (kind environment_kind); ALTER TYPE environment_kind ADD VALUE 'frozen'")
    folder.add("0001_b", "INSERT INTO a VALUES ('frozen')")


REFUSED: list[tuple[Callable[[MigrationFolder, CloudMake], None], str]] = [
    (late, "skip it for ever"),
    (late_by_nothing, "skip it for ever"),
    (changed, "accept_changed=0001_b"),
    (changed_line_ends, "line ends alone"),
    (of_a_newer_version, "newer version"),
    (without_created_at, "no created_at"),
    (missing, "there is no 0001_b.sql"),
    (not_in_the_journal, "does not name it"),
    (twice_in_the_journal, "2 times"),
    (concurrently, "CONCURRENTLY"),
    (commits, "COMMIT"),
    (enum_value, "enumeration"),
]


@pytest.mark.parametrize(("arrange", "says"), REFUSED)
def test_what_drizzle_would_get_wrong_is_refused_with_the_tag_and_changes_nothing(
    cloudmake: CloudMake, folder: MigrationFolder, arrange: Callable[[MigrationFolder, CloudMake], None], says: str
) -> None:
    arrange(folder, cloudmake)
    before = exists(cloudmake, "a", "b")

    result = migrate(cloudmake)

    assert result.status == "refused"
    assert says in (result.error or "")
    assert "0001_b" in (result.error or "") or "row 2" in (result.error or "")
    assert exists(cloudmake, "a", "b") == before


@pytest.mark.parametrize(("arrange", "says"), [case for case in REFUSED if case[0] is not enum_value])
def test_a_dry_run_says_that_it_would_be_refused(
    cloudmake: CloudMake, folder: MigrationFolder, arrange: Callable[[MigrationFolder, CloudMake], None], says: str
) -> None:
    arrange(folder, cloudmake)

    result = migrate(cloudmake, dry_run=True)

    assert (result.status, says in (result.would_refuse or "")) == ("success", True)


def test_an_accepted_change_is_written_down_and_not_asked_for_again(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    changed(folder, cloudmake)

    accepted = migrate(cloudmake, accept_changed="0001_b")
    again = migrate(cloudmake)

    assert (accepted.status, again.status) == ("success", "success")
    assert any("0001_b" in note for note in accepted.notes)
    assert exists(cloudmake, "a") == [True]


def test_a_tag_that_is_accepted_and_unknown_is_named(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")

    assert "0009_x" in (migrate(cloudmake, accept_changed="0009_x").error or "")
    assert exists(cloudmake, "a") == [False]


def test_a_migration_that_was_written_down_twice_is_a_note(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    migrate(cloudmake)
    cloudmake.connection.execute(
        "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) SELECT hash, created_at FROM drizzle.__drizzle_migrations"
    )

    result = migrate(cloudmake)

    assert result.status == "success"
    assert any("taken effect twice" in note for note in result.notes)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no meta/_journal.json"),
        ("{", "no JSON"),
        ("[]", "no list of entries"),
        ('{"dialect": "mysql", "entries": []}', "mysql"),
        ('{"entries": [{"tag": "../x", "when": 1}]}', "../x"),
        ('{"entries": [{"tag": "x", "when": "1"}]}', "milliseconds"),
        ('{"entries": [{"tag": "x", "when": true}]}', "milliseconds"),
        ('{"entries": [{"tag": "x", "when": 99999999999999999999}]}', "milliseconds"),
        ('{"entries": [7]}', "tag"),
    ],
)
def test_a_folder_that_cannot_be_followed_is_said_and_never_nothing_to_do(
    cloudmake: CloudMake, folder: MigrationFolder, content: str | None, says: str
) -> None:
    (folder.path / "meta").mkdir(parents=True)
    if content is not None:
        (folder.path / "meta" / "_journal.json").write_text(content)

    result = migrate(cloudmake)

    assert (result.status, says in (result.error or "")) == ("failed", True), result.error


def test_a_folder_that_is_not_there_is_named(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    assert str(folder.path) in (migrate(cloudmake).error or "")


# Consent, dry runs, limits


def test_production_needs_a_confirmation_and_a_dry_run_does_not(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")

    refused, dry = cloudmake.run(JOB), cloudmake.run(JOB, dry_run=True)

    assert (refused.status, "confirm" in (refused.error or "")) == ("refused", True)
    assert (dry.status, "confirm" in (dry.would_refuse or "")) == ("success", True)
    assert exists(cloudmake, "a") == [False]


def test_elsewhere_it_needs_none(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    cloudmake.environ["CLOUDMAKE_ENVIRONMENT"] = "staging"
    folder.add("0000_a", "CREATE TABLE a (id int)")

    assert cloudmake.run(JOB).status == "success"


def test_a_dry_run_prints_the_sql_and_creates_nothing(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)", "ALTER TYPE environment_kind ADD VALUE 'frozen'")
    folder.add("0001_b", "INSERT INTO a VALUES ('frozen')")

    result = migrate(cloudmake, dry_run=True)

    assert (result.status, outcome(result, "migrations").matched) == ("success", 2)
    assert "CREATE TABLE a (id int)" in "\n".join(cloudmake.reporter.lines)
    assert any("'frozen'" in note for note in result.notes)
    assert exists(cloudmake, "a", "drizzle.__drizzle_migrations") == [False, False]
    assert cloudmake.value("SELECT to_regnamespace('drizzle') IS NULL")


def test_stops_at_max_rows_and_goes_on_in_the_next_run(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    for name in ("a", "b", "c"):
        folder.add(f"000_{name}", f"CREATE TABLE {name} (id int)")

    first = migrate(cloudmake, max_rows=2)

    assert exists(cloudmake, "a", "b", "c") == [True, True, False]
    assert any("1 migrations are left" in note for note in first.notes)
    assert migrate(cloudmake).status == "success"
    assert exists(cloudmake, "c") == [True]


def test_max_rows_that_would_leave_one_behind_for_ever_is_refused(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)", when=2_000)
    folder.add("0001_b", "CREATE TABLE b (id int)", when=1_000)

    result = migrate(cloudmake, max_rows=1)

    assert (result.status, "0001_b" in (result.error or "")) == ("refused", True)
    assert exists(cloudmake, "a") == [False]


def test_waits_for_a_lock_no_longer_than_it_may_and_then_applies_nothing(
    cloudmake: CloudMake, folder: MigrationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cath_dagster.core.postgres.database.MAX_ATTEMPTS", 1)
    folder.add("0000_a", "CREATE TABLE a (id int)")
    folder.add("0001_b", "ALTER TABLE projects ADD COLUMN b int")
    with psycopg.connect(cloudmake.url) as other:
        other.execute("SELECT FROM projects")

        result = migrate(cloudmake, lock_timeout_seconds=1)

    assert (result.status, "0001_b, part 1 of 1" in (result.error or "")) == ("failed", True)
    assert exists(cloudmake, "a") == [False]


def test_a_part_of_several_statements_survives_every_attempt(
    cloudmake: CloudMake, folder: MigrationFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver prepares what it has sent five times, and a text of several statements cannot be prepared."""
    cloudmake.connection.execute("CREATE SEQUENCE attempts")
    folder.add(
        "0000_a",
        "CREATE TABLE a (id int); DO $$ BEGIN IF nextval('attempts') < 7 THEN"
        " RAISE EXCEPTION USING ERRCODE = '40P01'; END IF; END $$",
    )
    monkeypatch.setattr("cath_dagster.core.postgres.database.FIRST_PAUSE_SECONDS", 0.0)

    assert migrate(cloudmake).error is None
    assert exists(cloudmake, "a") == [True]


# Plain files


def test_plain_files_are_applied_by_name_a_transaction_each(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    for tag, text in (
        ("002", "CREATE TABLE b (id int)"),
        ("001", "CREATE TABLE a (id int)"),
        ("003", "SELECT nowhere"),
    ):
        folder.write(tag, text.encode())

    result = migrate(cloudmake, layout="files")

    assert (result.status, "003.sql" in (result.error or "")) == ("failed", True)
    assert cloudmake.rows("SELECT filename FROM _migration_log ORDER BY applied_at") == [("001.sql",), ("002.sql",)]
    assert (outcome(result, "migrations").matched, outcome(result, "migrations").updated) == (3, 2)


def test_a_plain_file_may_use_the_enumerations_value_of_one_before_it(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    folder.write("001", b"ALTER TYPE environment_kind ADD VALUE 'frozen'")
    folder.write("002", b"CREATE TABLE a (kind environment_kind DEFAULT 'frozen')")

    assert migrate(cloudmake, layout="files").error is None


def test_a_plain_file_that_sorts_before_an_applied_one_is_applied_and_noted(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    folder.write("002", b"CREATE TABLE b (id int)")
    migrate(cloudmake, layout="files")
    folder.write("001", b"CREATE TABLE a (id int)")

    result = migrate(cloudmake, layout="files")

    assert exists(cloudmake, "a") == [True]
    assert any("001.sql is applied after 002.sql" in note for note in result.notes)


def test_a_dry_run_of_plain_files_creates_nothing_and_an_empty_folder_is_named(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    folder.path.mkdir()
    empty = migrate(cloudmake, layout="files")
    folder.write("001", b"CREATE TABLE a (id int)")

    dry = migrate(cloudmake, layout="files", dry_run=True)

    assert "no file *.sql" in (empty.error or "")
    assert outcome(dry, "migrations").matched == 1
    assert exists(cloudmake, "a", "_migration_log") == [False, False]


def test_max_rows_counts_plain_files(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    for name in ("a", "b", "c"):
        folder.write(name, f"CREATE TABLE {name} (id int)".encode())

    migrate(cloudmake, layout="files", max_rows=2)

    assert exists(cloudmake, "a", "b", "c") == [True, True, False]


# Killed, and two at once


@pytest.mark.stack
@pytest.mark.parametrize("layout", ["drizzle", "files"])
def test_killed_at_any_statement_the_next_run_finds_all_of_a_transaction_or_nothing(
    cloudmake: CloudMake, folder: MigrationFolder, layout: str
) -> None:
    script = "CREATE TABLE {0} (id int); INSERT INTO {0} VALUES (1)"
    for name in ("a", "b"):
        folder.add(f"000_{name}", script.format(name), f"INSERT INTO {name} VALUES (2)")
    number, states = 1, set()
    while is_killed_at(number, lambda: migrate(cloudmake, layout=layout)):
        states.add(state(cloudmake, layout))
        number += 1
        assert number < 200
        if state(cloudmake, layout)[0] == 2:
            undo(cloudmake, layout)

    whole = {(0, False, False), (2, True, True)} | ({(1, True, False)} if layout == "files" else set())
    assert states <= whole, states
    assert whole <= states | {state(cloudmake, layout)}
    assert state(cloudmake, layout) == (2, True, True)


def state(cloudmake: CloudMake, layout: str) -> tuple[int, bool, bool]:
    """Return how many are written down, and of which of them the rows are there, which are two or none."""
    table = "drizzle.__drizzle_migrations" if layout == "drizzle" else "_migration_log"
    count = cloudmake.count(table) if exists(cloudmake, table) == [True] else 0
    there = exists(cloudmake, "a", "b")
    for name, is_there in zip(("a", "b"), there, strict=True):
        assert not is_there or cloudmake.count(name) == 2
    return count, there[0], there[1]


def undo(cloudmake: CloudMake, layout: str) -> None:
    table = "drizzle.__drizzle_migrations" if layout == "drizzle" else "_migration_log"
    cloudmake.connection.execute(f"DROP TABLE a, b; DELETE FROM {table}")


def test_a_connection_that_is_cut_in_its_midst_is_made_anew_and_applies_it_once(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    cloudmake.connection.execute("CREATE SEQUENCE cuts")
    folder.add("0000_a", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
    folder.add(
        "0001_b",
        "DO $$ BEGIN IF nextval('cuts') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF; END $$",
        "CREATE TABLE b (id int)",
    )

    result = migrate(cloudmake)

    assert (result.error, outcome(result, "migrations").updated) == (None, 2)
    assert (cloudmake.count("a"), cloudmake.value("SELECT last_value FROM cuts")) == (1, 2)
    assert len(written_down(cloudmake)) == 2


def test_a_copy_from_standard_input_is_an_error_and_undone(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)", "COPY a FROM STDIN")

    result = migrate(cloudmake)

    assert (result.status, "0000_a, part 2 of 2" in (result.error or "")) == ("failed", True)
    assert exists(cloudmake, "a") == [False]


def test_two_runs_at_once_apply_it_once(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: migrate(cloudmake), range(2)))

    assert sorted(result.status for result in results) in (["refused", "success"], ["success", "success"])
    assert cloudmake.count("a") == 1
    assert cloudmake.count("drizzle.__drizzle_migrations") == 1


def test_waits_for_whoever_writes_the_table_and_then_finds_it_done(
    cloudmake: CloudMake, folder: MigrationFolder
) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    migrate(cloudmake, dry_run=True)
    when = folder.add("0001_b", "CREATE TABLE b (id int)")
    cloudmake.run(JOB, confirm=True, max_rows=1)
    digest = hashlib.sha256((folder.path / "0001_b.sql").read_bytes()).hexdigest()
    with ThreadPoolExecutor(1) as pool, psycopg.connect(cloudmake.url) as other:
        other.execute("CREATE TABLE b (id int)")
        other.execute("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES (%s, %s)", [digest, when])
        running = pool.submit(migrate, cloudmake)
        wait_until(
            lambda: cloudmake.count("pg_locks", "NOT granted AND relation = 'drizzle.__drizzle_migrations'::regclass")
        )
        other.commit()
        result = running.result()

    assert (result.status, outcome(result, "migrations").updated) == ("success", 0)
    assert cloudmake.count("drizzle.__drizzle_migrations") == 2


# The database as it may be


def test_a_database_without_our_schema_is_told_what_to_run_first(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    cloudmake.connection.execute("DROP SCHEMA maintenance CASCADE")
    folder.add("0000_a", "CREATE TABLE a (id int)")

    assert re.search("run: cath-dagster migrate cloudmake", migrate(cloudmake).error or "")
    assert exists(cloudmake, "a") == [False]


def test_a_role_that_may_create_nothing_is_told_the_statement(cloudmake: CloudMake, folder: MigrationFolder) -> None:
    folder.add("0000_a", "CREATE TABLE a (id int)")
    role = f"role_{os.urandom(4).hex()}"
    cloudmake.connection.execute(
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA maintenance TO {role};"
        f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA maintenance TO {role}"
    )
    url = cloudmake.environ["CLOUDMAKE_DATABASE_URL"]
    cloudmake.environ["CLOUDMAKE_DATABASE_URL"] = f"{url}{'&' if '?' in url else '?'}user={role}"
    try:
        result = migrate(cloudmake)
    finally:
        cloudmake.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")

    assert result.status == "refused", result.error
    assert f"TO {role};" in (result.error or "")
