"""What the catalogue says of a table that a job is to purge, and of the tables whose rows refer to it."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.relation import Effect, Reference
from cath_dagster.core.postgres.relations import read_references, read_relation
from cath_dagster.core.postgres.session import SERVICE

BY_HAND = "write the job by hand: jobs/clear_audit.py and jobs/draft_cleanup.py are examples"
_KINDS = {
    "uuid": "sa.Uuid",
    "int2": "sa.SmallInteger",
    "int4": "sa.Integer",
    "int8": "sa.BigInteger",
    "text": "sa.Text",
    "citext": "sa.Text",
    "varchar": "sa.Text",
    "bpchar": "sa.Text",
    "timestamp": "sa.DateTime(timezone=False)",
    "timestamptz": "sa.DateTime(timezone=True)",
    "date": "sa.Date",
}
"""By the server's name of a type what `tables.py` states it by."""
AGES = ("timestamp", "timestamptz", "date")
_COLUMNS = sa.text(
    """
    SELECT attname::text, base.typname::text, attnotnull,
           base.typcategory = 'S' OR base.typname IN ('json', 'jsonb', 'bytea', 'inet') AS has_words,
           CASE WHEN base.typname LIKE 'timestamp%' AND atttypmod >= 0 THEN atttypmod ELSE 6 END AS digits
    FROM pg_attribute
    JOIN pg_type AS own ON own.oid = atttypid
    JOIN pg_type AS base ON base.oid = CASE own.typtype WHEN 'd' THEN own.typbasetype ELSE own.oid END
    WHERE attrelid = to_regclass(format('%I.%I', CAST(:schema AS text), CAST(:table AS text)))
      AND attnum > 0 AND NOT attisdropped
    ORDER BY attnum
    """
)


@dataclass(frozen=True)
class ColumnFacts:
    """A column, `type_name` as the server names its type, of a domain what it is made of."""

    name: str
    type_name: str
    is_required: bool
    has_words: bool
    """Whether it may hold what somebody wrote."""
    digits: int
    """Of an instant the digits of its seconds."""

    @property
    def kind(self) -> str:
        """How `tables.py` states its type; raises `ConfigurationError` for one that it does not know."""
        if self.type_name not in _KINDS:
            raise ConfigurationError(f"column {self.name} is of the type {self.type_name}; {BY_HAND}")
        return _KINDS[self.type_name]


@dataclass(frozen=True)
class TableFacts:
    """A table with its one-column key."""

    name: str
    key: ColumnFacts
    columns: Mapping[str, ColumnFacts]
    personal: tuple[str, ...] = ()
    """Columns that may hold personal data: words, and what refers to users."""


@dataclass(frozen=True)
class Referring:
    """A table whose rows refer to another's by a column, and in turn those that refer to it."""

    table: TableFacts
    column: ColumnFacts
    constraint: str
    goes_along: bool
    """Whether its rows go with the other's; else they hold them."""
    children: tuple["Referring", ...] = ()

    def every(self) -> Iterator["Referring"]:
        """Yield this and all below."""
        yield self
        for child in self.children:
            yield from child.every()


@dataclass(frozen=True)
class Target:
    """What is to be purged by which column."""

    table: TableFacts
    by: ColumnFacts
    referring: tuple[Referring, ...]

    def every(self) -> Iterator[Referring]:
        """Yield every table whose rows refer to the purged ones, directly or by others."""
        for each in self.referring:
            yield from each.every()

    @property
    def others(self) -> dict[str, bool]:
        """By name every other table concerned, and whether rows of it go along."""
        found: dict[str, bool] = {}
        for each in self.every():
            found[each.table.name] = found.get(each.table.name, False) or each.goes_along
        return {name: goes for name, goes in found.items() if name != self.table.name}


def read_target(connection: sa.Connection, table: str, by: str) -> Target:
    """Return the facts of a table to be purged by the age of a column.

    Raises `ConfigurationError` for what `new-job` cannot write a job for.
    """
    facts = _read_table(connection, table)
    column = facts.columns.get(by)
    if column is None:
        raise ConfigurationError(f"{table} has no column {by!r}{_close(by, list(facts.columns))}")
    if column.type_name not in AGES:
        raise ConfigurationError(
            f"{table}.{by} is of the type {column.type_name}; rows expire by a timestamp or a date"
            + _close("", [each.name for each in facts.columns.values() if each.type_name in AGES])
        )
    return Target(facts, column, tuple(_referring(connection, facts, (table,))))


def _read_table(connection: sa.Connection, name: str) -> TableFacts:
    relation = read_relation(connection, name, SERVICE)
    if relation is None:
        there = sa.inspect(connection).get_table_names(SERVICE)
        raise ConfigurationError(f"the service has no table {name!r}{_close(name, there)}")
    rows = connection.execute(_COLUMNS, {"schema": SERVICE, "table": name})
    columns = {row[0]: ColumnFacts(*row) for row in rows}
    if len(relation.key) != 1:
        has = f"has a key of {len(relation.key)} columns" if relation.key else "has no key"
        raise ConfigurationError(f"{name} {has}, where a purge goes by one column; {BY_HAND}")
    facts = TableFacts(name, columns[relation.key[0]], columns)
    references = [each for each in read_references(connection, [relation]) if each.child == name]
    to_users = {column for each in references if "user" in each.parent for column in each.columns}
    personal = tuple(each.name for each in columns.values() if each.has_words or each.name in to_users)
    return replace(facts, personal=tuple(name for name in personal if name != facts.key.name))


def _referring(connection: sa.Connection, parent: TableFacts, path: tuple[str, ...]) -> Iterator[Referring]:
    relation = read_relation(connection, parent.name, SERVICE)
    assert relation is not None  # noqa: S101 - it was read a moment ago
    for reference in read_references(connection, [relation]):
        if reference.parent != parent.name or reference.effect not in (Effect.CASCADES, Effect.BLOCKS):
            continue
        goes_along = reference.effect is Effect.CASCADES
        _check(reference, parent, path if goes_along else ())
        child = _read_table(connection, reference.child)
        below = tuple(_referring(connection, child, (*path, child.name))) if goes_along else ()
        yield Referring(child, child.columns[reference.columns[0]], reference.constraint, goes_along, below)


def _check(reference: Reference, parent: TableFacts, path: tuple[str, ...]) -> None:
    """Raise `ConfigurationError` for a foreign key that takes more than a `Child` of one column says."""
    if (reference.schema, reference.parent_schema) != (SERVICE, SERVICE):
        problem = f"leads from or to another schema than {SERVICE}"
    elif len(reference.columns) != 1:
        problem = "is of several columns"
    elif reference.parent_columns != (parent.key.name,):
        problem = f"does not refer to the key of {parent.name}"
    elif reference.child in path:
        problem = f"leads by ON DELETE CASCADE back to {reference.child}"
    else:
        return
    raise ConfigurationError(f"the foreign key {reference.name} ({reference.constraint}) {problem}; {BY_HAND}")


def _close(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=3) or sorted(names)
    return f"; there are {', '.join(close)}" if close else ""
