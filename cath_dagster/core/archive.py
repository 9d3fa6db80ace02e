"""Keep what a purge deletes for as long as it may be undone: archived in the transaction of its delete.

The archive lies in `maintenance`: one row of `archived_rows` holds some hundred deleted rows of one table as JSON, every
value in the server's own text form, beside the columns they are of and a checksum. The server writes it; no row
passes through this process.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, array, insert

from cath_dagster.core.catalogue import find_missing_privileges
from cath_dagster.core.database import Database
from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.heap import qualified_name
from cath_dagster.core.maintenance import archived_rows, restored_row
from cath_dagster.core.purge import Purge, Undo, descend
from cath_dagster.core.relations import (
    CASCADE,
    SET_DEFAULT,
    SET_NULL,
    Reference,
    Relation,
    read_references,
    read_relation,
    read_relations,
)

ROWS_PER_ARCHIVE = 500
"""Enough for TOAST to compress well, few enough that a restore's transaction is short."""
BYTES_PER_ARCHIVE = 1_000_000
"""Rows of megabytes are archived nearly one by one: a value of the database may have a gigabyte at most."""
ARCHIVES_AT_ONCE = 100
"""Archives deleted in one transaction, with up to as many megabytes."""
PERSONAL = "personal"
"""The key in a `Table`'s `info` that names its columns with personal data, those it does not declare included."""

EXACT_TEXT = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmloption": "content",
    "array_nulls": "on",
}
"""The settings by which a value's text form depends on nothing else and reads back as the same value."""


@dataclass(frozen=True)
class UndoPolicy:
    """How long a job's deletions can be undone, and why personal data may be kept for that."""

    days: int = 0
    because: str = ""


def undo_of(policy: UndoPolicy, *, as_of: datetime, partition: str | None) -> Undo | None:
    """Return what a run of that reference time marks its purges with, None where nothing is kept."""
    if not policy.days:
        return None
    return Undo(days=policy.days, keep_until=as_of + timedelta(days=policy.days), partition=partition)


def find_obstacles(connection: sa.Connection, purge: Purge, policy: UndoPolicy) -> list[str]:
    """Return why what the purge takes could not be archived whole, or may not be."""
    reasons = _personal_data(purge, policy)
    family = _family(purge)
    relations = _relations(connection, family)
    references = read_references(connection, relations.values())
    for table, declared in family:
        reasons += _lost_along(table, declared, _references_to(references, relations[table.name]))
    linked = [
        link
        for table, declared in family
        for link in _links(_references_to(references, relations[table.name]), declared)
    ]
    reasons += [
        f"{link.constraint} sets rows of {link.child} to null (ON DELETE SET NULL), which has no primary key by which "
        "they could be set again; set undo_days: 0"
        for link in linked
        if not _relation(connection, link.child, link.schema).key
    ]
    links = {link.child: ("SELECT",) for link in linked}
    # Rows are locked before they are archived; of those without children of their own the delete itself tells.
    locked = {table.name: ("UPDATE",) for table, declared in family if declared or table is purge.table}
    missing = find_missing_privileges(connection, relations[purge.table.name].schema, links | locked)
    return reasons + [f"table {found.table}: {found.says}; {found.remedy}" for found in missing]


def keep(connection: sa.Connection, purge: Purge, chosen: sa.ColumnElement[bool], *, job: str, run_id: str) -> None:
    """Archive the chosen rows of the purged table, locked already, and what their deletion sets to null.

    Rows that go along are locked, and archived by `delete_kept`. The caller owns the transaction.
    """
    undo = _undo(purge)
    pin_text(connection)
    family = _family(purge)
    children = descend(purge.children, sa.select(purge.key).where(chosen))
    if children:
        # A column added between the look at the catalogue and the delete would be missing in the archive.
        names = ", ".join(sorted({qualified_name(child) for child, _ in children}))
        connection.execute(sa.text(f"LOCK TABLE {names} IN ROW EXCLUSIVE MODE"))
    relations = _relations(connection, family)
    references = read_references(connection, relations.values())
    rows_of = {purge.table.name: [chosen]}
    for child, its_rows in children:
        rows_of.setdefault(child.name, []).append(its_rows)
    frame = _frame(purge, undo, job=job, run_id=run_id)
    for table, declared in family:
        if declared and table is not purge.table:
            # Another's row that refers to one of these would go unseen, by the cascade.
            _lock(connection, table, sa.or_(*rows_of[table.name]))
        for link in _links(_references_to(references, relations[table.name]), declared):
            _archive_links(connection, frame, link, table, sa.or_(*rows_of[table.name]))
    own = relations[purge.table.name]
    _insert(connection, frame, own, _names(own), sa.select(_line(_names(own))).select_from(purge.table).where(chosen))


def delete_kept(
    connection: sa.Connection, purge: Purge, child: sa.Table, its_rows: sa.ColumnElement[bool], *, job: str, run_id: str
) -> int:
    """Delete rows that go along and archive exactly those, in one statement; return how many went."""
    relation = _relation(connection, child.name, child.schema)
    gone = sa.delete(child).where(its_rows).returning(_line(_names(relation))).cte("gone")
    frame = _frame(purge, _undo(purge), job=job, run_id=run_id)
    return _insert(connection, frame, relation, _names(relation), sa.select(gone.c.line))


