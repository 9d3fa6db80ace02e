"""A database with a family of tables, purges that archive what they delete, and a way to restore it."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.core.archive.archiver import Archiver
from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.purge import Child, Purge, Undo
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.purge.batch_runner import Progress
from cath_dagster.core.purge.engine import Purger
from cath_dagster.core.restore.preparation import Request
from cath_dagster.core.restore.restore import restore
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.spec import JobSpec

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
DAYS = 30
RUN = "run-1"
METADATA = sa.MetaData()
thing = sa.Table(
    "thing",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("is_old", sa.Boolean),
    info={PERSONAL: ()},
)
piece = sa.Table(
    "piece",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("thing_id", sa.Integer),
    info={PERSONAL: ()},
)
crumb = sa.Table(
    "crumb",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("piece_id", sa.Integer),
    info={PERSONAL: ()},
)
PIECES = (Child(piece, piece.c.thing_id, (Child(crumb, crumb.c.piece_id),)),)
OLD_THINGS = Purge(table=thing, rule="old things", predicate=thing.c.is_old, children=PIECES)
SCHEMA = """
CREATE TABLE thing (id int PRIMARY KEY, is_old boolean NOT NULL DEFAULT true, note text);
CREATE TABLE piece (id int PRIMARY KEY, thing_id int REFERENCES thing ON DELETE CASCADE, note text);
CREATE TABLE crumb (id int PRIMARY KEY, piece_id int REFERENCES piece ON DELETE CASCADE);
CREATE TABLE mention (id int PRIMARY KEY, thing_id int REFERENCES thing ON DELETE SET NULL);
CREATE INDEX ON piece (thing_id);
CREATE INDEX ON crumb (piece_id);
CREATE INDEX ON mention (thing_id)
"""
TIDY = JobSpec(
    location=CATH,
    name="tidy",
    schedule=Cron("0 1 * * *"),
    owner="team:test",
    summary="Tidies.",
    description="Tidies.",
    settings=PurgeSettings,
    run=lambda run, settings: None,
    database=DatabaseWork(
        targets=("thing",),
        privileges={"thing": ("SELECT", "DELETE"), "piece": ("SELECT", "DELETE"), "crumb": ("SELECT", "DELETE")},
    ),
)


def silent(table: str, done: int, total: int) -> None:
    del table, done, total


@dataclass
class UndoDatabase:
    """A database with the tables `thing`, `piece`, `crumb` and `mention`."""

    url: str
    sql: psycopg.Connection[Any]
    database: Database

    @classmethod
    @contextlib.contextmanager
    def open(cls, url: str) -> Iterator["UndoDatabase"]:
        engine = open_engine(url, variable="CATH_DATABASE_URL", application_name=f"tidy:{RUN}")
        with psycopg.connect(url, autocommit=True) as sql, Database(engine) as database:
            sql.execute(SCHEMA)
            yield cls(url, sql, database)

    def fill(self, count: int, first: int = 1) -> None:
        """Add old things, each with two pieces of two crumbs, and a mention."""
        numbers = f"generate_series({first}, {first + count - 1}) AS n"
        self.sql.execute(f"INSERT INTO thing (id, note) SELECT n, 'note ' || n FROM {numbers}")
        self.sql.execute(f"INSERT INTO piece SELECT 10 * n + k, n FROM {numbers}, generate_series(1, 2) AS k")
        self.sql.execute("INSERT INTO crumb SELECT 10 * id + k, id FROM piece, generate_series(1, 2) AS k")
        self.sql.execute(f"INSERT INTO mention SELECT n, n FROM {numbers}")

    def purge(
        self, purge: Purge = OLD_THINGS, *, run_id: str = RUN, as_of: datetime = AS_OF, drops_partitions: bool = False
    ) -> Progress:
        """Purge, and archive for thirty days."""
        ledger = Ledger(database=self.database, run_id=run_id, location="cath", job="tidy", dry_run=False, as_of=as_of)
        purger = Purger(
            database=self.database,
            ledger=ledger,
            job="tidy",
            run_id=run_id,
            report=silent,
            drops_partitions=drops_partitions,
        )
        undo = Undo(days=DAYS, keep_until=as_of + timedelta(days=DAYS))
        return purger.delete(replace(purge, undo=undo), limit=None)

    def archive_at_once(self) -> None:
        """Archive all things in one batch, however fast the machine is."""
        purge = replace(OLD_THINGS, children=(), undo=Undo(days=DAYS, keep_until=AS_OF + timedelta(days=DAYS)))

        def keep(connection: sa.Connection) -> None:
            archiver = Archiver.open(connection, purge, job="tidy", run_id=RUN)
            assert archiver is not None
            archiver.keep(purge.predicate)

        self.database.transaction(keep)

    def restore(
        self, run_id: str = RUN, *, restore_id: str = "back", days_later: float = 1, **request: Any
    ) -> RunResult:
        return restore(
            self.database,
            CATH,
            [TIDY],
            Request(run_id=run_id, **request),
            restore_id=restore_id,
            now=AS_OF + timedelta(days=days_later),
            report=silent,
        )

    def everything(self) -> Mapping[str, list[tuple[Any, ...]]]:
        return {
            table: self.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("thing", "piece", "crumb", "mention")
        }

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.sql.execute(query, parameters or None).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        return self.rows(query, *parameters)[0][0]

    def count(self, table: str, condition: str = "true") -> int:
        return int(self.value(f"SELECT count(*) FROM {table} WHERE {condition}"))
