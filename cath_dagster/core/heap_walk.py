"""Purge a table by walking its heap once, by ranges of TIDs, with the predicate in the DELETE.

Linear however many rows are dead already, and the faster the more rows match. A range of blocks is deleted by one
statement only if that stays short should all of its rows match.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.batch import Batcher
from cath_dagster.core.batch_runner import FIRST_ROWS, MAX_ROWS, PARTS, Batch, BatchRunner
from cath_dagster.core.database import TimedOutError
from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.heap import Heap, blocks, in_blocks, is_any
from cath_dagster.core.purge import Purge
from cath_dagster.core.solitude import Solitude, follow, look_behind

MAX_BLOCKS = 512
"""4 MB. Even with a full image of every page, the logs of several such batches fit into PostgreSQL's usual wal_buffers of 16 MB,
and each commit lets the server's own writer write one while the next batch is at work; a longer batch has to write it itself.
"""
DENSE = 16
"""A range is worth one statement if at least one in so many of the rows that it may take match."""
MAX_IDLE = 5
"""Batches that found rows and deleted none, before the rows count as undeletable."""


@dataclass(kw_only=True)
class HeapWalk:
    """One pass over a heap. `report(blocks)` hears how far it has come."""

    runner: BatchRunner
    batcher: Batcher
    purge: Purge
    heap: Heap
    report: Callable[[int], None]
    position: int = 0
    """The block to go on from."""
    solitude: Solitude | None = None
    """Where it may be that nobody else writes: as long as it lasts, what is left is looked at on the way."""
    _size: int = 1
    _rows: int = FIRST_ROWS
    _idle: int = 0
    _knows_cost: bool = False

    @cached_property
    def _look(self) -> sa.Select[Any]:
        return look_behind(self.purge)

    def run(self) -> None:
        """Delete every row that matches when the walk comes by, except those that others keep locked."""
        while self.position < self.heap.blocks:
            until = min(self.position + self._size, self.heap.blocks)
            try:
                batch = self._take(until)
            except TimedOutError:
                self._take_parts(until)
            else:
                self._go_on(batch, until)
            self.report(self.position)

    def _take(self, until: int) -> Batch:
        # One statement deletes a range only if, should all its rows match, it stays short. Where few match, a
        # longer range with a limit on its rows is as safe and reads the table faster.
        is_short = self._knows_cost and (until - self.position) * self.heap.rows_per_block <= self._rows
        room = None if self.purge.is_plain and is_short else min(self._rows, MAX_ROWS)
        values = blocks(self.position, until)
        position = {"until_block": until, "filenode": self.heap.filenode}
        within = in_blocks(self.purge.table)
        work = partial(self.batcher.delete, self.purge, within, room, values=values, position=position)
        if self.solitude is None or not self.solitude.lasts:
            return self.runner.run(work)
        batch = self.runner.run(partial(follow, work, self._look, values, clock=self.runner.clock))
        self.solitude.add(batch)
        return batch

    def _go_on(self, batch: Batch, until: int) -> None:
        is_dense = batch.changed * DENSE >= self._rows
        if batch.changed:
            self._knows_cost = True
            self._rows = self.runner.next_rows(self._rows, batch)
        self._idle = self._idle + 1 if batch.is_full and not batch.changed else 0
        if self._idle == MAX_IDLE:
            raise DatabaseStatementError(
                f"rows of {self.purge.target} match and cannot be deleted: a row-level policy or a trigger keeps them"
            )
        if batch.is_full:
            # More may match in the same range, which is taken again in a smaller part.
            self._size = max(1, self._size // PARTS)
            return
        self.position = until
        self._size = max(1, min(MAX_BLOCKS, int(self._size * self.runner.growth(batch.seconds))))
        if self.purge.is_plain and is_dense:
            self._size = min(self._size, max(1, self._rows // self.heap.rows_per_block))

    def _take_parts(self, until: int) -> None:
        """Go on in smaller parts after a batch that timed out; in a single block row by row."""
        if self.solitude is not None:
            self.solitude.lasts = False
        self._size = max(1, (until - self.position) // PARTS)
        self._rows = max(1, self._rows // PARTS)
        if until - self.position > 1:
            return
        query = sa.select(self.purge.key).where(in_blocks(self.purge.table), self.purge.predicate)
        values = blocks(self.position, until)
        for key in self.runner.database.transaction(lambda connection: connection.scalars(query, values).all()):
            chosen = is_any(self.purge.key, [key])
            self.runner.run_single_row(partial(self.batcher.delete, self.purge, chosen, 1))
        self.position = until
