"""The file outbox: files are deleted after their rows, and one that cannot be is not forgotten."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.outbox.files import count_due, drain
from cath_dagster.core.ports.blobs import Listed, Removal, RemovalResult
from cath_dagster.core.postgres.database import Database, Limits

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
INSERTED_UP_TO = sa.text("SELECT pg_current_wal_insert_lsn()::text")


@dataclass
class Shelf:
    """A blob store in memory; what is `stuck` cannot be deleted."""

    files: set[str]
    stuck: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    interrupted: bool = False

    def delete(self, paths: Sequence[str]) -> Mapping[str, RemovalResult]:
        self.asked += paths
        results = {path: self._delete(path) for path in paths}
        if self.interrupted:
            raise KeyboardInterrupt
        return results

    def _delete(self, path: str) -> RemovalResult:
        if path in self.stuck:
            return RemovalResult(Removal.FAILED, "503 busy")
        if path not in self.files:
            return RemovalResult(Removal.MISSING)
        self.files.remove(path)
        return RemovalResult(Removal.DELETED)

    def put(self, path: str, content: bytes) -> None:
        raise NotImplementedError

    def replace(self, path: str, content: bytes) -> None:
        raise NotImplementedError

    def get(self, path: str) -> bytes:
        raise NotImplementedError

    def list(self, prefix: str) -> Iterator[str]:
        raise NotImplementedError

    def list_files(self, prefix: str) -> Iterator[Listed]:
        raise NotImplementedError

    def address(self, path: str) -> str:
        raise NotImplementedError

    def check(self, container: str) -> None:
        raise NotImplementedError


@dataclass
class Office:
    database: Database
    sql: psycopg.Connection[Any]

    def queue(self, *paths: str, job: str = "tidy") -> None:
        self.sql.cursor().executemany(
            "INSERT INTO maintenance.file_outbox (job, run_id, path) VALUES (%s, 'run-1', %s)",
            [(job, path) for path in paths],
        )

    def queued(self) -> list[str]:
        return [row[0] for row in self.sql.execute("SELECT path FROM maintenance.file_outbox ORDER BY path")]

    def drain(self, shelf: Shelf) -> Outcome:
        return drain(self.database, shelf, job="tidy", as_of=AS_OF, report=lambda target, done, total: None)


@pytest.fixture
def office(cath_url: str) -> Iterator[Office]:
    engine = open_engine(cath_url, variable="CATH_DATABASE_URL", application_name="tidy:run-1")
    with psycopg.connect(cath_url, autocommit=True) as sql, Database(engine) as database:
        yield Office(database, sql)


def test_does_nothing_with_an_empty_queue(office: Office) -> None:
    shelf = Shelf({"files/1"})

    outcome = office.drain(shelf)

    assert (outcome.matched, outcome.deleted) == (0, 0)
    assert shelf.asked == []


def test_deletes_what_is_queued_and_nothing_else(office: Office) -> None:
    shelf = Shelf({"files/1", "files/2", "files/3"})
    office.queue("files/1", "files/2")

    outcome = office.drain(shelf)

    assert shelf.files == {"files/3"}
    assert office.queued() == []
    assert (outcome.matched, outcome.deleted, outcome.failed) == (2, 2, 0)


def test_takes_a_missing_file_for_done(office: Office) -> None:
    office.queue("files/1")

    outcome = office.drain(Shelf(set()))

    assert office.queued() == []
    assert (outcome.deleted, outcome.skipped, outcome.failed) == (0, 1, 0)


def test_keeps_a_file_that_fails_queued_and_deletes_the_others(office: Office) -> None:
    shelf = Shelf({"files/1", "files/2", "files/3"}, stuck={"files/2"})
    office.queue("files/1", "files/2", "files/3")

    outcome = office.drain(shelf)

    assert office.queued() == ["files/2"]
    assert (outcome.deleted, outcome.failed) == (2, 1)
    kept = office.sql.execute("SELECT attempts, last_error FROM maintenance.file_outbox").fetchall()
    assert kept == [(1, "503 busy")]


def test_tries_a_file_that_failed_once_a_run(office: Office) -> None:
    shelf = Shelf({"files/2"}, stuck={"files/2"})
    office.queue("files/2")
    office.drain(shelf)
    assert shelf.asked == ["files/2"]

    shelf.stuck.clear()
    outcome = office.drain(shelf)

    assert outcome.deleted == 1
    assert office.queued() == []
    assert shelf.files == set()


def test_deletes_more_files_than_one_batch_takes(office: Office) -> None:
    paths = [f"files/{number}" for number in range(1234)]
    stuck = {"files/0", "files/499", "files/500", "files/1233"}
    shelf = Shelf(set(paths), stuck=stuck)
    office.queue(*paths)

    outcome = office.drain(shelf)

    assert (outcome.matched, outcome.deleted, outcome.failed) == (1234, 1230, 4)
    assert outcome.batches > 1
    assert office.queued() == sorted(stuck)
    assert len(shelf.asked) == 1234


def test_deletes_files_of_its_own_job_alone(office: Office) -> None:
    shelf = Shelf({"files/1", "files/2"})
    office.queue("files/1")
    office.queue("files/2", job="another")

    office.drain(shelf)

    assert office.queued() == ["files/2"]
    assert shelf.files == {"files/2"}


def test_counts_what_is_queued_for_a_job(office: Office) -> None:
    office.queue("files/1", "files/2")
    office.queue("files/3", job="another")

    assert count_due(office.database, "tidy", AS_OF) == 2


def test_leaves_the_queue_to_the_next_run_when_it_is_interrupted(office: Office) -> None:
    shelf = Shelf({"files/1", "files/2"}, interrupted=True)
    office.queue("files/1", "files/2")
    with pytest.raises(KeyboardInterrupt):
        office.drain(shelf)
    assert office.queued() == ["files/1", "files/2"]

    shelf.interrupted = False
    outcome = office.drain(shelf)

    assert (outcome.matched, outcome.skipped, outcome.failed) == (2, 2, 0)
    assert office.queued() == []


def test_has_no_transaction_open_while_files_are_deleted(office: Office) -> None:
    class Watching(Shelf):
        def delete(self, paths: Sequence[str]) -> Mapping[str, RemovalResult]:
            row = office.sql.execute(
                "SELECT state FROM pg_stat_activity WHERE application_name = 'tidy:run-1' "
                "AND datname = current_database()"
            ).fetchone()
            states.append(row[0] if row else None)
            return super().delete(paths)

    states: list[str | None] = []
    office.queue("files/1")

    office.drain(Watching({"files/1"}))

    assert states == ["idle"]


def test_the_disk_has_what_was_committed_before_a_file_is_deleted(office: Office) -> None:
    class Watching(Shelf):
        def delete(self, paths: Sequence[str]) -> Mapping[str, RemovalResult]:
            flushed.append(has_flushed(written))
            return super().delete(paths)

    def has_flushed(place: str) -> bool:
        row = office.sql.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", [place]).fetchone()
        return row is not None and row[0]

    def commit_as_a_batch_does(connection: sa.Connection) -> None:
        connection.execute(
            sa.text("INSERT INTO maintenance.file_outbox (job, run_id, path) VALUES ('tidy', 'run-1', 'files/1')")
        )

    flushed: list[bool] = []
    # The server writes what is committed by itself, soon: not every time before the next file.
    for _ in range(5):
        office.database.transaction(commit_as_a_batch_does, limits=Limits(lock_seconds=1.0, statement_seconds=60.0))
        written = str(office.database.transaction(lambda connection: connection.scalar(INSERTED_UP_TO)))
        office.drain(Watching({"files/1"}))

    assert flushed == [True] * 5


def look_ups(office: Office, files: int) -> float:
    """Return how many pages of the queue and its indexes draining so many files reads, by the file; without statistics."""
    office.sql.execute("ALTER TABLE maintenance.file_outbox SET (autovacuum_enabled = off)")
    office.sql.execute("TRUNCATE maintenance.file_outbox")
    office.sql.execute(
        "INSERT INTO maintenance.file_outbox (job, run_id, path, table_name, row_key) "
        "SELECT 'tidy', 'run-1', 'files/' || md5(n::text), 'artefact', gen_random_uuid() "
        "FROM generate_series(1, %s) AS n",
        [files],
    )
    before = pages_read(office)

    assert office.drain(Shelf(set())).skipped == files

    return (pages_read(office) - before) / files


def pages_read(office: Office) -> int:
    # A session tells what it has done at the latest when it is told to.
    office.database.transaction(lambda connection: connection.execute(sa.text("SELECT pg_stat_force_next_flush()")))
    office.database.transaction(lambda connection: connection.execute(sa.text("SELECT 1")))
    row = office.sql.execute(
        "SELECT heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit FROM pg_statio_all_tables "
        "WHERE relid = 'maintenance.file_outbox'::regclass"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_a_file_costs_no_more_in_a_long_queue_that_was_never_analysed(office: Office) -> None:
    short, long = look_ups(office, 4_000), look_ups(office, 8_000)

    assert long < 40
    assert long < 1.3 * short


def test_a_restore_while_files_are_deleted_keeps_those_that_are_yet_to_come(office: Office) -> None:
    class Restoring(Shelf):
        def delete(self, paths: Sequence[str]) -> Mapping[str, RemovalResult]:
            office.sql.execute("DELETE FROM maintenance.file_outbox WHERE path = 'files/0999'")
            return super().delete(paths)

    paths = [f"files/{number:04}" for number in range(1_000)]
    office.queue(*paths)
    shelf = Restoring(set(paths))

    outcome = office.drain(shelf)

    assert (outcome.deleted, shelf.files, office.queued()) == (999, {"files/0999"}, [])


def test_a_file_that_another_job_keeps_for_later_is_let_be(office: Office) -> None:
    shelf = Shelf({"files/1"})
    office.queue("files/1")
    office.sql.execute(
        "INSERT INTO maintenance.file_outbox (job, run_id, path, table_name, row_key, due_at) "
        "VALUES ('another', 'run-2', 'files/1', 'artefact', 'x', '2026-12-24')"
    )

    assert office.drain(shelf).matched == 0
    assert (shelf.files, len(office.queued())) == ({"files/1"}, 2)


def test_a_file_of_several_rows_is_deleted_once_and_all_its_entries_go(office: Office) -> None:
    shelf = Shelf({"files/1"})
    for key in "abc":
        office.sql.execute(
            "INSERT INTO maintenance.file_outbox (job, run_id, path, table_name, row_key) "
            "VALUES ('tidy', 'run-1', 'files/1', 'gone_table', %s)",
            [key],
        )

    assert (office.drain(shelf).deleted, shelf.asked, office.queued()) == (1, ["files/1"], [])


@pytest.mark.parametrize(
    "key", ["PRIMARY KEY (id, at)", "PRIMARY KEY (at, id)", "UNIQUE (id)", "UNIQUE NULLS NOT DISTINCT (id, at)"]
)
def test_a_file_whose_row_is_there_again_is_let_be_whatever_key_the_table_has(office: Office, key: str) -> None:
    office.sql.execute(f"CREATE TABLE sheet (id int, at date, {key}); INSERT INTO sheet VALUES (7, '2026-01-01')")
    office.sql.execute(
        "INSERT INTO maintenance.file_outbox (job, run_id, path, table_name, row_key)"
        " VALUES ('tidy', 'run-1', 'a', 'sheet', '7'), ('tidy', 'run-1', 'b', 'sheet', '8')"
    )
    shelf = Shelf({"a", "b"})

    outcome = office.drain(shelf)

    assert (shelf.files, outcome.kept, outcome.deleted) == ({"a"}, 1, 1)
