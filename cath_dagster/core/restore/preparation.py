"""Look, before the first write of a restore, at what is to be put back and at the tables as they are now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.archive.archiver import pin_text
from cath_dagster.core.errors import ConfigurationError, RefusedError
from cath_dagster.core.maintenance.table_troubles import find_troubles
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.model.relation import Reference, Relation
from cath_dagster.core.postgres.catalogue import find_missing_privileges
from cath_dagster.core.postgres.database import Database, sqlstate
from cath_dagster.core.postgres.relations import read_references, read_relation
from cath_dagster.core.restore.archive_sql import (
    Name,
    Part,
    chosen,
    execute,
    find_damaged,
    identity_of,
    key_of,
    quote,
    read_parts,
    rows_of,
)

MAX_DAMAGED = 20
"""Damaged archives that a refusal names."""
NOTHING_DONE = "nothing was restored"
UNREADABLE = ("22", "23", "42804", "42846")
"""SQLSTATEs of a text that is no value of a type, and of a type that no text can be cast to."""
COLUMNS_AT_ONCE = 500
"""A query has at most 1,664 columns."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What should be put back: a run's rows, of one table, or those for which an SQL condition holds."""

    run_id: str
    table: str | None = None
    where: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True)
class Restorable:
    """Archived rows, the tables they go into, and the foreign keys of those. `links` are what was set to null.

    `archived` are all parts with rows of the run, those that are not to be put back included.
    """

    run_id: str
    parts: tuple[Part, ...]
    archived: tuple[Part, ...]
    links: tuple[Part, ...]
    where: str | None
    relations: dict[Name, Relation]
    references: tuple[Reference, ...] = ()

    @property
    def tables(self) -> list[Name]:
        """The tables, each after those it refers to; where they refer to each other, in any order."""
        names = list(dict.fromkeys(part.name for part in self.parts))
        order: list[Name] = []
        seen: set[Name] = set()

        def visit(table: Name) -> None:
            if table in seen:
                return
            seen.add(table)
            for reference in self.references_of(table):
                if parent_of(reference) in names:
                    visit(parent_of(reference))
            order.append(table)

        for name in names:
            visit(name)
        return order

    def target(self, table: Name) -> str:
        """Return what an outcome calls a table: with its schema where another has the same name."""
        schema, name = table
        alike = {part.name for part in (*self.parts, *self.links) if part.table == name}
        return name if len(alike) == 1 else f"{schema}.{name}"

    def references_of(self, table: Name) -> list[Reference]:
        """Return the foreign keys of a table that the server holds its rows to."""
        return [each for each in self.references if each.is_enforced and (each.schema, each.child) == table]

    def groups(self, table: Name) -> list[list[Part]]:
        """Return a table's parts, those of equal columns together: one statement reads them all."""
        return grouped([part for part in self.parts if part.name == table])

    def rows(self, part: Part, *, ids: str = "ids") -> str:
        """Return the query for the rows of parts like this one, bound as `ids`."""
        return rows_of(self.relations[part.name], part.names, ids=ids)

    def is_same_row(self, link: Part, parameters: dict[str, object]) -> str:
        """Return the condition that a row which is `there` is the one that was set to null.

        It is, unless the run deleted it as well: then it was made anew, if no restore has put it back.
        """
        relation = self.relations[link.name]
        key = identity_of(relation, link)
        conditions = []
        for group in grouped([part for part in self.archived if part.name == link.name]):
            name = f"gone_{len(parameters)}"
            parameters |= {name: [part.archive_id for part in group], "run_id": self.run_id, "table": link.table}
            columns = ", ".join(map(quote, key))
            gone = f"SELECT {columns} FROM ({rows_of(relation, group[0].names, ids=name)}) AS gone"  # noqa: S608
            back = f"SELECT key FROM {SCHEMA}.restored_row WHERE run_id = %(run_id)s AND table_name = %(table)s"  # noqa: S608
            its_key = ", ".join(f"there.{quote(column)}" for column in key)
            is_back = f"{key_of(relation, group[0], 'there.')} IN ({back})"
            conditions.append(f"(({its_key}) NOT IN ({gone}) OR {is_back})")
        return " AND ".join(conditions) or "true"

    def chosen(self, part: Part, *, ids: str = "ids") -> str:
        """Return the same for those rows which the operator chose.

        It holds his SQL: to be executed in a transaction that cannot write, and nowhere else.
        """
        return chosen(self.rows(part, ids=ids), part.table, self.where)


def parent_of(reference: Reference) -> Name:
    return reference.parent_schema, reference.parent


