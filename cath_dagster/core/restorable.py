"""Look, before the first write of a restore, at what is to be put back and at the tables as they are now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.archived import Part, chosen, execute, find_damaged, read_parts, rows_of
from cath_dagster.core.catalogue import find_missing_privileges
from cath_dagster.core.database import Database
from cath_dagster.core.errors import ConfigurationError, RefusedError
from cath_dagster.core.relations import Reference, Relation, read_references, read_relation
from cath_dagster.core.table_check import find_troubles

MAX_DAMAGED = 20
"""Damaged archives that a refusal names."""
NOTHING_DONE = "nothing was restored"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What shall be put back: a run's rows, of one table, or those for which an SQL condition holds."""

    run_id: str
    table: str | None = None
    where: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Restorable:
    """Archived rows, the tables they go into, and the foreign keys of those. `links` are what was set to null."""

    parts: tuple[Part, ...]
    links: tuple[Part, ...]
    where: str | None
    relations: dict[str, Relation]
    references: tuple[Reference, ...] = ()

    @property
    def tables(self) -> list[str]:
        """The tables, each after those it refers to; where they refer to each other, in any order."""
        names = list(dict.fromkeys(part.table for part in self.parts))
        order: list[str] = []
        seen: set[str] = set()

        def visit(table: str) -> None:
            if table in seen:
                return
            seen.add(table)
            for reference in self.references_of(table):
                if reference.parent in names:
                    visit(reference.parent)
            order.append(table)

        for name in names:
            visit(name)
        return order

    def references_of(self, table: str) -> list[Reference]:
        return [reference for reference in self.references if reference.child == table]

    def groups(self, table: str) -> list[list[Part]]:
        """Return a table's parts, those of equal columns together: one statement reads them all."""
        return grouped([part for part in self.parts if part.table == table])

    def rows(self, part: Part, *, ids: str = "ids") -> str:
        """Return the query for the rows of parts like this one, bound as `ids`."""
        return rows_of(self.relations[part.table], part.names, ids=ids)

    def chosen(self, part: Part, *, ids: str = "ids") -> str:
        """Return the same for those rows which the operator chose.

        It holds his SQL: to be executed in a transaction that cannot write, and nowhere else.
        """
        return chosen(self.rows(part, ids=ids), part.table, self.where)


def grouped(parts: Sequence[Part]) -> list[list[Part]]:
    """Return the parts of equal table, columns and reference together."""
    groups: dict[object, list[Part]] = {}
    for part in parts:
        groups.setdefault((part.table, part.names, part.reference), []).append(part)
    return list(groups.values())


def prepare(database: Database, request: Request, *, now: datetime) -> Restorable:
    """Return what is to be put back.

    Raises `RefusedError` where it cannot be: the window has ended, an archive is damaged, a table has changed, the role
    lacks a privilege; and `ConfigurationError` for a table or a condition that cannot be meant.
    """
    parts = database.transaction(partial(read_parts, run_id=request.run_id))
    ended = [part.keep_until for part in parts if part.keep_until <= now]
    if ended or not parts:
        until = f" on {max(ended).isoformat()}" if ended else ""
        raise RefusedError(f"run {request.run_id} can no longer be undone: its window ended{until}")
    tables = list(dict.fromkeys(part.table for part in parts if part.reference is None))
    if request.table is not None and request.table not in tables:
        raise ConfigurationError(
            f"run {request.run_id} archived no rows of {request.table!r}; it did of {', '.join(tables)}"
        )
    wanted = [request.table] if request.table else tables
    restorable = Restorable(
        parts=tuple(part for part in parts if part.reference is None and part.table in wanted),
        links=tuple(part for part in parts if part.reference is not None and part.reference.parent in wanted),
        where=request.where,
        relations={},
    )
    restorable = database.transaction(partial(_look_up, restorable))
    database.transaction(partial(_check_condition, restorable))
    damaged = database.transaction(partial(find_damaged, parts=[*restorable.parts, *restorable.links]))
    if damaged:
        raise RefusedError(
            f"archives of run {request.run_id} are damaged, their checksums differ: archive_id "
            f"{', '.join(map(str, damaged[:MAX_DAMAGED]))} of maintenance.archived_rows; {NOTHING_DONE}"
        )
    return restorable


def _look_up(restorable: Restorable, connection: sa.Connection) -> Restorable:
    relations: dict[str, Relation] = {}
    for part in (*restorable.parts, *restorable.links):
        relation = relations.get(part.table) or read_relation(connection, part.table, part.schema)
        if relation is None:
            raise RefusedError(f"the table {part.table} is gone; {NOTHING_DONE}")
        relations[part.table] = relation
        _check_names(part, relation)
    for part in restorable.parts:
        _check_fits(part, relations[part.table])
    tables = {part.table for part in restorable.parts}
    _check_privileges(connection, restorable)
    references = read_references(connection, [relations[table] for table in tables])
    own = tuple(reference for reference in references if reference.child in tables)
    return replace(restorable, relations=relations, references=own)


def _check_names(part: Part, relation: Relation) -> None:
    lost = sorted(set(part.names) - {column.name for column in relation.columns})
    if lost:
        raise RefusedError(
            f"{part.table} has lost columns that the archived rows have: {', '.join(lost)}; add them again for the "
            f"restore; {NOTHING_DONE}"
        )


def _check_fits(part: Part, relation: Relation) -> None:
    if len(relation.key) != 1:
        raise RefusedError(f"{part.table} has no primary key of one column by which to see what exists; {NOTHING_DONE}")
    required = [column.name for column in relation.columns if column.is_required and column.name not in part.names]
    if required:
        raise RefusedError(
            f"{part.table} has got columns that must have a value and have no default: {', '.join(required)}; give them "
            f"a default for the restore; {NOTHING_DONE}"
        )


def _check_privileges(connection: sa.Connection, restorable: Restorable) -> None:
    needs: dict[str, dict[str, tuple[str, ...]]] = {}
    for part in restorable.links:
        needs.setdefault(part.schema, {})[part.table] = ("SELECT", "UPDATE")
    for part in restorable.parts:
        needs.setdefault(part.schema, {})[part.table] = ("SELECT", "INSERT")
    missing = [each for schema, wanted in needs.items() for each in find_missing_privileges(connection, schema, wanted)]
    if missing:
        told = "; ".join(f"table {each.table}: {each.says}; {each.remedy}" for each in missing)
        raise RefusedError(f"{told} {NOTHING_DONE}")
    hidden = find_troubles(connection, {f"{schema}.{name}": ("SELECT",) for schema in needs for name in needs[schema]})
    if hidden:
        raise RefusedError(f"{'; '.join(map(str, hidden))} {NOTHING_DONE}")


def _check_condition(restorable: Restorable, connection: sa.Connection) -> None:
    """Raise `ConfigurationError` for a condition that is none over the columns of every table chosen."""
    if restorable.where is None:
        return
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    for part in {part.table: part for part in restorable.parts}.values():
        try:
            execute(connection, f"SELECT count(*) FROM ({restorable.chosen(part)}) AS chosen", ids=[])  # noqa: S608
        except DBAPIError as error:
            said = getattr(getattr(error.orig, "diag", None), "message_primary", None) or "it cannot be read"
            raise ConfigurationError(
                f"--where is no condition over {part.table}: {said}; choose the table with --table, and quote names as "
                "SQL does"
            ) from None
