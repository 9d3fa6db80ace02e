"""Drop whole partitions whose rows are all past the cutoff, in place of deleting them row by row."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.model.purge import Purge
from cath_dagster.core.postgres.database import Limits, TimedOutError, sqlstate
from cath_dagster.core.postgres.heap import Heap
from cath_dagster.core.postgres.identifiers import qualified_name
from cath_dagster.core.purge.access_path import find_relations, on_heap
from cath_dagster.core.purge.batch import BatchCounts, BatchDeleter
from cath_dagster.core.purge.batch_runner import BatchRunner
from cath_dagster.core.purge.refusal import RowsRefusedError

LIMITS = Limits(lock_seconds=1.0, statement_seconds=600.0)
"""A lock on the whole table is asked for and must not be waited for long; counting a partition takes a while."""
ATTEMPTS = 3
WAIT_SECONDS = 1.0


IN_THE_WAY = ("2BP01", "42501", "55000", "55006")
"""Something depends on the partition, the role does not own it, or it cannot be detached now: its rows can be deleted."""


class _StaysError(Exception):
    """The partition cannot be dropped, for a reason that keeps none of its rows."""


@dataclass(frozen=True, kw_only=True)
class PartitionDropper:
    """Drops partitions of one purge's table."""

    runner: BatchRunner
    batcher: BatchDeleter
    purge: Purge

    def drop(self, heaps: tuple[Heap, ...]) -> tuple[Heap, ...]:
        """Drop each partition that the purge takes whole, and return those that are left to be walked."""
        database = self.runner.database
        whole = database.transaction(lambda connection: find_whole(connection, self.purge, heaps))
        return tuple(heap for heap in heaps if heap not in whole or not self._drop(heap))

    def _drop(self, heap: Heap) -> bool:
        if self._has_guards(heap):
            return False
        for _ in range(ATTEMPTS):
            try:
                done = self.runner.run(lambda connection: self._drop_in(connection, heap), limits=LIMITS)
            except TimedOutError:
                self.runner.pacer.back_off("locked partition", WAIT_SECONDS)
            except (_StaysError, RowsRefusedError):
                return False
            else:
                return done.is_full
        return False

    def _has_guards(self, heap: Heap) -> bool:
        """Return whether something happens at the delete of a row, or keeps it: a drop would go past it."""
        guards, tables = self.runner.guards, (heap.table.name, self.purge.table.name)
        on_delete = [each.table for each in guards.triggers if each.is_on_delete]
        return any(table in tables for table in (*on_delete, *guards.rules, *guards.policed))

    def _drop_in(self, connection: sa.Connection, heap: Heap) -> BatchCounts:
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
            return BatchCounts(rows, 0)
        self.batcher.record_whole(connection, part, rows, {"dropped_partition": heap.table.name})
        try:
            connection.execute(sa.text(f"ALTER TABLE {qualified_name(self.purge.table)} DETACH PARTITION {name}"))
            connection.execute(sa.text(f"DROP TABLE {name}"))
        except DBAPIError as error:
            if sqlstate(error) in IN_THE_WAY:
                raise _StaysError from None
            raise
        return BatchCounts(rows, rows, is_full=True)


def find_whole(connection: sa.Connection, purge: Purge, heaps: tuple[Heap, ...]) -> frozenset[Heap]:
    """Return the partitions into which, by their bounds, no row can come that the purge would spare.

    A table that others refer to has none: a dropped row must not be missed. Neither is one that cannot be dropped by
    itself: of another owner, a partition's partition, or one on which something depends; nor one whose deletes a
    publication tells to subscribers, since no drop is.
    """
    if _is_referenced(connection, purge.table):
        return frozenset()
    droppable = {
        (schema, name) for schema, name in connection.execute(_DROPPABLE, {"table": qualified_name(purge.table)})
    }
    spared = find_relations(connection, purge, sa.not_(purge.predicate))
    return frozenset(
        heap
        for heap in heaps
        if heap.table is not purge.table
        and (heap.table.schema, heap.table.name) in droppable
        and (heap.table.schema, heap.table.name) not in spared
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

# What belongs to the partition depends on it by other kinds than "n": its indexes, triggers, defaults, statistics.
_DROPPABLE = sa.text(
    """
    SELECT nspname, relname
    FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE inhparent = CAST(:table AS regclass) AND relkind = 'r' AND pg_has_role(relowner, 'USAGE')
      AND NOT EXISTS (SELECT FROM pg_depend
                      WHERE refclassid = 'pg_class'::regclass AND refobjid = part.oid AND deptype = 'n')
      AND NOT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = part.oid)
      AND NOT EXISTS (SELECT FROM pg_publication_tables AS told JOIN pg_publication USING (pubname)
                      JOIN pg_class AS root ON root.oid = inhparent
                      WHERE pubdelete AND (told.schemaname = nspname AND told.tablename = part.relname
                          OR told.schemaname = CAST(CAST(root.relnamespace AS regnamespace) AS text)
                             AND told.tablename = root.relname))
    """
)
