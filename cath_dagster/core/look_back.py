"""Look at a whole table after its purge: does a row match still, how many rows are left, how old is the oldest?"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from cath_dagster.core.batch_runner import GROWTH
from cath_dagster.core.database import Database
from cath_dagster.core.heap import Heap, blocks, in_blocks, read_heaps
from cath_dagster.core.heap_walk import MAX_BLOCKS
from cath_dagster.core.instants import as_utc
from cath_dagster.core.pace import Pacer
from cath_dagster.core.purge import Purge
from cath_dagster.core.way_in import on_heap

FIRST_BLOCKS = 64
"""Half a megabyte, read within a millisecond if it is cached."""


@dataclass(frozen=True)
class Left:
    """What a table holds after its purge."""

    rows: int
    matching: int
    oldest_at: datetime | None


def look_back(
    database: Database, purge: Purge, *, asks_for_matches: bool, pacer: Pacer, clock: Callable[[], float]
) -> Left:
    """Return what is left, as of one instant: a row that is moved meanwhile is seen once, wherever it goes.

    Without `asks_for_matches` none are looked for: a predicate that reads other rows would be worked out for each part.
    """

    def work(connection: sa.Connection) -> Left:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        parts = [
            _look_at(connection, on_heap(purge, heap), heap, asks_for_matches, pacer, clock)
            for heap in read_heaps(connection, purge.table)
        ]
        return Left(
            sum(part.rows for part in parts),
            sum(part.matching for part in parts),
            min((part.oldest_at for part in parts if part.oldest_at is not None), default=None),
        )

    return database.transaction(work)


def _look_at(
    connection: sa.Connection,
    purge: Purge,
    heap: Heap,
    asks_for_matches: bool,
    pacer: Pacer,
    clock: Callable[[], float],
) -> Left:
    """Look at one heap, part by part with rests between them, as the pace has it.

    By TIDs: a sequential scan of a large table goes through a small ring of buffers, and would have to write every page
    that it prunes of the rows just deleted before it may read the next.
    """
    count = sa.func.count()
    matching = count.filter(purge.predicate) if asks_for_matches else sa.literal(0)
    oldest = sa.func.min(purge.age) if purge.age is not None else sa.null()
    query = sa.select(count, matching, oldest).select_from(purge.table).where(in_blocks(purge.table))
    left, position, size = Left(0, 0, None), 0, FIRST_BLOCKS
    while position < heap.blocks:
        started = clock()
        rows, found, oldest_at = connection.execute(query, blocks(position, position + size)).one()
        known = [as_utc(at) for at in (left.oldest_at, oldest_at) if at is not None]
        left = Left(left.rows + rows, left.matching + found, min(known, default=None))
        seconds = clock() - started
        position += size
        size = max(1, min(MAX_BLOCKS, int(size * min(GROWTH, pacer.tempo.target_seconds / max(seconds, 1e-6)))))
        pacer.rest(seconds)
    return left
