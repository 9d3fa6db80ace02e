"""Hold a service's tables as its `tables.py` states them against those that the database has.

A migration of the service that renames a column would else be found out by the statement that names it, which may come
after mails went out. A run looks before its first write, the doctor at any time, by one function and in the same words.
"""

import importlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ENUM, JSONB

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.optional_columns import is_optional
from cath_dagster.core.run.spec import JobSpec

SERVICE = "public"
"""The schema of the maintained tables."""
_INTEGERS = frozenset({"int2", "int4", "int8"})
_NUMBERS = _INTEGERS | {"float4", "float8", "numeric"}
_FAMILIES: tuple[tuple[type[sa.types.TypeEngine[Any]], frozenset[str]], ...] = (
    (sa.Uuid, frozenset({"uuid"})),
    (sa.Date, frozenset({"date"})),
    (sa.Boolean, frozenset({"bool"})),
    (sa.LargeBinary, frozenset({"bytea"})),
    (JSONB, frozenset({"jsonb"})),
    (sa.JSON, frozenset({"json", "jsonb"})),
    # What is written fits a wider integer as well, and what is read a narrower one.
    (sa.Integer, _INTEGERS),
    (sa.Numeric, _NUMBERS),
    (sa.String, frozenset({"text", "varchar", "bpchar", "citext", "name"})),
)
"""By the type that a table states the server's types that the jobs' statements are right with."""


class UnfitSchemaError(MaintenanceError):
    """A table of the service is not as a job needs it."""


@dataclass(frozen=True)
class Misfit:
    """What a table lacks, or has otherwise than stated."""

    table: str
    says: str
    is_absent: bool = False
    """The whole table is not there."""


@dataclass(frozen=True)
class _Column:
    """A column as the catalogue has it: its base type's name, of an array that of its elements; an enumeration's labels."""

    type_name: str
    shown: str
    is_array: bool
    labels: frozenset[str]


def check_fit(connection: sa.Connection, spec: JobSpec, used: Collection[str]) -> None:
    """Raise `UnfitSchemaError` naming all that a run of the job would miss.

    Only the tables that are `used` count. One from which the job may delete, and that is not there at all, is left to the
    plan, which counts its rows first.
    """
    misfits = [each for each in find_misfits(connection, stated_tables(spec, used)) if not _is_counted(each, spec)]
    if misfits:
        found = "; ".join(misfit.says for misfit in misfits)
        raise UnfitSchemaError(f"{spec.name} relies on what the database does not have: {found}. {remedy(spec)}")


def remedy(spec: JobSpec) -> str:
    """Return what to do about a misfit."""
    path = spec.location.package.replace(".", "/")
    return (
        f"A migration of the service has changed that: install the version of cath-dagster that knows it, or state it "
        f"in {path}/tables.py and change the jobs that go by it"
    )


def stated_tables(spec: JobSpec, used: Collection[str] | None = None) -> list[sa.Table]:
    """Return the service's tables that the job uses, of them only those that are `used` by a run, as its package states them."""
    if spec.database is None or not spec.database.needs_every_table:
        return []
    metadata: sa.MetaData = importlib.import_module(f"{spec.location.package}.tables").METADATA
    stated = {table.name: table for table in metadata.tables.values() if table.schema == SERVICE}
    return [stated[name] for name in spec.privileges if name in stated and (used is None or name in used)]


def find_misfits(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[Misfit]:
    """Return where the database's tables differ from those stated, in a way that a statement would stumble over."""
    found = _read(connection, [table.name for table in tables])
    return [misfit for table in tables for misfit in _compare(table, found.get(table.name))]


def _is_counted(misfit: Misfit, spec: JobSpec) -> bool:
    return misfit.is_absent and "DELETE" in spec.privileges[misfit.table]


def _compare(table: sa.Table, columns: Mapping[str, _Column] | None) -> Iterator[Misfit]:
    if columns is None:
        yield Misfit(table.name, f"{SERVICE} has no table {table.name}", is_absent=True)
        return
    for column in table.columns:
        found = columns.get(column.name)
        if found is None:
            if not is_optional(column):
                yield Misfit(table.name, f"table {table.name} has no column {column.name}")
        elif says := _differs(column.type, found):
            yield Misfit(table.name, f"{table.name}.{column.name} {says}")


def _differs(stated: sa.types.TypeEngine[Any], found: _Column) -> str | None:
    """Return in words how a column's type differs, None if statements are right with it."""
    if isinstance(stated, ENUM):
        missing = [label for label in stated.enums if label not in found.labels]
        if found.type_name == stated.name and not missing:
            return None
        if found.type_name == stated.name:
            return f"has no value {', '.join(map(repr, missing))} in its enumeration {stated.name}"
        return f"is of type {found.shown}, where the enumeration {stated.name} is needed"
    element = stated.item_type if isinstance(stated, sa.ARRAY) else stated
    known = _known(element)
    if known is None or (found.type_name in known and found.is_array == isinstance(stated, sa.ARRAY)):
        return None
    suffix = "[]" if isinstance(stated, sa.ARRAY) else ""
    return f"is of type {found.shown}, where {' or '.join(sorted(known))}{suffix} is needed"


def _known(stated: sa.types.TypeEngine[Any]) -> frozenset[str] | None:
    if isinstance(stated, sa.DateTime):
        # One read as the other is hours off, and nothing fails.
        return frozenset({"timestamptz" if stated.timezone else "timestamp"})
    return next((names for kind, names in _FAMILIES if isinstance(stated, kind)), None)


def _read(connection: sa.Connection, names: Sequence[str]) -> dict[str, dict[str, _Column]]:
    """Return the columns of those of the tables that are there."""
    query = sa.text(
        """
        WITH RECURSIVE named AS (
            SELECT name, to_regclass(format('%I.%I', CAST(:schema AS text), name))::oid AS oid
            FROM unnest(CAST(:names AS text[])) AS given (name)
        ), typed (oid, base, is_array) AS (
            -- A domain over another type, or over a domain, and an array of such.
            SELECT type_of.oid, type_of.oid, false FROM pg_type AS type_of
            WHERE type_of.oid IN (SELECT atttypid FROM pg_attribute JOIN named ON attrelid = named.oid)
            UNION
            SELECT typed.oid, CASE WHEN base_of.typtype = 'd' THEN base_of.typbasetype ELSE base_of.typelem END,
                   is_array OR base_of.typtype <> 'd'
            FROM typed JOIN pg_type AS base_of ON base_of.oid = typed.base
            WHERE base_of.typtype = 'd' OR base_of.typcategory = 'A'
        )
        SELECT named.name, attname::text, base_of.typname::text, format_type(atttypid, atttypmod), typed.is_array,
               ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = base_of.oid)
        FROM named
        JOIN pg_attribute ON attrelid = named.oid AND attnum > 0 AND NOT attisdropped
        JOIN typed ON typed.oid = atttypid
        JOIN pg_type AS base_of ON base_of.oid = typed.base AND base_of.typtype <> 'd' AND base_of.typcategory <> 'A'
        """
    )
    found: dict[str, dict[str, _Column]] = {}
    for table, name, type_name, shown, is_array, labels in connection.execute(
        query, {"schema": SERVICE, "names": list(names)}
    ):
        found.setdefault(table, {})[name] = _Column(type_name, shown, is_array, frozenset(labels))
    return found
