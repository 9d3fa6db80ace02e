"""Apply migrations in transactions that nobody else's can come between, each whole or not at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.cloudmake.service_migrations import history, plain_log
from cath_dagster.cloudmake.service_migrations.history import Decision
from cath_dagster.cloudmake.service_migrations.migration import Migration
from cath_dagster.core.errors import (
    DatabaseLostError,
    DatabaseStatementError,
    DatabaseUnavailableError,
    IncompleteRunError,
    PreflightError,
)
from cath_dagster.core.postgres.database import BatchConflictError, Database, sqlstate
from cath_dagster.core.postgres.identifiers import qualified_name, quote

LOCK = "cloudmake/service_migrations"
"""The advisory lock of whoever applies; in the transaction itself, so that it goes with it."""
_UNIQUE_VIOLATION = "23505"
_UNSAFE_ENUM_VALUE = "55P04"
NOTHING_CHANGED = "rolled back, and nothing of it was applied"


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a form of migrations is written down: its table, and what is decided by what stands there."""

    table: sa.Table
    create: Sequence[str]
    decide: Callable[[sa.Connection | None], Decision]
    """Holds the folder against the table; without a connection there is no table yet."""
    record: Callable[[sa.Connection, Migration], None]
    is_one_transaction: bool
    """Whether all that is pending goes into one transaction."""


def drizzle(migrations: Sequence[Migration], *, accepted: frozenset[str]) -> Layout:
    """Return drizzle-orm's form."""

    def decide(connection: sa.Connection | None) -> Decision:
        return history.decide(migrations, history.read(connection) if connection else [], accepted=accepted)

    return Layout(
        table=history.table,
        create=history.CREATE,
        decide=decide,
        record=history.record,
        is_one_transaction=True,
    )


def plain_files(migrations: Sequence[Migration]) -> Layout:
    """Return the form of the service's own runner, with a transaction a file."""

    def decide(connection: sa.Connection | None) -> Decision:
        return plain_log.decide(migrations, plain_log.read(connection) if connection else [])

    return Layout(
        table=plain_log.table,
        create=plain_log.CREATE,
        decide=decide,
        record=plain_log.record,
        is_one_transaction=False,
    )


def look(database: Database, layout: Layout) -> Decision:
    """Return what a run would do now; nothing is locked or created."""

    def decide(connection: sa.Connection) -> Decision:
        return layout.decide(connection if _is_there(connection, layout.table) else None)

    return database.transaction(decide)


@dataclass(kw_only=True)
class Applier:
    """Applies what is pending over a connection of its own, whose settings a migration may change."""

    database: Database
    layout: Layout
    lock_timeout_seconds: int
    limit: int | None
    """How many migrations may be applied, None for all."""
    clock: Callable[[], float]
    say: Callable[[str], None]
    on_applied: Callable[[sa.Connection, int], None]
    """Told how many were applied, in the transaction that applies them."""
    applied: dict[str, float] = field(default_factory=dict)
    """By tag, the seconds that each took that is committed."""
    _at_work: str = ""

    def apply(self) -> None:
        """Apply what is pending, in order.

        Raises `PreflightError` for what is refused, and `DatabaseStatementError` or `DatabaseUnavailableError` naming
        the migration that failed; what its transaction did is undone.
        """
        self.database.transaction(self._create)
        while done := self._transact():
            self.applied |= done
            if self.layout.is_one_transaction:
                return

    def _transact(self) -> dict[str, float]:
        try:
            return self.database.transaction(self._apply)
        except DatabaseLostError as error:
            # The answer to a commit may be what was lost.
            raise DatabaseLostError(
                f"{self._where()}{error}; it is whole or not at all, and the next run finds out"
            ) from None
        except (DatabaseStatementError, DatabaseUnavailableError) as error:
            raise type(error)(f"{self._where()}{error}; {NOTHING_CHANGED}") from None

    def _where(self) -> str:
        return f"{self._at_work}: " if self._at_work else ""

    def _create(self, connection: sa.Connection) -> None:
        """Create the table where it is missing; IF NOT EXISTS itself fails where another session does the same just now."""
        if _is_there(connection, self.layout.table):
            return
        self._lock(connection)
        _require_create(connection, self.layout.table)
        try:
            for statement in self.layout.create:
                connection.execute(sa.text(statement))
        except DBAPIError as error:
            if sqlstate(error) == _UNIQUE_VIOLATION:
                raise BatchConflictError(f"another session creates {qualified_name(self.layout.table)}") from None
            raise

    def _lock(self, connection: sa.Connection) -> None:
        milliseconds = f"{1_000 * self.lock_timeout_seconds}ms"
        connection.execute(sa.select(sa.func.set_config("lock_timeout", milliseconds, sa.true())))
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(LOCK, 0))))

    def _apply(self, connection: sa.Connection) -> dict[str, float]:
        self._at_work = ""
        # A text of several statements that is tried often enough would be prepared, which the server refuses.
        _driver(connection).prepare_threshold = None
        self._lock(connection)
        connection.execute(sa.text(f"LOCK TABLE {qualified_name(self.layout.table)} IN ACCESS EXCLUSIVE MODE"))
        decision = self.layout.decide(connection)
        if decision.refusals:
            raise PreflightError(". ".join(decision.refusals))
        for row_id, migration in decision.changed.items():
            history.accept(connection, row_id, migration)
        pending = take(decision.pending, self._room())
        transaction = _transaction_id(connection)
        done = {migration.tag: self._apply_one(connection, migration, transaction) for migration in pending}
        if done:
            self.on_applied(connection, len(done))
        return done

    def _room(self) -> int | None:
        """Return how many the next transaction may apply, None for all."""
        left = None if self.limit is None else max(0, self.limit - len(self.applied))
        if self.layout.is_one_transaction:
            return left
        return 1 if left is None else min(1, left)

    def _apply_one(self, connection: sa.Connection, migration: Migration, transaction: str) -> float:
        started = self.clock()
        parts = migration.parts
        for number, part in enumerate(parts, start=1):
            self._at_work = f"{migration.tag}, part {number} of {len(parts)}"
            _execute(connection, migration, part)
        if _transaction_id(connection) != transaction:
            raise IncompleteRunError(
                f"{migration.tag} has ended the transaction that should hold it, and what it and those before it did stays: "
                f"look what is there, and write down in {qualified_name(self.layout.table)} what was applied"
            )
        self._at_work = ""
        self.layout.record(connection, migration)
        self.say(f"{migration.tag}: {len(parts)} parts in {self.clock() - started:.2f} s")
        return self.clock() - started


