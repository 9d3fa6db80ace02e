"""run_migrations and drizzle-orm's own migrator on one database: each goes on where the other stopped."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.drizzle import drizzle_kit_migrate, drizzle_migrate, generate
from tests.cloudmake.migration_folder import MigrationFolder
from tests.support.maintained import outcome

pytestmark = pytest.mark.stack

JOB = "run_migrations"
SCHEMA = """
import { pgTable, pgEnum, serial, text } from "drizzle-orm/pg-core";
export const size = pgEnum("size", ["small", "large"]);
export const shirts = pgTable("shirts", { id: serial("id").primaryKey(), size: size("size"), %s });
"""


def rows(cloudmake: CloudMake) -> list[tuple[str, int]]:
    return cloudmake.rows("SELECT hash, created_at FROM drizzle.__drizzle_migrations ORDER BY id")


def test_ours_and_drizzles_alternate_and_write_down_the_same(cloudmake: CloudMake, tmp_path: Path) -> None:
    columns = ['name: text("name").default("100%")', 'colour: text("colour")', 'brand: text("brand")']
    for number in range(3):
        folder = generate(tmp_path, SCHEMA % ", ".join(columns[: number + 1]), f"step_{number}")
        if number == 1:
            done = drizzle_migrate(cloudmake.url, folder)
            assert done.returncode == 0, done.stderr
        else:
            cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(folder)
            result = cloudmake.run(JOB, confirm=True)
            assert (result.error, outcome(result, "migrations").updated) == (None, 1)
    ours = rows(cloudmake)

    assert len(ours) == 3
    assert drizzle_migrate(cloudmake.url, folder).returncode == 0
    kit = drizzle_kit_migrate(cloudmake.url, tmp_path)
    assert kit.returncode == 0, kit.stdout + kit.stderr
    assert rows(cloudmake) == ours
    assert cloudmake.run(JOB, confirm=True, dry_run=True).would_refuse is None
    cloudmake.connection.execute("DROP SCHEMA drizzle CASCADE; DROP TABLE shirts; DROP TYPE size")
    assert drizzle_migrate(cloudmake.url, folder).returncode == 0
    assert rows(cloudmake) == ours


def test_the_hash_of_odd_bytes_is_drizzles(cloudmake: CloudMake, tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path)
    folder.add("0000_crlf", "CREATE TABLE a (t text);", "INSERT INTO a VALUES ('ä€😀');", ends="\r\n")
    folder.add("0001_no_text", "SELECT 1")
    folder.write("0001_no_text", b"-- \xe4\xf6\xff \xf0\x9f\x98 \xed\xa0\x80 \xc0\x80\nSELECT 1")
    assert drizzle_migrate(cloudmake.url, tmp_path).returncode == 0
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(tmp_path)

    result = cloudmake.run(JOB, confirm=True)

    assert (result.error, outcome(result, "migrations").matched) == (None, 0)


def test_drizzle_passes_over_what_ours_refuses(cloudmake: CloudMake, tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path)
    folder.add("0000_a", "CREATE TABLE a (id int)", when=2_000)
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(tmp_path)
    cloudmake.run(JOB, confirm=True)
    folder.add("0001_late", "CREATE TABLE b (id int)", when=1_000)

    theirs, ours = drizzle_migrate(cloudmake.url, tmp_path), cloudmake.run(JOB, confirm=True)

    assert (theirs.returncode, cloudmake.value("SELECT to_regclass('b')")) == (0, None)
    assert (ours.status, "0001_late" in (ours.error or "")) == ("refused", True)


def test_both_at_once_apply_it_once(cloudmake: CloudMake, tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path)
    for number in range(8):
        folder.add(f"{number:04}_t", f"CREATE TABLE t{number} (id int)", f"INSERT INTO t{number} VALUES (1)")
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        theirs = pool.submit(drizzle_migrate, cloudmake.url, tmp_path)
        ours = pool.submit(cloudmake.run, JOB, confirm=True)
        done, result = theirs.result(), ours.result()

    # Theirs may fail at what ours makes just then; ours waits, or is tried again, and finds it done.
    assert result.status == "success", result.error
    known = ("already exists", "duplicate key", "deadlock detected")
    assert done.returncode == 0 or any(words in done.stderr for words in known), done.stderr
    assert len(rows(cloudmake)) == 8
    assert [cloudmake.count(f"t{number}") for number in range(8)] == [1] * 8


def test_drizzle_waits_for_ours_and_finds_it_done(cloudmake: CloudMake, tmp_path: Path) -> None:
    folder = MigrationFolder(tmp_path)
    folder.add("0000_a", "CREATE TABLE a (id int)")
    cloudmake.environ["CLOUDMAKE_MIGRATIONS_PATH"] = str(tmp_path)
    cloudmake.run(JOB, confirm=True)
    # Ours goes on as soon as theirs waits for its lock.
    folder.add(
        "0001_b",
        "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = "
        "'drizzle.__drizzle_migrations'::regclass) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$",
        "CREATE TABLE b (id int)",
    )
    with ThreadPoolExecutor(1) as pool:
        ours = pool.submit(cloudmake.run, JOB, confirm=True)
        while not cloudmake.count(
            "pg_locks",
            "granted AND mode = 'AccessExclusiveLock' AND relation = 'drizzle.__drizzle_migrations'::regclass",
        ):
            assert not ours.done(), ours.result().error
        theirs = drizzle_migrate(cloudmake.url, tmp_path)
        result = ours.result()

    assert (result.error, theirs.returncode, theirs.stderr) == (None, 0, "")
    assert len(rows(cloudmake)) == 2
