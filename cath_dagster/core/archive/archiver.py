"""Keep what a purge deletes for as long as it may be undone: archived in the transaction of its delete.

The archive lies in `maintenance`: one row of `archived_rows` holds some hundred deleted rows of one table as JSON, every
value in the server's own text form, beside the columns they are of and a checksum. The server writes it; no row
passes through this process.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, array, insert

from cath_dagster.core.archive.dependents import DeletedTable, NulledReference, read_dependents, tables_of
from cath_dagster.core.maintenance.tables import archived_rows, restored_row
from cath_dagster.core.model.purge import Purge, descend
from cath_dagster.core.model.relation import Reference, Relation
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.identifiers import qualified_name

ROWS_PER_ARCHIVE = 500
"""Enough for TOAST to compress well, few enough that a restore's transaction is short."""
BYTES_PER_ARCHIVE = 1_000_000
"""Rows of megabytes are archived nearly one by one: a value of the database may have a gigabyte at most."""
ARCHIVES_AT_ONCE = 100
"""Archives deleted in one transaction, with up to as many megabytes."""

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


@dataclass(frozen=True, kw_only=True)
class Archiver:
    """Archives one batch of a purge, in the caller's transaction. `frame` is what all its archives say."""

    connection: sa.Connection
    purge: Purge
    deleted_tables: tuple[DeletedTable, ...]
    frame: Mapping[str, object]

    @classmethod
    def open(cls, connection: sa.Connection, purge: Purge, *, job: str, run_id: str) -> "Archiver | None":
        """Look up what is needed, whatever the rows are; None where the purge's rows are not kept."""
        undo = purge.undo
        if undo is None:
            return None
        pin_text(connection)
        children = [qualified_name(table) for table in tables_of(purge)[1:]]
        if children:
            # A column added between the look at the catalogue and the delete would be missing in the archive.
            connection.execute(sa.text(f"LOCK TABLE {', '.join(sorted(children))} IN ROW EXCLUSIVE MODE"))
        frame = {
            "run_id": run_id,
            "job": job,
            "partition": undo.partition,
            "rule": purge.rule,
            "cutoff": purge.cutoff,
            "undo_days": undo.days,
            "keep_until": undo.keep_until,
        }
        return cls(connection=connection, purge=purge, deleted_tables=read_dependents(connection, purge), frame=frame)

    def keep(self, chosen: sa.ColumnElement[bool]) -> None:
        """Archive the chosen rows of the purged table, locked already, and what their deletion sets to null.

        Rows that go along are locked, to be archived by `delete`.
        """
        rows_of = {self.purge.table.fullname: [chosen]}
        for child, its_rows in descend(self.purge.children, self.purge.table, chosen):
            rows_of.setdefault(child.fullname, []).append(its_rows)
        for deleted_table in self.deleted_tables:
            its_chosen = sa.or_(*rows_of[deleted_table.table.fullname])
            if deleted_table.has_children and deleted_table.table is not self.purge.table:
                # A row that another transaction lets refer to one of these would go unseen, by the cascade.
                self._lock(deleted_table.table, its_chosen)
            for nulled in deleted_table.nulled:
                self._archive_nulled(nulled, deleted_table.table, its_chosen)
        own = self.deleted_tables[0]
        names = _names(own.relation)
        lines = sa.select(_line(own.relation, names)).select_from(self.purge.table).where(chosen)
        self._archive(own.relation, names, lines, marks=self._marks(own.table))

    def delete(self, child: sa.Table, its_rows: sa.ColumnElement[bool]) -> int:
        """Delete rows that go along and archive exactly those, in one statement; return how many went."""
        (relation,) = (
            deleted_table.relation
            for deleted_table in self.deleted_tables
            if deleted_table.table.fullname == child.fullname
        )
        names = _names(relation)
        gone = sa.delete(child).where(its_rows).returning(_line(relation, names)).cte("gone")
        return self._archive(relation, names, sa.select(gone.c.line), marks=self._marks(child))

    def _marks(self, table: sa.Table) -> Mapping[str, Mapping[str, object]]:
        """Return what the archive says of a table's columns: by which ones its rows are known, and where copies lie."""
        marks: dict[str, dict[str, object]] = {column.name: {"key": True} for column in table.primary_key.columns}
        copies, copy_key = self.purge.copies, self.purge.copy_key
        if table is self.purge.table and copies is not None and copy_key is not None:
            marks[self.purge.key.name]["copy"] = [copies.table.schema, copies.table.name, copy_key]
        return marks

    def _lock(self, table: sa.Table, chosen: sa.ColumnElement[bool]) -> None:
        rows = sa.select(sa.literal(1)).select_from(table).where(chosen).with_for_update(of=table).subquery()
        self.connection.execute(sa.select(sa.func.count()).select_from(rows))

    def _archive_nulled(self, nulled: NulledReference, parent: sa.Table, chosen: sa.ColumnElement[bool]) -> None:
        """Archive which rows refer to the chosen ones: their key, and the columns to be set again."""
        reference, source = nulled.reference, nulled.child.as_source()
        # Unqualified names: the catalogue knows more columns than the parent's `Table` declares.
        referenced = sa.select(*map(sa.column, reference.parent_columns)).select_from(parent).where(chosen)
        refers = sa.tuple_(*(source.c[name] for name in reference.columns)).in_(referenced)
        names = tuple(dict.fromkeys((*nulled.child.key, *reference.columns)))
        lines = sa.select(_line(nulled.child, names)).select_from(source).where(refers)
        self._archive(nulled.child, names, lines, reference)

    def _archive(
        self,
        relation: Relation,
        names: Sequence[str],
        lines: sa.Select[tuple[str]],
        reference: Reference | None = None,
        marks: Mapping[str, Mapping[str, object]] | None = None,
    ) -> int:
        """Archive rows given as lines of JSON, so many to one archive as stay small; return how many they are."""
        types, marks = {column.name: column.type_name for column in relation.columns}, marks or {}
        columns = [{"name": name, "type": types[name], **marks.get(name, {})} for name in names]
        described = json.dumps(columns, ensure_ascii=False)
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
        texts = {
            name: sa.literal(value, sa.Text) for name, value in {"reference": refers, "columns": described}.items()
        }
        schema, table = sa.literal(relation.schema, sa.Text), sa.literal(relation.name, sa.Text)
        values: dict[str, sa.ColumnElement[Any]] = {
            **{name: sa.literal(value, archived_rows.c[name].type) for name, value in self.frame.items()},
            "schema_name": schema,
            "table_name": table,
            **{name: sa.cast(text, JSON) for name, text in texts.items()},
            "row_count": some.c.row_count,
            "rows": sa.cast(some.c.rows, JSON),
            "checksum": checksum(schema, table, texts["reference"], texts["columns"], some.c.rows),
        }
        statement = insert(archived_rows).from_select(list(values), sa.select(*values.values()).select_from(some))
        return sum(self.connection.scalars(statement.returning(archived_rows.c.row_count)))


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
    while done < total and (gone := database.transaction(lambda connection: connection.scalars(statement).all())):
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


def _line(relation: Relation, names: Sequence[str]) -> sa.Label[str]:
    """Return a row's values, in their text form, as the text of a JSON array."""
    types = {column.name: column.type_name for column in relation.columns}
    # An array takes any number of values, where json_build_array takes a hundred.
    values = array([_as_text(sa.column(name), types[name]) for name in names])
    return sa.cast(sa.func.to_json(values), sa.Text).label("line")


def _as_text(value: sa.ColumnElement[Any], type_name: str) -> sa.ColumnElement[str]:
    if type_name == "bpchar":
        # Its cast to text takes trailing blanks off, which a bpchar without a length keeps.
        return sa.func.textin(sa.func.bpcharout(value), type_=sa.Text)
    return sa.cast(value, sa.Text)


def _names(relation: Relation) -> tuple[str, ...]:
    return tuple(column.name for column in relation.stored)


def _has_ended(job: str, as_of: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return archived_rows.c.job == job, archived_rows.c.keep_until <= as_of
