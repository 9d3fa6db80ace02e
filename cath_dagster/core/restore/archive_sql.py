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

from cath_dagster.core.archive.archiver import checksum
from cath_dagster.core.maintenance.tables import SCHEMA, archived_rows, ledger_event
from cath_dagster.core.model.relation import Reference, Relation
from cath_dagster.core.postgres.identifiers import quote as quote_name

ARCHIVE, PLACE = "__archive", "__place"
"""The names of the columns that say which archive a row is of, and its number in it; no service would use them."""

Name = tuple[str, str]
"""A table's schema and name."""


@dataclass(frozen=True)
class Copy:
    """Where a copy of each row was kept when it was deleted, and the column that has the row's key."""

    schema: str
    table: str
    column: str


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
    types: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    """The columns by which the job knows its rows."""
    copy: Copy | None = None

    @property
    def name(self) -> Name:
        return self.schema, self.table


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
            types=tuple(column["type"] for column in columns),
            key=tuple(column["name"] for column in columns if column.get("key")),
            copy=next((Copy(*column["copy"]) for column in columns if "copy" in column), None),
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


def explain_absence(connection: sa.Connection, run_id: str) -> str | None:
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


def quote(name: str) -> str:
    """Return an identifier as the statements here write it, with the driver's marks in mind."""
    return quote_name(name).replace("%", "%%")


def name_of(schema: str, table: str) -> str:
    """Return a table's name as the statements here write it."""
    return f"{quote(schema)}.{quote(table)}"


def rows_of(relation: Relation, names: Sequence[str], *, ids: str = "ids") -> str:
    """Return the query for the archived rows of the parts bound as `ids`, every column of its type."""
    types = {column.name: column.type_name for column in relation.columns}
    columns = ", ".join(
        f"{_read(f'archived.line ->> {place}', types[name])} AS {quote(name)}" for place, name in enumerate(names)
    )
    return (
        f"SELECT archived_rows.archive_id AS {ARCHIVE}, archived.place AS {PLACE}, {columns} "  # noqa: S608 - our own and the catalogue's identifiers
        f"FROM {SCHEMA}.archived_rows CROSS JOIN LATERAL json_array_elements(archived_rows.rows) WITH ORDINALITY "
        f"AS archived (line, place) WHERE archived_rows.archive_id = ANY(CAST(%({ids})s AS bigint[]))"
    )


def _read(text: str, type_name: str) -> str:
    if type_name == "regclass":
        # Its cast from text looks for a relation of that name, where the type itself keeps the number of one that is gone.
        return f"regclassin(textout({text}))"
    return f"CAST({text} AS {type_name.replace('%', '%%')})"


def chosen(rows: str, table: str, where: str | None) -> str:
    """Return the query for those rows for which an operator's condition over the table's columns holds."""
    if where is None:
        return rows
    # On a line of its own: a comment at its end must not swallow the parenthesis.
    return f"SELECT * FROM ({rows}) AS {quote(table)} WHERE (\n{where.replace('%', '%%')}\n)"  # noqa: S608 - see caller


def judged(
    relation: Relation,
    part: Part,
    rows: str,
    references: Sequence[tuple[Reference, str | None]],
    breaks: Sequence[tuple[str, str]] = (),
) -> str:
    """Return the query that says of each row what stands in its way.

    `is_there`: a row has its key; `is_taken`: another row has values that are unique; `lacks`: the foreign key whose
    row is gone; `breaks`: the first of these conditions, each with its name, that holds. With a foreign key goes, where
    there is one, the query for rows that will be there by then.
    """
    own = name_of(relation.schema, relation.name)
    known = [columns for columns in relation.uniques if set(columns) <= set(part.names)]
    others = [f"EXISTS (SELECT FROM {own} AS there WHERE {_alike(relation, columns)})" for columns in known]
    identity = identity_of(relation, part)
    is_there = f"EXISTS (SELECT FROM {own} AS there WHERE {_equal(identity, identity)})"
    lacks = [(reference.constraint, _is_orphan(reference, coming)) for reference, coming in references]
    return (
        f"SELECT given.{ARCHIVE}, given.{PLACE}, {key_of(relation, part, 'given.')} AS key, {is_there} AS is_there, "  # noqa: S608
        f"({' OR '.join(others) or 'false'}) AS is_taken, {_first(lacks)} AS lacks, {_first(breaks)} AS breaks "
        f"FROM ({rows}) AS given"
    )


def identity_of(relation: Relation, part: Part) -> tuple[str, ...]:
    """Return the columns by which to see whether a row is there: the table's key, or the one that it had.

    Empty where the archived rows have neither.
    """
    return relation.key if relation.key and set(relation.key) <= set(part.names) else part.key


def key_of(relation: Relation, part: Part, prefix: str = "") -> str:
    """Return the key of a row as the text by which the job knows it; see `key_text`."""
    texts = [f"CAST({prefix}{quote(name)} AS text)" for name in part.key or identity_of(relation, part)]
    return texts[0] if len(texts) == 1 else f"CAST(to_json(ARRAY[{', '.join(texts)}]) AS text)"


def among(rows: str, name: str) -> str:
    """Return the condition that a row is one of those bound as `<name>_archives` and `<name>_places`."""
    given = f"unnest(CAST(%({name}_archives)s AS bigint[]), CAST(%({name}_places)s AS bigint[]))"
    return f"({rows}.{ARCHIVE}, {rows}.{PLACE}) IN (SELECT * FROM {given})"  # noqa: S608 - our own names


def _first(named: Sequence[tuple[str, str]]) -> str:
    """Return the name of the first condition that holds, NULL if none does."""
    cases = "".join(f" WHEN {condition} THEN {_literal(name)}" for name, condition in named)
    return f"CASE{cases or ' WHEN false THEN NULL'} END"


def _alike(relation: Relation, columns: Sequence[str]) -> str:
    if tuple(columns) not in relation.null_is_a_value:
        return _equal(columns, columns)
    return " AND ".join(f"there.{quote(name)} IS NOT DISTINCT FROM given.{quote(name)}" for name in columns)


def is_linked(reference: Reference, coming: str | None) -> str:
    """Return the condition that the row which a reference named is there, or will be."""
    return f"NOT ({_is_orphan(reference, coming)})"


def reference_of(part: Part) -> Reference:
    """Return what a part says was set to null."""
    if part.reference is None:
        raise TypeError(f"archive {part.archive_id} holds rows, and nothing that was set to null")
    return part.reference


def link_conditions(relation: Relation, part: Part, reference: Reference) -> tuple[str, str]:
    """Return the conditions that a row is the one which referred to the deleted row, and refers to nothing now."""
    unset = " AND ".join(f"there.{quote(name)} IS NULL" for name in reference.columns)
    key = identity_of(relation, part)
    return _equal(key, key), unset


def _is_orphan(reference: Reference, coming: str | None) -> str:
    given = [f"given.{quote(name)}" for name in reference.columns]
    parent = name_of(reference.parent_schema, reference.parent)
    found = _equal(reference.parent_columns, reference.columns)
    conditions = [
        *(f"{name} IS NOT NULL" for name in given),
        f"NOT EXISTS (SELECT FROM {parent} AS there WHERE {found})",
        # No NULL is among them, which would make every NOT IN unknown.
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
