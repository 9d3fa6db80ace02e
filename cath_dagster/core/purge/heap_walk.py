"""Purge a table by walking its heap once, by ranges of TIDs, with the predicate in the DELETE.

Linear however many rows are dead already, and the faster the more rows match. A range of blocks is deleted by one
statement only if that stays short should all of its rows match.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.model.purge import Keys, Purge
from cath_dagster.core.postgres.database import TimedOutError
from cath_dagster.core.postgres.expressions import blocks, in_blocks, is_any
from cath_dagster.core.postgres.heap import Heap
from cath_dagster.core.purge.batch import BatchCounts, BatchDeleter
from cath_dagster.core.purge.batch_runner import FIRST_ROWS, MAX_ROWS, PARTS, Batch, BatchRunner
from cath_dagster.core.purge.chunks import Chunks
from cath_dagster.core.purge.refusal import RowsRefusedError
from cath_dagster.core.purge.single_writer import SingleWriter, delete_and_count, select_remaining

MAX_BLOCKS = 512
"""4 MB. Even with a full image of every page, the logs of several such batches fit into PostgreSQL's usual wal_buffers of 16 MB,
and each commit lets the server's own writer write one while the next batch is at work; a longer batch has to write it itself.
"""
DENSE = 16
"""A range is worth one statement if at least one in so many of the rows that it may take match."""


@dataclass(kw_only=True)
class HeapWalk:
    """One pass over a heap. `report(blocks)` is called with how far it has come."""

    runner: BatchRunner
    batcher: BatchDeleter
    purge: Purge
    heap: Heap
    report: Callable[[int], None]
    position: int = 0
    """The block to go on from."""
    single_writer: SingleWriter | None = None
    """Where it may be that nobody else writes: as long as it lasts, what is left is looked at on the way."""
    _size: int = 1
    _rows: int = FIRST_ROWS
    _refused_here: tuple[Any, ...] = ()
    """Keys of rows that something keeps without a word, in the blocks from the position on."""
    _knows_cost: bool = False

    @cached_property
    def _look(self) -> sa.Select[Any]:
        return select_remaining(self.purge)

    def run(self) -> None:
        """Delete every row that matches when the walk comes by, except those that others keep locked."""
        while self.position < self.heap.blocks:
            until = min(self.position + self._size, self.heap.blocks)
            try:
                batch = self._take(until)
            except (TimedOutError, RowsRefusedError) as error:
                self._take_parts(until, is_refused=isinstance(error, RowsRefusedError))
            else:
                self._go_on(batch, until)
            self.report(self.position)

    def _take(self, until: int) -> Batch:
        # One statement deletes a range only if, should all its rows match, it stays short. Where few match, a
        # longer range with a limit on its rows is as safe and reads the table faster.
        is_short = self._knows_cost and (until - self.position) * self.heap.rows_per_block <= self._rows
        # By their keys, where rows may be left out without a word: else nobody would know which.
        is_telling = self.heap.table.name not in self.batcher.may_keep
        room = None if self.purge.is_plain and is_short and is_telling else min(self._rows, MAX_ROWS)
        values = blocks(self.position, until)
        position = {"until_block": until, "filenode": self.heap.filenode}
        within = in_blocks(self.purge.table)
        purge = without(self.purge, self._refused_here)
        work = partial(self.batcher.delete, purge, within, room, values=values, position=position)
        if self.single_writer is None or not self.single_writer.lasts:
            batch = self.runner.run(work)
            self._refused_here = (*self._refused_here, *batch.stayed)
            return batch
        batch = self.runner.run(partial(delete_and_count, work, self._look, values, clock=self.runner.clock))
        self.single_writer.add(batch)
        return batch

    def _go_on(self, batch: Batch, until: int) -> None:
        is_dense = batch.changed * DENSE >= self._rows
        if batch.changed:
            self._knows_cost = True
            self._rows = self.runner.next_rows(self._rows, batch)
        if batch.is_full:
            # More may match in the same range, which is taken again in a smaller part.
            self._size = max(1, self._size // PARTS)
            return
        self._move_to(until)
        self._size = max(1, min(MAX_BLOCKS, int(self._size * self.runner.growth(batch.seconds))))
        if self.purge.is_plain and is_dense:
            self._size = min(self._size, max(1, self._rows // self.heap.rows_per_block))

    def _move_to(self, block: int) -> None:
        self.position, self._refused_here = block, ()

    def _take_parts(self, until: int, *, is_refused: bool) -> None:
        """Go on in smaller parts after a batch that timed out or that was refused; in a single block by its rows."""
        if self.single_writer is not None:
            self.single_writer.lasts = False
        self._size = max(1, (until - self.position) // PARTS)
        self._rows = max(1, self._rows // PARTS)
        if until - self.position > 1:
            return
        query = sa.select(self.purge.key).where(in_blocks(self.purge.table), self.purge.predicate)
        values = blocks(self.position, until)
        keys = self.runner.database.transaction(lambda connection: connection.scalars(query, values).all())
        if is_refused:
            Chunks(runner=self.runner, work=self._delete_keys, rows=max(1, len(keys) // PARTS)).take(keys)
        else:
            for key in keys:
                self.runner.run_single_row(partial(self._delete_keys, [key]), key)
        self._move_to(until)

    def _delete_keys(self, keys: Keys, connection: sa.Connection) -> BatchCounts:
        return self.batcher.delete(self.purge, is_any(self.purge.key, keys), len(keys), connection)


def without(purge: Purge, keys: Keys) -> Purge:
    """Return the purge without the rows of these keys."""
    if not keys:
        return purge
    is_other = sa.not_(is_any(purge.key, keys))
    return replace(purge, predicate=sa.and_(purge.predicate, is_other))