def count_ended(connection: sa.Connection, job: str, as_of: datetime) -> int:
    """Return how many archived rows of a job are past their window."""
    count = sa.select(sa.func.coalesce(sa.func.sum(archived_rows.c.row_count), 0))
    return int(connection.scalar(count.where(*_has_ended(job, as_of))) or 0)


def delete_ended(database: Database, job: str, as_of: datetime, *, report: Callable[[str, int, int], None]) -> int:
    """Delete a job's archives that are past their window, in short transactions; return how many rows they held.

    What is known of rows it had restored goes too, once they are no longer left alone.
    """
    total = database.transaction(lambda connection: count_ended(connection, job, as_of))
    some = sa.select(archived_rows.c.archive_id).where(*_has_ended(job, as_of)).limit(ARCHIVES_AT_ONCE)
    statement = (
        sa.delete(archived_rows).where(archived_rows.c.archive_id.in_(some)).returning(archived_rows.c.row_count)
    )
    done = 0
    while gone := database.transaction(lambda connection: connection.scalars(statement).all()):
        done += sum(gone)
        report("archives", done, total)
    over = sa.delete(restored_row).where(restored_row.c.job == job, restored_row.c.left_alone_until <= as_of)
    database.transaction(lambda connection: connection.execute(over))
    return total


def checksum(
    schema: sa.ColumnElement[str],
    table: sa.ColumnElement[str],
    reference: sa.ColumnElement[str],
    columns: sa.ColumnElement[str],
    rows: sa.ColumnElement[str],
) -> sa.ColumnElement[str]:
    """Return the digest of an archive, given the texts of its parts."""
    whole = sa.func.concat(schema, "\n", table, "\n", reference, "\n", columns, "\n", rows)
    return sa.func.encode(sa.func.sha256(sa.func.convert_to(whole, "UTF8")), "hex", type_=sa.Text)


def pin_text(connection: sa.Connection) -> None:
    """Let values have their exact text form until the end of the transaction."""
    settings = (sa.func.set_config(name, value, sa.true()) for name, value in EXACT_TEXT.items())
    connection.execute(sa.select(*settings))


def _undo(purge: Purge) -> Undo:
    if purge.undo is None:
        raise TypeError(f"{purge.rule}: nothing says how long its rows are kept")
    return purge.undo


def _family(purge: Purge) -> list[tuple[sa.Table, frozenset[tuple[str, str]]]]:
    """Return every table whose rows go, each with the columns of its children by which theirs go along."""
    found: dict[str, tuple[sa.Table, frozenset[tuple[str, str]]]] = {}
    ahead = [(purge.table, purge.children)]
    while ahead:
        table, children = ahead.pop(0)
        known = found.get(table.name, (table, frozenset[tuple[str, str]]()))[1]
        found[table.name] = (table, known | {(child.table.name, child.column.name) for child in children})
        ahead += [(child.table, child.children) for child in children]
    return list(found.values())


def _relation(connection: sa.Connection, name: str, schema: str | None) -> Relation:
    return _there(read_relation(connection, name, schema), name)


def _there(relation: Relation | None, name: str) -> Relation:
    if relation is None:
        raise DatabaseStatementError(f"there is no table {name}; is this the right database?")
    return relation


def _relations(
    connection: sa.Connection, family: Sequence[tuple[sa.Table, frozenset[tuple[str, str]]]]
) -> dict[str, Relation]:
    tables = [table for table, _ in family]
    found = read_relations(connection, [(table.schema, table.name) for table in tables])
    return {table.name: _there(relation, table.name) for table, relation in zip(tables, found, strict=True)}


def _references_to(references: Sequence[Reference], relation: Relation) -> list[Reference]:
    return [
        reference
        for reference in references
        if (reference.parent_schema, reference.parent) == (relation.schema, relation.name)
    ]


def _is_declared(reference: Reference, declared: frozenset[tuple[str, str]]) -> bool:
    return len(reference.columns) == 1 and (reference.child, reference.columns[0]) in declared


def _links(references: Sequence[Reference], declared: frozenset[tuple[str, str]]) -> list[Reference]:
    """Return the references that a deletion sets to null, and a restore sets again."""
    return [each for each in references if each.on_delete == SET_NULL and not _is_declared(each, declared)]


def _personal_data(purge: Purge, policy: UndoPolicy) -> list[str]:
    if policy.because.strip():
        return []
    told: list[str] = []
    for table, _ in _family(purge):
        columns = table.info.get(PERSONAL)
        if columns is None:
            told.append(f"{table.name} (nothing says that it is free of them)")
        elif columns:
            told.append(f"{table.name} ({', '.join(columns)})")
    if not told:
        return []
    says = (
        f"undo_days is {policy.days}, and the rows to archive hold personal data: {'; '.join(told)}. Say in words why "
        "they may be kept so long, with archive_personal_data_because, or keep nothing, with undo_days: 0"
    )
    return [says]


