"""PostgreSQL's own: identifiers, the physical places of rows, and what the catalogue says of a table's heap."""

from collections.abc import Sequence
from math import ceil
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, REGCLASS
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import UserDefinedType

from cath_dagster.core.errors import DatabaseStatementError

MOST_ROWS_PER_BLOCK = 291
"""With PostgreSQL's usual blocks of 8 kB, and rows that hold nothing but their header."""

Keys = Sequence[Any]

_PREPARER = PGDialect().identifier_preparer  # type: ignore[no-untyped-call]  # SQLAlchemy types the class, not its constructor


class Tid(UserDefinedType[str]):
    """A tuple's physical place, as `(block,offset)`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tid"

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindvalue, self)


def tid_of(table: sa.Table) -> sa.ColumnElement[str]:
    """Return the system column that says where a row lies."""
    # A system column, added to no Table: INSERT and SELECT of all columns must not see it.
    return sa.literal_column(f"{qualified_name(table)}.ctid", Tid)


def between(table: sa.Table, first: int, end: int) -> sa.ColumnElement[bool]:
    """Return whether a row lies in the blocks from `first` to before `end`."""
    ctid = tid_of(table)
    return sa.and_(ctid >= sa.literal(f"({first},0)", Tid), ctid < sa.literal(f"({end},0)", Tid))


def heap_shape(connection: sa.Connection, table: sa.Table) -> tuple[int, int]:
    """Return how many blocks the table's heap has, and how many rows one holds by the planner's statistics.

    Raises `DatabaseStatementError` for what has no heap of its own: a partitioned table, a view.
    """
    relation = sa.cast(qualified_name(table), REGCLASS)
    pg_class = sa.table("pg_class", *map(sa.column, ("oid", "relkind", "reltuples", "relpages")))
    block_size = sa.cast(sa.func.current_setting("block_size"), sa.BigInteger)
    size = sa.func.pg_relation_size(relation) / block_size
    kind, blocks, rows, pages = connection.execute(
        sa.select(pg_class.c.relkind, size, pg_class.c.reltuples, pg_class.c.relpages).where(pg_class.c.oid == relation)
    ).one()
    if kind not in ("r", b"r"):
        raise DatabaseStatementError(
            f"{table.name} is no ordinary table but of kind {kind!r} in pg_class; only ordinary tables are purged"
        )
    density = ceil(rows / pages) if rows > 0 and pages > 0 else MOST_ROWS_PER_BLOCK
    return int(blocks), max(1, density)


def qualified_name(table: sa.Table) -> str:
    """Return the table's name as SQL writes it, quoted where it must be."""
    return _PREPARER.format_table(table)


def quote(name: str) -> str:
    """Return an identifier as SQL writes it, quoted where it must be."""
    return str(_PREPARER.quote(name))


def rebind(predicate: sa.ColumnElement[bool], table: sa.Table, source: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the predicate over another source of the same rows: a sample, an alias."""

    def replace(element: Any, **_: Any) -> Any:
        if isinstance(element, sa.Column) and element.table is table:
            return source.c[element.key]
        return None

    result: sa.ColumnElement[bool] = replacement_traverse(predicate, {}, replace)
    return result


def is_any(key: sa.ColumnElement[Any], keys: Keys) -> sa.ColumnElement[bool]:
    """Return whether a key is one of many, passed as one parameter however many there are."""
    return key == sa.any_(sa.literal(list(keys), ARRAY(key.type)))
