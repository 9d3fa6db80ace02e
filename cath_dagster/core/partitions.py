"""Drop whole partitions whose rows are all past the cutoff, in place of deleting them row by row."""

from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.batch import Batcher, Done
from cath_dagster.core.batch_runner import BatchRunner
from cath_dagster.core.database import Limits, TimedOutError
from cath_dagster.core.heap import Heap, qualified_name
from cath_dagster.core.purge import Purge
from cath_dagster.core.way_in import find_relations, on_heap

LIMITS = Limits(lock_seconds=1.0, statement_seconds=600.0)
"""A lock on the whole table is asked for and must not be waited for long; counting a partition takes a while."""
ATTEMPTS = 3
WAIT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class PartitionDropper:
    """Drops partitions of one purge's table."""

    runner: BatchRunner
    batcher: Batcher
    purge: Purge

    def drop(self, heaps: tuple[Heap, ...]) -> tuple[Heap, ...]:
        """Drop each partition that the purge takes whole, and return those that are left to be walked."""
        database = self.runner.database
        whole = database.transaction(lambda connection: find_whole(connection, self.purge, heaps))
        return tuple(heap for heap in heaps if heap not in whole or not self._drop(heap))

    def _drop(self, heap: Heap) -> bool:
        for _ in range(ATTEMPTS):
            try:
                done = self.runner.run(lambda connection: self._drop_in(connection, heap), limits=LIMITS)
            except TimedOutError:
                self.runner.pacer.back_off("locked partition", WAIT_SECONDS)
            else:
                return done.is_full
        return False

    def _drop_in(self, connection: sa.Connection, heap: Heap) -> Done:
        """Drop a partition if all of its rows match; all in one transaction, so that a kill leaves it as it was."""
        part = on_heap(self.purge, heap)
        name = qualified_name(heap.table)
        # Nobody may add or rescue a row between the count and the drop. Readers go on until the very end.
        connection.execute(sa.text(f"LOCK TABLE {name} IN SHARE MODE"))
        count = sa.func.count()
        rows, others = connection.execute(
            sa.select(count, count.filter(part.predicate.is_not(sa.true()))).select_from(heap.table)
        ).one()
        if others:
            return Done(rows, 0)
        self.batcher.record_whole(connection, part, rows, {"dropped_partition": heap.table.name})
        connection.execute(sa.text(f"ALTER TABLE {qualified_name(self.purge.table)} DETACH PARTITION {name}"))
        connection.execute(sa.text(f"DROP TABLE {name}"))
        return Done(rows, rows, is_full=True)


def find_whole(connection: sa.Connection, purge: Purge, heaps: tuple[Heap, ...]) -> frozenset[Heap]:
    """Return the partitions into which, by their bounds, no row can come that the purge would spare.

    A table that others refer to has none: a dropped row must not be missed.
    """
    if _is_referenced(connection, purge.table):
        return frozenset()
    spared = find_relations(connection, purge, sa.not_(purge.predicate))
    return frozenset(
        heap for heap in heaps if heap.table is not purge.table and (heap.table.schema, heap.table.name) not in spared
    )


def find_obstacle(connection: sa.Connection, table: sa.Table) -> str | None:
    """Return why the role could not drop partitions of the table, None if it could or there are none."""
    owner, role, is_partitioned, may = connection.execute(_OWNER, {"table": qualified_name(table)}).one()
    if may or not is_partitioned:
        return None
    return (
        f"drop_partitions is set, and {role} does not own {table.name}, which takes to drop a partition; set "
        f'drop_partitions to false, or as its owner: GRANT "{owner}" TO "{role}";'
    )


def _is_referenced(connection: sa.Connection, table: sa.Table) -> bool:
    query = sa.text("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND confrelid = CAST(:table AS regclass)")
    return bool(connection.scalar(query, {"table": qualified_name(table)}))


_OWNER = sa.text(
    """
    SELECT pg_get_userbyid(relowner), current_user::text, relkind = 'p', pg_has_role(relowner, 'USAGE')
    FROM pg_class WHERE oid = CAST(:table AS regclass)
    """
)
