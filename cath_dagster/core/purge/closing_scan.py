"""Look at a whole table after its purge: does a row match still, how many rows are left, how old is the oldest?"""

from collections.abc import Callable

import sqlalchemy as sa

from cath_dagster.core.model.purge import Purge
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.expressions import blocks
from cath_dagster.core.postgres.heap import Heap, read_heaps
from cath_dagster.core.purge.access_path import on_heap
from cath_dagster.core.purge.batch_runner import GROWTH
from cath_dagster.core.purge.heap_walk import MAX_BLOCKS
from cath_dagster.core.purge.pace import Pacer
from cath_dagster.core.purge.remaining import Remaining, remaining_in_blocks

FIRST_BLOCKS = 64
"""Half a megabyte, read within a millisecond if it is cached."""


def closing_scan(
    database: Database, purge: Purge, *, asks_for_matches: bool, pacer: Pacer, clock: Callable[[], float]
) -> Remaining:
    """Return what is left, as of one instant: a row that is moved meanwhile is seen once, wherever it goes.

    `asks_for_matches` as in `remaining_in_blocks`.
    """

    def work(connection: sa.Connection) -> Remaining:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        parts = [
            _look_at(connection, on_heap(purge, heap), heap, asks_for_matches, pacer, clock)
            for heap in read_heaps(connection, purge.table)
        ]
        return sum(parts, Remaining())

    return database.transaction(work)


def _look_at(
    connection: sa.Connection,
    purge: Purge,
    heap: Heap,
    asks_for_matches: bool,
    pacer: Pacer,
    clock: Callable[[], float],
) -> Remaining:
    """Look at one heap, part by part with rests between them, as the pace has it.

    By TIDs: a sequential scan of a large table goes through a small ring of buffers, and would have to write every page
    that it prunes of the rows just deleted before it may read the next.
    """
    query = remaining_in_blocks(purge, asks_for_matches=asks_for_matches)
    left, position, size = Remaining(), 0, FIRST_BLOCKS
    while position < heap.blocks:
        started = clock()
        left += Remaining.of(*connection.execute(query, blocks(position, position + size)).one())
        seconds = clock() - started
        position += size
        size = max(1, min(MAX_BLOCKS, int(size * min(GROWTH, pacer.pace_limits.target_seconds / max(seconds, 1e-6)))))
        pacer.rest(seconds)
    return left
