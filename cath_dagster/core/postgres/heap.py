"""PostgreSQL's own: identifiers, the physical places of rows, and what the catalogue says of a table's heap."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql.base import PGDialect, PGIdentifierPreparer
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import UserDefinedType

from cath_dagster.core.errors import DatabaseStatementError

MOST_ROWS_PER_BLOCK = 291
"""With PostgreSQL's usual blocks of 8 kB, and rows that hold nothing but their header."""

KINDS_OF_TABLES = ("r", "p")
KINDS = {"f": "a foreign table, on another server", "v": "a view", "m": "a materialised view"}
"""What `pg_class.relkind` says, of tables and of what holds no rows of its own to delete."""

Keys = Sequence[Any]
E = TypeVar("E")

RESERVED_SINCE = frozenset({"collation", "concurrently", "lateral", "system_user", "tablesample"})
"""Words that newer servers reserve, and SQLAlchemy does not know of."""

# In the statements that SQLAlchemy writes, too.
PGIdentifierPreparer.reserved_words = PGIdentifierPreparer.reserved_words | RESERVED_SINCE
# With this style of parameters a % in a name is no mark, and is written once.
_PREPARER = PGDialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]  # only the class is typed


class Tid(UserDefinedType[str]):
    """A tuple's physical place, as `(block,offset)`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tid"

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindvalue, self)


class Words(UserDefinedType[Sequence[str]]):
    """An array of whatever kind of text it is compared with: the server finds out which."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "text[]"

    def bind_processor(self, dialect: Any) -> Callable[[Sequence[str] | None], str | None]:
        del dialect
        return lambda words: None if words is None else f"{{{','.join(map(_as_element, words))}}}"


def _as_element(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def tid_of(table: sa.Table) -> sa.ColumnElement[str]:
    """Return the system column that says where a row lies."""
    # A system column, added to no Table: INSERT and SELECT of all columns must not see it.
    return sa.literal_column(f"{qualified_name(table)}.ctid", Tid)


@lru_cache(maxsize=64)
def in_blocks(table: sa.Table) -> sa.ColumnElement[bool]:
    """Return whether a row lies in the blocks that a statement is executed for, with the values of `blocks`.

    One and the same expression for a table: building a statement anew for every range takes longer than a range of few
    rows.
    """
    ctid = tid_of(table)
    return sa.and_(ctid >= sa.bindparam("first_tid", type_=Tid()), ctid < sa.bindparam("end_tid", type_=Tid()))


def blocks(first: int, end: int) -> dict[str, str]:
    """Return the values for `in_blocks`, from block `first` to before `end`."""
    return {"first_tid": f"({first},0)", "end_tid": f"({end},0)"}


@dataclass(frozen=True)
class Heap:
    """Where the rows of an ordinary table, or of one partition, lie."""

    table: sa.Table
    """The partition itself where it is one."""
    blocks: int
    rows_per_block: int
    """By the planner's statistics."""
    has_statistics: bool
    """Whether the planner knows more of it than its length."""
    filenode: int
    """Changes when the table is rewritten, and every row with it gets another place."""
    bytes: int
    has_triggers: bool = False
    """Or rules: whether a DELETE may do more than delete."""


def read_heaps(connection: sa.Connection, table: sa.Table) -> list[Heap]:
    """Return the heaps that hold the table's rows: one, or of a partitioned table one for every leaf.

    Raises `DatabaseStatementError` for what has none: a view, a foreign table.
    """
    rows = connection.execute(_HEAPS, {"table": qualified_name(table)}).all()
    heaps = [_heap(table, row) for row in rows if row.kind != "p"]
    strange = [row for row in rows if row.kind not in KINDS_OF_TABLES]
    if strange:
        what = ", ".join(
            f"{'it' if row.is_root else f'its partition {row.schema}.{row.name}'} is {KINDS.get(row.kind, row.kind)}"
            for row in strange
        )
        raise DatabaseStatementError(f"{table.name} cannot be purged: {what}; only ordinary tables and partitions are")
    return heaps


_HEAPS = sa.text(
    """
    WITH root AS (SELECT CAST(:table AS regclass)::oid AS oid)
    SELECT relation.relkind::text AS kind, namespace.nspname AS schema, relation.relname AS name,
        relation.oid = root.oid AS is_root, pg_relation_size(relation.oid) AS bytes,
        current_setting('block_size')::bigint AS block_size, relation.reltuples AS rows, relation.relpages AS pages,
        coalesce(pg_relation_filenode(relation.oid), 0)::bigint AS filenode,
        relation.relhastriggers OR relation.relhasrules AS has_triggers
    FROM root, pg_class AS relation JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
    WHERE relation.oid = root.oid
       OR relation.oid IN (SELECT leaf.relid FROM pg_partition_tree(root.oid) AS leaf)
    ORDER BY is_root DESC, relation.oid
    """
)


def _heap(table: sa.Table, row: sa.Row[Any]) -> Heap:
    own = table if row.is_root else _like(table, row.schema, row.name)
    is_known = row.rows > 0 and row.pages > 0
    density = ceil(row.rows / row.pages) if is_known else MOST_ROWS_PER_BLOCK
    length = row.bytes // row.block_size
    return Heap(own, length, max(1, density), is_known, row.filenode, row.bytes, row.has_triggers)


def _like(table: sa.Table, schema: str, name: str) -> sa.Table:
    """Return a partition with the columns of its table."""
    columns = [sa.Column(column.name, column.type, primary_key=column.primary_key) for column in table.columns]
    return sa.Table(name, sa.MetaData(), *columns, schema=schema)


def qualified_name(table: sa.Table) -> str:
    """Return the table's name as SQL writes it, quoted where it must be."""
    return _PREPARER.format_table(table)


def quote(name: str) -> str:
    """Return an identifier as SQL writes it, quoted where it must be; a `%` in it is not doubled."""
    return str(_PREPARER.quote(name))


def rebind(expression: sa.ColumnElement[E], table: sa.Table, source: sa.FromClause) -> sa.ColumnElement[E]:
    """Return an expression over another source of the same rows: a sample, an alias, a partition."""

    def replace(element: Any, **_: Any) -> Any:
        if isinstance(element, sa.Column) and element.table is table:
            return source.c[element.key]
        return None

    result: sa.ColumnElement[E] = replacement_traverse(expression, {}, replace)
    return result


def is_any(key: sa.ColumnElement[Any], keys: Keys) -> sa.ColumnElement[bool]:
    """Return whether a key is one of many, passed as one parameter however many there are."""
    # SQLAlchemy would say of a text's array that it is one of text, which makes a char(n) a text without its blanks.
    kind = Words() if isinstance(key.type, sa.String) else ARRAY(key.type)
    return key == sa.any_(sa.literal(list(keys), kind))
