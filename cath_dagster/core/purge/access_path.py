"""Choose how a purge finds its rows: along an index where few match, by the heap where many do.

The planner decides, by its statistics: it is asked how it would read the matching rows, and where it would use an
index on the column by which they expire, so does the purge.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import Executable

from cath_dagster.core.model.purge import Purge
from cath_dagster.core.postgres.expressions import rebind
from cath_dagster.core.postgres.heap import Heap, read_heaps
from cath_dagster.core.postgres.identifiers import qualified_name

INDEX_SCANS = frozenset({"Index Scan", "Index Only Scan", "Bitmap Index Scan"})
"""As EXPLAIN names them."""


@dataclass(frozen=True)
class WayIn:
    """How the matching rows are found: by walking `heaps`, or along `index` on the column `along`."""

    heaps: tuple[Heap, ...]
    index: str | None = None
    along: sa.Column[Any] | None = None

    def __str__(self) -> str:
        if self.index is not None:
            return f"along the index {self.index}"
        return "by the heap" if len(self.heaps) == 1 else f"by the heaps of {len(self.heaps)} partitions"


class _Explain(Executable, sa.ClauseElement):
    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _compile_explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON, VERBOSE) {compiler.process(element.statement, **options)}"


def choose_way(connection: sa.Connection, purge: Purge) -> WayIn:
    """Return how the purge's rows are best found now."""
    heaps = tuple(read_heaps(connection, purge.table))
    age = purge.age
    if not isinstance(age, sa.Column) or len(heaps) != 1 or not heaps[0].has_statistics:
        return WayIn(tuple(_concerned(connection, purge, heaps)))
    for node in _plan(connection, purge, purge.predicate):
        index = node.get("Index Name")
        if node["Node Type"] in INDEX_SCANS and index and _begins_with(connection, purge, index, age):
            return WayIn(heaps, index, age)
    return WayIn(heaps)


def on_heap(purge: Purge, heap: Heap) -> Purge:
    """Return the purge of one heap's rows only."""
    if heap.table is purge.table:
        return purge
    return Purge(
        table=heap.table,
        rule=purge.rule,
        predicate=rebind(purge.predicate, purge.table, heap.table),
        cutoff=purge.cutoff,
        age=None if purge.age is None else rebind(purge.age, purge.table, heap.table),
        partition_of=purge.table.name,
    )


def _concerned(connection: sa.Connection, purge: Purge, heaps: tuple[Heap, ...]) -> Iterator[Heap]:
    """Yield the heaps that may hold matching rows: the planner leaves the other partitions out."""
    if len(heaps) == 1:
        yield from heaps
        return
    read = find_relations(connection, purge, purge.predicate)
    yield from (heap for heap in heaps if (heap.table.schema, heap.table.name) in read)


def find_relations(
    connection: sa.Connection, purge: Purge, predicate: sa.ColumnElement[bool]
) -> set[tuple[str | None, str | None]]:
    """Return schema and name of each relation that the planner would read for such rows: not every partition."""
    return {(node.get("Schema"), node.get("Relation Name")) for node in _plan(connection, purge, predicate)}


def _plan(connection: sa.Connection, purge: Purge, predicate: sa.ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    query = sa.select(purge.key).where(predicate)
    explained: list[dict[str, Any]] = connection.execute(_Explain(query)).scalar_one()
    yield from _nodes(explained[0]["Plan"])


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


_INDEX = sa.text(
    """
    SELECT count(*) FROM pg_index JOIN pg_class AS index_of ON index_of.oid = indexrelid
    JOIN pg_am ON pg_am.oid = index_of.relam AND amname = 'btree'
    JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] AND attname = :column
    WHERE indrelid = CAST(:table AS regclass) AND index_of.relname = :index
    """
)


def _begins_with(connection: sa.Connection, purge: Purge, index: str, column: sa.Column[Any]) -> bool:
    """Return whether an index is sorted by the column first."""
    wanted = {"table": qualified_name(purge.table), "index": index, "column": column.name}
    return bool(connection.scalar(_INDEX, wanted))
