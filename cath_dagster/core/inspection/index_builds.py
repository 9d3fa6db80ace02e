"""Build the indexes whose lack makes purges or the questions of interval jobs slow, and mend what an earlier build left."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.inspection.due_indexes import UnindexedQuestion, find_unindexed_questions
from cath_dagster.core.postgres.catalogue import SMALL_TABLE_ROWS
from cath_dagster.core.postgres.database import sqlstate, translate
from cath_dagster.core.postgres.identifiers import quote
from cath_dagster.core.postgres.unindexed import ForeignKey, find_unindexed_foreign_keys
from cath_dagster.core.run.spec import JobSpec, purged_tables

MissingIndex = ForeignKey | UnindexedQuestion
BUILD, REBUILD = "built", "rebuilt"
_INSUFFICIENT_PRIVILEGE = "42501"
_DEADLOCK = "40P01"


@dataclass(frozen=True, kw_only=True)
class IndexBuild:
    """What was done about one missing index, or would be; `error` says what to do where it failed."""

    index: str
    table: str
    column: str
    rows: int
    action: str
    statements: tuple[str, ...]
    seconds: float = 0.0
    error: str | None = None

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "seconds": round(self.seconds, 3)}


@dataclass(frozen=True)
class _Namesake:
    """The relation that has the index's name already."""

    is_ours: bool
    """Whether it is an index on the table in question."""
    is_valid: bool
    builder: int | None
    """The process that is building an index on the table just now."""


def build_missing_indexes(
    connection: sa.Connection, specs: Sequence[JobSpec], *, dry_run: bool, clock: Callable[[], float]
) -> list[IndexBuild]:
    """Build an index on each foreign key to a purged table whose child is not small, and for each question, one by one.

    The connection commits each statement by itself: CREATE INDEX CONCURRENTLY runs in no transaction. One that fails
    stops none of the others; a lost connection is raised.
    """
    # Waiting for other transactions is part of the statement; while it waits, it stands in no reader's or writer's way.
    connection.execute(
        sa.text("SELECT set_config('lock_timeout', '0', false), set_config('statement_timeout', '0', false)")
    )
    missing: list[MissingIndex] = [
        *find_unindexed_foreign_keys(connection, purged_tables(specs), with_cascades=True),
        *find_unindexed_questions(connection, specs),
    ]
    keys = [key for key in missing if key.child_rows > SMALL_TABLE_ROWS]
    return [_build(connection, key, dry_run=dry_run, clock=clock) for key in dict.fromkeys(keys)]


def _build(connection: sa.Connection, key: MissingIndex, *, dry_run: bool, clock: Callable[[], float]) -> IndexBuild:
    namesake = _namesake(connection, key)
    is_left_over = namesake is not None and namesake.is_ours and not namesake.is_valid
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {quote(key.schema)}.{quote(key.index)};"
    build = IndexBuild(
        index=key.index,
        table=key.child,
        column=", ".join(key.columns),
        rows=key.child_rows,
        action=REBUILD if is_left_over else BUILD,
        statements=(drop, key.create_index) if is_left_over else (key.create_index,),
    )
    error = _hindrance(key, namesake)
    if error or dry_run:
        return replace(build, error=error)
    started = clock()
    error = _execute(connection, key, build.statements)
    return replace(build, error=error, seconds=clock() - started)


def _hindrance(key: MissingIndex, namesake: _Namesake | None) -> str | None:
    """Return why the index can not be built now; what another process builds must not be dropped."""
    if namesake is None:
        return None
    if namesake.builder is not None:
        return (
            f"process {namesake.builder} is building an index on {key.child} just now; "
            "wait for it and run cath-dagster indexes build again"
        )
    if namesake.is_ours and not namesake.is_valid:
        return None
    return (
        f"{key.index} is there already and does not serve {key.name}; "
        f"rename it, or as the owner {key.owner}: "
        f"CREATE INDEX CONCURRENTLY ON {quote(key.schema)}.{quote(key.child)} ({', '.join(map(quote, key.columns))});"
    )


def _namesake(connection: sa.Connection, key: MissingIndex) -> _Namesake | None:
    query = sa.text(
        """
        SELECT coalesce(index_of.indrelid = child.oid, false), coalesce(index_of.indisvalid, false),
               (SELECT min(pid) FROM pg_stat_progress_create_index
                WHERE relid = child.oid AND datname = current_database())
        FROM pg_class AS named
        JOIN pg_namespace AS its_schema ON its_schema.oid = named.relnamespace AND its_schema.nspname = :schema
        JOIN pg_class AS child ON child.relnamespace = its_schema.oid AND child.relname = :child
        LEFT JOIN pg_index AS index_of ON index_of.indexrelid = named.oid
        WHERE named.relname = :index
        """
    )
    row = connection.execute(query, {"schema": key.schema, "child": key.child, "index": key.index}).one_or_none()
    return None if row is None else _Namesake(*row)


def _execute(connection: sa.Connection, key: MissingIndex, statements: Sequence[str]) -> str | None:
    """Run the statements; return what to tell people where one fails."""
    for statement in statements:
        try:
            connection.exec_driver_sql(statement)
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            return f"{key.name}: {_explain(error, key, statements)}"
    return None


def _explain(error: DBAPIError, key: MissingIndex, statements: Sequence[str]) -> str:
    state = sqlstate(error)
    if state == _INSUFFICIENT_PRIVILEGE:
        return f"{translate(error)}; run as the owner {key.owner}: {' '.join(statements)}"
    # A statement is tried once here, other than in a run's transactions.
    says = "deadlock with another session" if state == _DEADLOCK else translate(error)
    return f"{says}; run cath-dagster indexes build again, it drops what this attempt left"