def take(pending: Sequence[Migration], limit: int | None) -> Sequence[Migration]:
    """Return the first so many; raise `PreflightError` where one that is left would be late for ever."""
    if limit is None or limit >= len(pending):
        return pending
    first, rest = pending[:limit], pending[limit:]
    newest = max((each.when for each in first if each.when is not None), default=None)
    stranded = [each.tag for each in rest if newest is not None and (each.when or 0) <= newest]
    if stranded:
        raise PreflightError(
            f"with max_rows {limit}, {', '.join(stranded)} would come after a later one, and drizzle-orm would skip it for "
            "ever; run without max_rows"
        )
    return first


def _execute(connection: sa.Connection, migration: Migration, part: str) -> None:
    """Run a part by the simple protocol: it may hold several statements, and a percent sign means itself."""
    try:
        connection.exec_driver_sql(part, execution_options={"no_parameters": True}).close()
    except DBAPIError as error:
        if sqlstate(error) == _UNSAFE_ENUM_VALUE:
            raise PreflightError(
                f"{migration.tag}: it uses a value of an enumeration that this run adds, which PostgreSQL allows only after "
                "the commit; apply the migrations before it first (max_rows), and if it adds the value itself, cut it in two. "
                f"All is {NOTHING_CHANGED}"
            ) from None
        raise


def _driver(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection


def _transaction_id(connection: sa.Connection) -> str:
    return str(connection.scalar(sa.text("SELECT pg_current_xact_id()::text")))


def _is_there(connection: sa.Connection, table: sa.Table) -> bool:
    return connection.scalar(sa.select(sa.func.to_regclass(qualified_name(table)))) is not None


def _require_create(connection: sa.Connection, table: sa.Table) -> None:
    """Raise `PreflightError` with the statement that helps where the role may not create the table."""
    role, database, has_schema, may = connection.execute(
        _MAY_CREATE, {"schema": table.schema}
    ).one()  # fmt: skip
    if may:
        return
    on = f"SCHEMA {quote(table.schema or '')}" if has_schema else f"DATABASE {quote(database)}"
    raise PreflightError(
        f"{role} may not create {qualified_name(table)}, in which applied migrations are written down; run as the owner of "
        f"the service's tables, or: GRANT CREATE ON {on} TO {quote(role)};"
    )


_MAY_CREATE = sa.text(
    """
    SELECT current_user::text, current_database()::text, its.oid IS NOT NULL,
        CASE WHEN its.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
             ELSE has_schema_privilege(its.oid, 'CREATE') END
    FROM (SELECT to_regnamespace(:schema)::oid AS oid) AS its
    """
)
