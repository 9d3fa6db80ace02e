"""Read what runs archived: as rows of their tables again, and what stands in the way of each.

The statements are written out, since the tables and their columns are known to the catalogue only. Identifiers come
from it, quoted; values are bound, by the driver's own marks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import CursorResult

from cath_dagster.core.archive import checksum
from cath_dagster.core.heap import quote
from cath_dagster.core.maintenance import SCHEMA, archived_rows, ledger_event
from cath_dagster.core.relations import Reference, Relation

PLACE = "__place"
"""The name of the column that numbers the rows of a part; no service would use it."""


@dataclass(frozen=True)
class Part:
    """One archive: some rows of one table, or with `reference` what their deletion set to null elsewhere."""

    archive_id: int
    job: str
    partition: str | None
    schema: str
    table: str
    names: tuple[str, ...]
    reference: Reference | None
    row_count: int
    undo_days: int
    keep_until: datetime


def read_parts(connection: sa.Connection, run_id: str) -> list[Part]:
    """Return what a run archived, in the order in which it did, without the rows themselves."""
    archive = archived_rows.c
    query = (
        sa.select(
            archive.archive_id,
            archive.job,
            archive.partition,
            archive.schema_name,
            archive.table_name,
            archive.columns,
            archive.reference,
            archive.row_count,
            archive.undo_days,
            archive.keep_until,
        )
        .where(archive.run_id == run_id)
        .order_by(archive.archive_id)
    )
    return [
        Part(
            archive_id, job, partition, schema, table, tuple(column["name"] for column in columns),
            _as_reference(reference) if reference else None, row_count, undo_days, keep_until,
        )
        for archive_id, job, partition, schema, table, columns, reference, row_count, undo_days, keep_until
        in connection.execute(query)
    ]  # fmt: skip


def find_damaged(connection: sa.Connection, parts: Iterable[Part]) -> list[int]:
    """Return the archives that are not as they were written."""
    archive = archived_rows.c
    text = {name: sa.cast(archive[name], sa.Text) for name in ("reference", "columns", "rows")}
    digest = checksum(archive.schema_name, archive.table_name, text["reference"], text["columns"], text["rows"])
    ids = [part.archive_id for part in parts]
    query = sa.select(archive.archive_id).where(archive.archive_id.in_(ids), archive.checksum != digest)
    return list(connection.scalars(query.order_by(archive.archive_id)))


def tell_why_none(connection: sa.Connection, run_id: str) -> str | None:
    """Return why a run has no archive, None where the ledger does not know the run."""
    event = ledger_event.c
    job = connection.scalar(sa.select(sa.func.max(event.job)).where(event.run_id == run_id))
    if job is None:
        return None
    until = connection.scalar(
        sa.select(sa.func.max(event.details["undo_until"].astext)).where(event.run_id == run_id, sa.not_(event.dry_run))
    )
    if until is not None:
        return f"run {run_id} of {job} could be undone until {until}; its archive has been deleted since"
    return (
        f"run {run_id} of {job} has no archive: it deleted nothing, the job keeps nothing (undo_days is 0 for it), or the "
        "archive's window has ended"
    )


def execute(connection: sa.Connection, statement: str, **parameters: object) -> CursorResult[Any]:
    """Execute a statement with the driver's marks, such as `%(ids)s`."""
    return connection.exec_driver_sql(statement, parameters)


def name_of(schema: str, table: str) -> str:
    """Return a table's name as the statements here write it."""
    return f"{quote(schema)}.{quote(table)}"


def rows_of(relation: Relation, names: Sequence[str], *, ids: str = "ids") -> str:
    """Return the query for the archived rows of the parts bound as `ids`, every column of its type."""
    types = {column.name: column.type_name for column in relation.columns}
    columns = ", ".join(
        f"CAST(archived.line ->> {place} AS {types[name].replace('%', '%%')}) AS {quote(name)}"
        for place, name in enumerate(names)
    )
    return (
        f"SELECT archived.place AS {PLACE}, {columns} "  # noqa: S608 - our own and the catalogue's identifiers
        f"FROM {SCHEMA}.archived_rows CROSS JOIN LATERAL json_array_elements(archived_rows.rows) WITH ORDINALITY "
        f"AS archived (line, place) WHERE archived_rows.archive_id = ANY(CAST(%({ids})s AS bigint[]))"
    )


def chosen(rows: str, table: str, where: str | None) -> str:
    """Return the query for those rows for which an operator's condition over the table's columns holds."""
    if where is None:
        return rows
    # On a line of its own: a comment at its end must not swallow the parenthesis.
    return f"SELECT * FROM ({rows}) AS {quote(table)} WHERE (\n{where.replace('%', '%%')}\n)"  # noqa: S608 - see caller


def judged(relation: Relation, rows: str, references: Sequence[tuple[Reference, str | None]]) -> str:
    """Return the query that says of each row what stands in its way.

    `is_there`: a row has its key; `is_taken`: another row has values that are unique; `lacks`: the foreign key whose
    row is gone. With a foreign key goes, where there is one, the query for rows that will be there by then.
    """
    (key,) = relation.key
    own = name_of(relation.schema, relation.name)
    others = [f"EXISTS (SELECT FROM {own} AS there WHERE {_equal(columns, columns)})" for columns in relation.uniques]
    is_there = f"EXISTS (SELECT FROM {own} AS there WHERE {_equal((key,), (key,))})"
    lacks = "".join(
        f" WHEN {_is_orphan(reference, coming)} THEN {_literal(reference.constraint)}"
        for reference, coming in references
    )
    return (
        f"SELECT given.{PLACE}, CAST(given.{quote(key)} AS text) AS key, {is_there} AS is_there, "  # noqa: S608
        f"({' OR '.join(others)}) AS is_taken, CASE{lacks or ' WHEN false THEN NULL'} END AS lacks FROM ({rows}) AS given"
    )


def is_linked(reference: Reference, coming: str | None) -> str:
    """Return the condition that the row which a reference named is there, or will be."""
    return f"NOT ({_is_orphan(reference, coming)})"


def reference_of(part: Part) -> Reference:
    """Return what a part says was set to null."""
    if part.reference is None:
        raise TypeError(f"archive {part.archive_id} holds rows, and nothing that was set to null")
    return part.reference


def link_conditions(relation: Relation, reference: Reference) -> tuple[str, str]:
    """Return the conditions that a row is the one which referred to the deleted row, and refers to nothing now."""
    unset = " AND ".join(f"there.{quote(name)} IS NULL" for name in reference.columns)
    return _equal(relation.key, relation.key), unset


def _is_orphan(reference: Reference, coming: str | None) -> str:
    given = [f"given.{quote(name)}" for name in reference.columns]
    parent = name_of(reference.parent_schema, reference.parent)
    found = _equal(reference.parent_columns, reference.columns)
    conditions = [
        *(f"{name} IS NOT NULL" for name in given),
        f"NOT EXISTS (SELECT FROM {parent} AS there WHERE {found})",
        *([f"({', '.join(given)}) NOT IN ({coming})"] if coming else []),
    ]
    return " AND ".join(conditions)


def _equal(theirs: Sequence[str], ours: Sequence[str]) -> str:
    pairs = zip(theirs, ours, strict=True)
    return " AND ".join(f"there.{quote(their)} = given.{quote(our)}" for their, our in pairs)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("%", "%%") + "'"


def _as_reference(values: dict[str, Any]) -> Reference:
    named: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in values.items()}
    return Reference(**named)
