"""Choose how a purge finds its rows: along an index where few match, by the heap where many do.

The planner decides, by its statistics: it is asked how it would read the matching rows, and where it would use an
index on the column by which they expire, so does the purge.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import Executable

from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.postgres.expressions import rebind
from cath_dagster.core.postgres.heap import Heap, read_heaps
from cath_dagster.core.postgres.identifiers import qualified_name

INDEX_SCANS = frozenset({"Index Scan", "Index Only Scan", "Bitmap Index Scan"})
"""As EXPLAIN names them."""


class Access(enum.StrEnum):
    """By what the matching rows are found."""

    HEAP = "heap"
    INDEX = "index"
    KEYS = "keys"


@dataclass(frozen=True)
class AccessPath:
    """How the matching rows are found: by walking `heaps`, or along `index` on the column `along`."""

    heaps: tuple[Heap, ...]
    index: str | None = None
    along: sa.Column[Any] | None = None


@dataclass(frozen=True)
class Accessed:
    """How the rows of a purge or a revision were found: what telemetry can group by."""

    access: Access | None = None
    index: str | None = None
    heaps: int = 1
    """How many were walked: of a partitioned table one for each partition."""
    partitions_dropped: int = 0

    @classmethod
    def by(cls, path: AccessPath, *, partitions_dropped: int = 0) -> Self:
        access = Access.HEAP if path.index is None else Access.INDEX
        return cls(access, path.index, len(path.heaps), partitions_dropped)

    def as_details(self) -> dict[str, Scalar]:
        """Return what an outcome's details and telemetry say of it."""
        found: dict[str, Scalar] = {"access_path": None if self.access is None else self.access.value}
        if self.index is not None:
            found["index"] = self.index
        if self.heaps > 1:
            found["partitions"] = self.heaps
        if self.partitions_dropped:
            found["partitions_dropped"] = self.partitions_dropped
        return found


def describe_access(details: Mapping[str, Scalar]) -> str:
    """Return in words what `Accessed.as_details` says, "" where it says nothing."""
    by = {Access.HEAP: "by the heap", Access.KEYS: "by keys", Access.INDEX: f"along the index {details.get('index')}"}
    access = details.get("access_path")
    if not access:
        return ""
    words = (
        f"by the heaps of {details['partitions']} partitions" if "partitions" in details else by[Access(str(access))]
    )
    dropped = details.get("partitions_dropped")
    return f"{dropped} partition{'s' if dropped != 1 else ''} dropped, {words}" if dropped else words


class _Explain(Executable, sa.ClauseElement):
    inherit_cache = False

    def __init__(self, statement: sa.Select[Any]) -> None:
        self.statement = statement


@compiles(_Explain)
def _compile_explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON, VERBOSE) {compiler.process(element.statement, **options)}"


def choose_access_path(connection: sa.Connection, purge: Purge) -> AccessPath:
    """Return how the purge's rows are best found now."""
    heaps = tuple(read_heaps(connection, purge.table))
    age = purge.age
    if not isinstance(age, sa.Column) or len(heaps) != 1 or not heaps[0].has_statistics:
        return AccessPath(tuple(_concerned(connection, purge, heaps)))
    for node in _plan(connection, purge, purge.predicate):
        index = node.get("Index Name")
        if node["Node Type"] in INDEX_SCANS and index and _begins_with(connection, purge, index, age):
            return AccessPath(heaps, index, age)
    return AccessPath(heaps)


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