def grouped(parts: Sequence[Part]) -> list[list[Part]]:
    """Return the parts of equal table, columns and reference together."""
    groups: dict[object, list[Part]] = {}
    for part in parts:
        groups.setdefault((part.name, part.names, part.key, part.reference), []).append(part)
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
        run_id=request.run_id,
        archived=tuple(part for part in parts if part.reference is None),
        parts=tuple(part for part in parts if part.reference is None and part.table in wanted),
        links=tuple(part for part in parts if part.reference is not None and part.reference.parent in wanted),
        where=request.where,
        relations={},
    )
    restorable = database.transaction(partial(_look_up, restorable))
    database.transaction(partial(_check_condition, restorable), is_read_only=True)
    damaged = database.transaction(partial(find_damaged, parts=[*restorable.parts, *restorable.links]))
    if damaged:
        raise RefusedError(
            f"archives of run {request.run_id} are damaged, their checksums differ: archive_id "
            f"{', '.join(map(str, damaged[:MAX_DAMAGED]))} of maintenance.archived_rows; {NOTHING_DONE}"
        )
    for group in grouped([*restorable.parts, *restorable.links]):
        _check_values(database, restorable, group)
    return restorable


def _look_up(restorable: Restorable, connection: sa.Connection) -> Restorable:
    relations: dict[Name, Relation] = {}
    for part in (*restorable.parts, *restorable.links):
        relation = relations.get(part.name) or read_relation(connection, part.table, part.schema)
        if relation is None:
            raise RefusedError(f"the table {part.schema}.{part.table} is gone; {NOTHING_DONE}")
        relations[part.name] = relation
        _check_names(part, relation)
    for part in restorable.parts:
        _check_fits(part, relations[part.name])
    tables = {part.name for part in restorable.parts}
    _check_privileges(connection, restorable)
    references = read_references(connection, [relations[table] for table in tables])
    own = tuple(reference for reference in references if (reference.schema, reference.child) in tables)
    return replace(restorable, relations=relations, references=own)


def _check_names(part: Part, relation: Relation) -> None:
    lost = sorted(set(part.names) - {column.name for column in relation.columns})
    if lost:
        raise RefusedError(
            f"{part.table} has lost columns that the archived rows have: {', '.join(lost)}; add them again for the "
            f"restore; {NOTHING_DONE}"
        )


def _check_fits(part: Part, relation: Relation) -> None:
    if not identity_of(relation, part):
        raise RefusedError(
            f"{part.table} has no key, of columns that the archived rows have, by which to see what exists; give it a "
            f"primary key of such for the restore; {NOTHING_DONE}"
        )
    required = [column.name for column in relation.columns if column.is_required and column.name not in part.names]
    if required:
        raise RefusedError(
            f"{part.table} has got columns that must have a value and have no default: {', '.join(required)}; give them "
            f"a default for the restore; {NOTHING_DONE}"
        )


def _check_values(database: Database, restorable: Restorable, group: Sequence[Part]) -> None:
    """Raise `RefusedError` where a column has become of a type that does not read all of its archived values."""

    def read(names: Sequence[str], connection: sa.Connection) -> bool:
        pin_text(connection)
        values = ", ".join(f"count(given.{quote(name)})" for name in names)
        statement = f"SELECT {values} FROM ({restorable.rows(group[0])}) AS given"  # noqa: S608 - the catalogue's names
        try:
            execute(connection, statement, ids=[part.archive_id for part in group])
        except DBAPIError as error:
            if (sqlstate(error) or "").startswith(UNREADABLE):
                return False
            raise
        return True

    part = group[0]
    if all(database.transaction(partial(read, some), is_read_only=True) for some in _some(part.names)):
        return
    now = {column.name: column.type_name for column in restorable.relations[part.name].columns}
    wrong = [
        f"{name} (of type {before} then, of {now[name]} now)"
        for name, before in zip(part.names, part.types, strict=True)
        if not database.transaction(partial(read, [name]), is_read_only=True)
    ]
    raise RefusedError(
        f"{part.table} has changed, and does not read all of its archived values any more: {', '.join(wrong)}; give the "
        f"column its type again for the restore, or one that reads both; {NOTHING_DONE}"
    )


def _some(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(names), COLUMNS_AT_ONCE):
        yield names[first : first + COLUMNS_AT_ONCE]


def _check_privileges(connection: sa.Connection, restorable: Restorable) -> None:
    needs: dict[str, dict[str, tuple[str, ...]]] = {}
    for part in restorable.links:
        needs.setdefault(part.schema, {})[part.table] = ("SELECT", "UPDATE")
    for part in restorable.parts:
        needs.setdefault(part.schema, {})[part.table] = ("SELECT", "INSERT")
        if part.copy is not None:
            needs.setdefault(part.copy.schema, {})[part.copy.table] = ("SELECT", "DELETE")
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
    for part in {part.name: part for part in restorable.parts}.values():
        try:
            execute(connection, f"SELECT count(*) FROM ({restorable.chosen(part)}) AS chosen", ids=[])  # noqa: S608
        except DBAPIError as error:
            said = getattr(getattr(error.orig, "diag", None), "message_primary", None) or "it cannot be read"
            raise ConfigurationError(
                f"--where is no condition over {part.table}: {said}; choose the table with --table, and quote names as "
                "SQL does"
            ) from None