def _lost_along(table: sa.Table, declared: frozenset[tuple[str, str]], references: Sequence[Reference]) -> list[str]:
    lost = [each for each in references if each.on_delete == CASCADE and not _is_declared(each, declared)]
    unclear = [each for each in references if each.on_delete == SET_DEFAULT and not _is_declared(each, declared)]
    return [
        *(
            f"rows of {each.child} go with rows of {table.name} by {each.constraint} (ON DELETE CASCADE), and the job "
            "does not know of them, so that they could not be brought back; set undo_days: 0, or declare them as "
            "children of the purge"
            for each in lost
        ),
        *(
            f"{each.constraint} (ON DELETE SET DEFAULT) changes rows of {each.child} in a way that could not be undone; "
            "set undo_days: 0"
            for each in unclear
        ),
    ]


def _frame(purge: Purge, undo: Undo, *, job: str, run_id: str) -> dict[str, object]:
    return {
        "run_id": run_id,
        "job": job,
        "partition": undo.partition,
        "rule": purge.rule,
        "cutoff": purge.cutoff,
        "undo_days": undo.days,
        "keep_until": undo.keep_until,
    }


def _lock(connection: sa.Connection, table: sa.Table, chosen: sa.ColumnElement[bool]) -> None:
    (key,) = table.primary_key.columns
    rows = sa.select(key).where(chosen).with_for_update(of=table).subquery()
    connection.execute(sa.select(sa.func.count()).select_from(rows))


def _archive_links(
    connection: sa.Connection,
    frame: dict[str, object],
    reference: Reference,
    parent: sa.Table,
    chosen: sa.ColumnElement[bool],
) -> None:
    """Archive which rows of the referencing table refer to the chosen ones: its key, and the columns to be set again."""
    child = _relation(connection, reference.child, reference.schema)
    source = child.as_source()
    # Unqualified names: the catalogue knows more columns than the parent's `Table` declares.
    referenced = sa.select(*map(sa.column, reference.parent_columns)).select_from(parent).where(chosen)
    refers = sa.tuple_(*(source.c[name] for name in reference.columns)).in_(referenced)
    names = tuple(dict.fromkeys((*child.key, *reference.columns)))
    _insert(connection, frame, child, names, sa.select(_line(names)).select_from(source).where(refers), reference)


def _line(names: Sequence[str]) -> sa.Label[str]:
    """Return a row's values, in their text form, as the text of a JSON array."""
    # An array takes any number of values, where json_build_array takes a hundred.
    values = array([sa.cast(sa.column(name), sa.Text) for name in names])
    return sa.cast(sa.func.to_json(values), sa.Text).label("line")


def _names(relation: Relation) -> tuple[str, ...]:
    return tuple(column.name for column in relation.stored)


def _insert(
    connection: sa.Connection,
    frame: Mapping[str, object],
    relation: Relation,
    names: Sequence[str],
    lines: sa.Select[tuple[str]],
    reference: Reference | None = None,
) -> int:
    """Archive rows given as lines of JSON, so many to one archive as stay small; return how many they are."""
    types = {column.name: column.type_name for column in relation.columns}
    described = json.dumps([{"name": name, "type": types[name]} for name in names], ensure_ascii=False)
    refers = None if reference is None else json.dumps(asdict(reference), ensure_ascii=False)
    each = lines.cte("each_row")
    so_far = sa.func.sum(sa.func.octet_length(each.c.line), type_=sa.BigInteger).over(rows=(None, 0))
    number = sa.func.row_number().over() - 1
    size, place = sa.func.floor(so_far / BYTES_PER_ARCHIVE), sa.func.floor(number / ROWS_PER_ARCHIVE)
    placed = sa.select(each.c.line, size.label("by_size"), place.label("by_number")).subquery("placed")
    rows = sa.func.concat("[", sa.func.string_agg(placed.c.line, ",\n"), "]", type_=sa.Text)
    some = (
        sa.select(sa.cast(sa.func.count(), sa.Integer).label("row_count"), rows.label("rows"))
        .group_by(placed.c.by_size, placed.c.by_number)
        .subquery("some")
    )
    texts = {name: sa.literal(value, sa.Text) for name, value in {"reference": refers, "columns": described}.items()}
    schema, table = sa.literal(relation.schema, sa.Text), sa.literal(relation.name, sa.Text)
    values: dict[str, sa.ColumnElement[Any]] = {
        **{name: sa.literal(value, archived_rows.c[name].type) for name, value in frame.items()},
        "schema_name": schema,
        "table_name": table,
        **{name: sa.cast(text, JSON) for name, text in texts.items()},
        "row_count": some.c.row_count,
        "rows": sa.cast(some.c.rows, JSON),
        "checksum": checksum(schema, table, texts["reference"], texts["columns"], some.c.rows),
    }
    statement = insert(archived_rows).from_select(list(values), sa.select(*values.values()).select_from(some))
    return sum(connection.scalars(statement.returning(archived_rows.c.row_count)))


def _has_ended(job: str, as_of: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return archived_rows.c.job == job, archived_rows.c.keep_until <= as_of
