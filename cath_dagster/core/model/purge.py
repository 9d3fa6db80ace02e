"""Describe which rows shall go, and what goes along; or which rows shall change."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa

from cath_dagster.core.model.relation import Reference

Keys = Sequence[Any]
Pairs = tuple[tuple[sa.Column[Any], sa.Column[Any]], ...]
"""Each column of a child's table with the one of its parent's that it refers to."""


class Planning(Protocol):
    """What a job's purges are derived from: a run has it, and so has the question what a later run would take."""

    @property
    def as_of(self) -> datetime: ...

    @property
    def run_id(self) -> str: ...

    @property
    def environ(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Child:
    """A table whose rows go with their parent's: they are deleted first, so that they can be counted.

    Whatever ON DELETE the foreign key has, the result is the same; with CASCADE the database would not say how
    many rows went. `column` refers to the parent's key, unless `refers_to` or `pairs` say otherwise.
    """

    table: sa.Table
    column: sa.Column[Any]
    children: tuple["Child", ...] = ()
    refers_to: sa.Column[Any] | None = None
    """Another unique column of the parent's table."""
    pairs: Pairs = ()
    """Of a foreign key of several columns all of them."""

    def pairs_to(self, parent: sa.Table) -> Pairs:
        """Return by which columns a row belongs to one of its parent's table."""
        return self.pairs or ((self.column, key_of(parent) if self.refers_to is None else self.refers_to),)


@dataclass(frozen=True)
class Hold:
    """A foreign key that lets no row go to which another one refers, and that no child of the purge is known by.

    `path` leads from the purged table to the one that the key refers to: by children that go along, or it is empty.
    """

    reference: Reference
    path: tuple[Child, ...] = ()

    @property
    def is_chain(self) -> bool:
        """Whether rows of the purged table hold others of it."""
        return not self.path and self.reference.is_to_itself


@dataclass(frozen=True)
class CopyTo:
    """Where a copy of a row is kept: target columns and the expressions over the purged table that fill them.

    `run` is the column that says which run made the copy.
    """

    table: sa.Table
    values: dict[str, sa.ColumnElement[Any]]
    run: str | None = None


@dataclass(frozen=True, kw_only=True)
class Undo:
    """For how long what a purge deletes is archived, files included; what a run adds to its purges."""

    days: int
    keep_until: datetime
    partition: str | None = None


@dataclass(frozen=True, kw_only=True)
class Purge:
    """Rows of one table to be deleted, as one predicate that counting and deleting share.

    `cutoff` is what the rule compares with, for the ledger. `age` is the column whose minimum tells how old the
    oldest row left is. `reads_other_rows` says that the predicate looks at rows other than the one deleted;
    `lock_others` returns the statements that lock those before the decision, given the keys in question.
    `files` returns the files that belong to the rows chosen: each row's key as text, and a path.
    `counted_by` is a column by whose values the deleted rows are counted apart, such as the tenant's id; only for rows
    that are decided in two steps. `conditions` says in words what a row must fulfil to match, to tell why another is
    kept.
    """

    table: sa.Table
    rule: str
    predicate: sa.ColumnElement[bool]
    cutoff: datetime | None = None
    age: sa.ColumnElement[Any] | None = None
    reads_other_rows: bool = False
    lock_others: Callable[[Keys], Sequence[sa.Select[Any]]] | None = None
    children: tuple[Child, ...] = ()
    copies: CopyTo | None = None
    files: Callable[[sa.ColumnElement[bool]], sa.Select[tuple[str, str]]] | None = None
    counted_by: sa.Column[Any] | None = None
    conditions: Mapping[str, sa.ColumnElement[bool]] = field(default_factory=dict)
    undo: Undo | None = None
    partition_of: str | None = None
    """Of a purge of one partition the name of the whole table, by which the ledger knows it."""
    holds: tuple[Hold, ...] = ()
    """The foreign keys that may hold rows; the predicate takes none of those that they hold."""
    rule_predicate: sa.ColumnElement[bool] | None = None
    """With `holds` the predicate without them."""
    lets_cascade: tuple[sa.Column[Any], ...] = ()
    """Columns by which ON DELETE CASCADE takes rows that nobody needs to count."""
    is_checked_apart: bool = False
    """Whether who deletes by it holds all references to its tables against the catalogue."""

    @property
    def target(self) -> str:
        """The table's name in the ledger."""
        return self.partition_of or self.table.name

    @property
    def key(self) -> sa.Column[Any]:
        return key_of(self.table)

    @property
    def is_due(self) -> sa.ColumnElement[bool]:
        """Whether a row is to go by the rule, held by others or not."""
        return self.predicate if self.rule_predicate is None else self.rule_predicate

    @property
    def copy_key(self) -> str | None:
        """The column of the kept copy that has the row's key, None where no copy is kept or none has."""
        values = self.copies.values if self.copies is not None else {}
        return next((name for name, value in values.items() if value is self.key), None)

    @property
    def predicate_reads_other_rows(self) -> bool:
        """Whether the predicate would be worked out anew for every range of the table."""
        return self.reads_other_rows or bool(self.holds)

    @property
    def is_plain(self) -> bool:
        """Whether nothing goes along, so that one statement deletes a batch."""
        return not (self.children or self.copies or self.files or self.undo)

    @property
    def is_decided_in_two_steps(self) -> bool:
        """Whether rows are locked first and decided on in a new statement."""
        return self.reads_other_rows or not self.is_plain

    @property
    def every_table(self) -> list[sa.Table]:
        """Its own table, and each whose rows go along."""
        return [self.table, *_tables_of(self.children)]

    def every_child(self) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
        """Return each table whose rows go along, with the predicate that finds them."""
        return descend(self.children, self.table, self.predicate)


@dataclass(frozen=True, kw_only=True)
class Revision:
    """Rows of one table to be changed, as one predicate that counting and updating share.

    `is_plain` says that the predicate looks at nothing but the row itself and that a changed row matches no longer, so
    that one statement decides and changes.
    """

    table: sa.Table
    rule: str
    predicate: sa.ColumnElement[bool]
    values: dict[str, sa.ColumnElement[Any]]
    is_plain: bool = False
    lock_others: Callable[[Keys], Sequence[sa.Select[Any]]] | None = None

    @property
    def key(self) -> sa.Column[Any]:
        return key_of(self.table)


def key_of(table: sa.Table) -> sa.Column[Any]:
    """Return the column of a table's declared primary key."""
    (key,) = table.primary_key.columns
    return key


def _tables_of(children: Sequence[Child]) -> list[sa.Table]:
    return [table for child in children for table in (child.table, *_tables_of(child.children))]


def descend(
    children: Sequence[Child], table: sa.Table, chosen: sa.ColumnElement[bool]
) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Return the children of a table's chosen rows with the predicates of theirs, each before its own children."""
    found: list[tuple[sa.Table, sa.ColumnElement[bool]]] = []
    for child in children:
        pairs = child.pairs_to(table)
        its_rows = belongs(pairs, sa.select(*(parent for _, parent in pairs)).where(chosen))
        found += [(child.table, its_rows), *descend(child.children, child.table, its_rows)]
    return found


def belongs(pairs: Pairs, parents: sa.Select[Any]) -> sa.ColumnElement[bool]:
    """Return whether a row belongs to one of the parents, given by the columns that it refers to."""
    columns = [column for column, _ in pairs]
    return columns[0].in_(parents) if len(columns) == 1 else sa.tuple_(*columns).in_(parents)
