"""Where the rows of a table lie: its heap, or one for every partition."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.postgres.identifiers import qualified_name

MOST_ROWS_PER_BLOCK = 291
"""With PostgreSQL's usual blocks of 8 kB, and rows that hold nothing but their header."""

KINDS_OF_TABLES = ("r", "p")
KINDS = {"f": "a foreign table, on another server", "v": "a view", "m": "a materialised view"}
"""What `pg_class.relkind` says, of tables and of what holds no rows of its own to delete."""


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
    return _checked(table, connection.execute(_HEAPS, {"table": qualified_name(table)}).all())


def read_heaps_of(connection: sa.Connection, tables: Sequence[sa.Table]) -> list[list[Heap]]:
    """Return the heaps of each table, in one look at the catalogue; raises as `read_heaps` does."""
    rows = connection.execute(_HEAPS_OF_MANY, {"tables": [qualified_name(table) for table in tables]}).all()
    by_place = {place: list(its_rows) for place, its_rows in groupby(rows, key=attrgetter("place"))}
    return [_checked(table, by_place[place]) for place, table in enumerate(tables, start=1)]


def _checked(table: sa.Table, rows: Sequence[sa.Row[Any]]) -> list[Heap]:
    heaps = [_heap(table, row) for row in rows if row.kind != "p"]
    strange = [row for row in rows if row.kind not in KINDS_OF_TABLES]
    if strange:
        what = ", ".join(
            f"{'it' if row.is_root else f'its partition {row.schema}.{row.name}'} is {KINDS.get(row.kind, row.kind)}"
            for row in strange
        )
        raise DatabaseStatementError(f"{table.name} cannot be purged: {what}; only ordinary tables and partitions are")
    return heaps


_OF_HEAP = """
    relation.relkind::text AS kind, namespace.nspname AS schema, relation.relname AS name,
    relation.oid = root.oid AS is_root, pg_relation_size(relation.oid) AS bytes,
    current_setting('block_size')::bigint AS block_size, relation.reltuples AS rows, relation.relpages AS pages,
    coalesce(pg_relation_filenode(relation.oid), 0)::bigint AS filenode,
    relation.relhastriggers OR relation.relhasrules AS has_triggers
"""
_HEAPS = sa.text(
    f"""
    WITH root AS (SELECT CAST(:table AS regclass)::oid AS oid)
    SELECT {_OF_HEAP}
    FROM root, pg_class AS relation JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
    WHERE relation.oid = root.oid
       OR relation.oid IN (SELECT leaf.relid FROM pg_partition_tree(root.oid) AS leaf)
    ORDER BY is_root DESC, relation.oid
    """  # noqa: S608 - our own words
)
_HEAPS_OF_MANY = sa.text(
    f"""
    WITH root AS (
        SELECT place, CAST(name AS regclass)::oid AS oid
        FROM unnest(CAST(:tables AS text[])) WITH ORDINALITY AS given (name, place)
    )
    SELECT root.place, {_OF_HEAP}
    FROM root
    CROSS JOIN LATERAL (SELECT root.oid UNION SELECT leaf.relid FROM pg_partition_tree(root.oid) AS leaf) AS part (oid)
    JOIN pg_class AS relation ON relation.oid = part.oid
    JOIN pg_namespace AS namespace ON namespace.oid = relation.relnamespace
    ORDER BY root.place, is_root DESC, relation.oid
    """  # noqa: S608 - our own words
)
"""Of one table the planner knows the oid; joined as here it would be read more slowly."""


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
