"""What the catalogue may say of a table: its columns, its key, its unique indexes, its foreign keys."""

import enum
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

NO_ACTION, RESTRICT, CASCADE, SET_NULL, SET_DEFAULT = "a", "r", "c", "n", "d"
"""What a foreign key does ON DELETE or ON UPDATE, as `pg_constraint` has it."""


class Effect(enum.StrEnum):
    """What the delete of a row does to the rows that refer to it."""

    NONE = "none"
    """The server does not enforce the key."""
    BLOCKS = "blocks"
    """The row cannot go while another refers to it."""
    CASCADES = "cascades"
    SETS = "sets"
    """The other row stays, and its columns are set to null or to their defaults."""


@dataclass(frozen=True)
class Column:
    """A column as it is now. `type_name` casts text to it, of a domain to what it is made of, and cuts or pads nothing."""

    name: str
    type_name: str
    is_generated: bool
    is_required: bool
    """Whether a row must give it a value: it takes no NULL and has no default."""
    takes_null: bool = True
    most_characters: int | None = None
    """Of a text of limited length, the limit."""


@dataclass(frozen=True)
class Reference:
    """A foreign key, from the columns of a child table to those of its parent."""

    constraint: str
    schema: str
    child: str
    columns: tuple[str, ...]
    parent_schema: str
    parent: str
    parent_columns: tuple[str, ...]
    on_delete: str
    on_update: str = NO_ACTION
    is_deferrable: bool = False
    is_deferred: bool = False
    """Whether it is held against the rows at the commit only, unless a transaction asks for it earlier."""
    is_enforced: bool = True

    @property
    def effect(self) -> Effect:
        """What the delete of the parent's row does to the child's."""
        if not self.is_enforced:
            return Effect.NONE
        by_rule = {CASCADE: Effect.CASCADES, SET_NULL: Effect.SETS, SET_DEFAULT: Effect.SETS}
        return by_rule.get(self.on_delete, Effect.BLOCKS)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Each column of the child's with the one of its parent's that it refers to."""
        return tuple(zip(self.columns, self.parent_columns, strict=True))

    @property
    def is_to_itself(self) -> bool:
        """Whether rows refer to rows of their own table."""
        return (self.schema, self.child) == (self.parent_schema, self.parent)

    @property
    def name(self) -> str:
        """`table.column`, with the schema where it is not the usual one."""
        columns = self.columns[0] if len(self.columns) == 1 else f"({', '.join(self.columns)})"
        return f"{self.child}.{columns}" if self.schema == "public" else f"{self.schema}.{self.child}.{columns}"


@dataclass(frozen=True)
class Relation:
    """A table. `uniques` are the column lists of its unique indexes on all of its rows, the primary key's included."""

    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """The primary key's columns; without one those of a unique index that take no NULL; empty without that."""
    uniques: tuple[tuple[str, ...], ...]
    partitions: frozenset[tuple[str, str]] = frozenset()
    """Schema and name of each partition, of whatever level."""
    null_is_a_value: frozenset[tuple[str, ...]] = frozenset()
    """Those of the unique indexes to which NULL is like NULL."""
    heirs: tuple[str, ...] = ()
    """The tables that inherit from it, other than partitions, as statements name them."""

    @property
    def stored(self) -> tuple[Column, ...]:
        """The columns whose values are the row's own, not computed from others."""
        return tuple(column for column in self.columns if not column.is_generated)

    def as_source(self) -> sa.TableClause:
        """Return the table with all its columns, of whatever type."""
        return sa.table(self.name, *(sa.column(column.name) for column in self.columns), schema=self.schema)

    def as_table(self) -> sa.Table:
        """Return the table as jobs declare theirs."""
        columns: list[sa.Column[Any]] = [
            sa.Column(column.name, primary_key=column.name in self.key) for column in self.columns
        ]
        return sa.Table(self.name, sa.MetaData(), *columns, schema=self.schema)
