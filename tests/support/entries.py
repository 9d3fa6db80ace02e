"""A table of entries to purge, for the tests of the engine, and what a purge of it needs."""

import contextlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.purge.engine import Purger
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from tests.support.waiting import PATIENCE_SECONDS, PREVAILS, wait_until

ENTRY = "CREATE TABLE entry (id int PRIMARY KEY, seen_at timestamp, owner text, note text DEFAULT '')"
METADATA = sa.MetaData()
entry = sa.Table(
    "entry",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seen_at", sa.DateTime),
    sa.Column("owner", sa.Text),
)
part = sa.Table("part", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("entry_id", sa.Integer))
screw = sa.Table("screw", METADATA, sa.Column("id", sa.Integer, primary_key=True), sa.Column("part_id", sa.Integer))
kept_entry = sa.Table(
    "kept_entry",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("seen_at", sa.DateTime),
    sa.Column("kept_by", sa.Text),
)
holder = sa.Table("holder", METADATA, sa.Column("owner", sa.Text, primary_key=True), sa.Column("is_held", sa.Boolean))

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
CUTOFF = datetime(2026, 8, 20, 1, 0)
OLD, NEW = "2026-01-01", "2026-11-01"
IS_OLD = entry.c.seen_at < CUTOFF
RUN = "run-1"


def silent(table: str, done: int, total: int) -> None:
    del table, done, total


@dataclass
class Entries:
    """A database with the table `entry`, and what a purge of it needs."""

    url: str
    sql: psycopg.Connection[Any]
    database: Database
    pauses: list[float]
    """Before a transaction was tried again; not really waited."""
    rests: list[float] = field(default_factory=list)
    """Between batches, by the pace; not really waited."""

    def purger(
        self,
        report: Callable[[str, int, int], None] = silent,
        clock: Callable[[], float] = time.perf_counter,
        pacer: Pacer | None = None,
        run_id: str = RUN,
    ) -> Purger:
        ledger = Ledger(database=self.database, run_id=run_id, location="cath", job="tidy", dry_run=False, as_of=AS_OF)
        return Purger(
            database=self.database,
            ledger=ledger,
            job="tidy",
            run_id=run_id,
            report=report,
            pacer=pacer or Pacer(PACE_LIMITS[Pace.BULK], sleep=self.rests.append),
            clock=clock,
        )

    def value(self, query: str) -> Any:
        row = self.sql.execute(query).fetchone()
        assert row is not None
        return row[0]

    def count(self, table: str, condition: str = "true") -> int:
        return int(self.value(f"SELECT count(*) FROM {table} WHERE {condition}"))

    def ids(self, table: str = "entry") -> list[int]:
        return [row[0] for row in self.sql.execute(f"SELECT id FROM {table} ORDER BY id")]

    def fill(self, count: int, *, seen_at: str = OLD, first: int = 1, note: str = "") -> None:
        self.sql.execute(
            "INSERT INTO entry (id, seen_at, note) SELECT n, %s::timestamp, %s FROM generate_series(%s::int, %s) n",
            (seen_at, note, first, first + count - 1),
        )

    def ledger_sum(self, table: str = "entry", column: str = "deleted") -> int:
        return int(
            self.value(f"SELECT coalesce(sum({column}), 0) FROM maintenance.purge_ledger WHERE table_name = '{table}'")
        )

    def batch_sizes(self) -> list[int]:
        query = "SELECT deleted FROM maintenance.ledger_event WHERE kind = 'batch' ORDER BY event_id"
        return [row[0] for row in self.sql.execute(query)]

    def on_delete(self, action: str, *, at: int, table: str = "entry") -> None:
        """Do something in the database in place of the deletion of the `at`-th row, once."""
        self.sql.execute("CREATE SEQUENCE deletions")
        self.sql.execute(
            f"CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('deletions') = {at} THEN {action}; END IF; RETURN OLD; END $$"
        )
        self.sql.execute(f"CREATE TRIGGER disturb BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION disturb()")

    @contextlib.contextmanager
    def held_until_awaited(self, *statements: str) -> Iterator[None]:
        """Run statements in a transaction of another session, and commit once somebody waits for its locks."""
        with psycopg.connect(self.url) as writer, ThreadPoolExecutor(1) as pool:
            writer.execute(PREVAILS)
            for statement in statements:
                writer.execute(statement)

            def commit() -> None:
                await_lock_wait(self.url)
                writer.commit()

            committed = pool.submit(commit)
            yield
            committed.result(timeout=PATIENCE_SECONDS)


def await_lock_wait(url: str) -> None:
    """Return once a session of the database waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with psycopg.connect(url, autocommit=True) as observer:
        wait_until(lambda: observer.execute(waiting).fetchone() != (0,), "nobody waited for the lock")


def old_entries(**more: Any) -> Purge:
    return Purge(table=entry, rule="old entries", predicate=IS_OLD, age=entry.c.seen_at, **more)


def keyed(**more: Any) -> Purge:
    return old_entries(reads_other_rows=True, **more)


WAYS = pytest.mark.parametrize("way", [old_entries, keyed], ids=["walk", "keys"])
