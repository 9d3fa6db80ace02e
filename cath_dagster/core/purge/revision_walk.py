"""Revise a table by walking its heap once, one UPDATE for each range of blocks.

For revisions that look at nothing but the row itself and change many rows. A changed row gets another place, often ahead
of the walk, and matches no longer. What it costs (a new version, and an entry in every index) is learnt from the rows
changed so far; a range is as long as keeps the statement short should all its rows match.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import sqlalchemy as sa

from cath_dagster.core.model.purge import Revision
from cath_dagster.core.postgres.database import TimedOutError
from cath_dagster.core.postgres.expressions import blocks, in_blocks, is_any
from cath_dagster.core.postgres.heap import Heap
from cath_dagster.core.purge.batch import BatchDeleter
from cath_dagster.core.purge.batch_runner import GROWTH, PARTS, BatchRunner
from cath_dagster.core.purge.heap_walk import MAX_BLOCKS
from cath_dagster.core.purge.refusal import RowsRefusedError

MOST_SECONDS = 0.08
"""Less than a DELETE's batch at full pace: what a changed row costs varies more, as every index grows and splits."""
ASSUMED_ROW_SECONDS = 100e-6
"""What a row is taken to cost before any was changed: more than ten indexes do."""
TELLING_ROWS = 200
"""Fewer rows tell more about the statement's own cost than about theirs."""
WORTH_A_WALK = 16
"""The walk reads every block; where fewer than one in so many rows change, it is cheaper to go to those."""


@dataclass(frozen=True)
class Reach:
    """How many blocks the next statement takes. `density` is the number of rows in a block."""

    density: int
    target_seconds: float
    blocks: int
    row_seconds: float = ASSUMED_ROW_SECONDS

    @classmethod
    def first(cls, density: int, target_seconds: float) -> Self:
        """Return the reach before anything is known."""
        return cls(density, target_seconds, _affordable(density, target_seconds, ASSUMED_ROW_SECONDS))

    def after(self, seconds: float, changed: int) -> Self:
        """Return the next reach, from what the last statement took."""
        row_seconds = seconds / changed if changed >= TELLING_ROWS else self.row_seconds
        blocks = min(GROWTH * self.blocks, _affordable(self.density, self.target_seconds, row_seconds))
        return replace(self, blocks=blocks, row_seconds=row_seconds)

    def after_timeout(self, blocks: int) -> Self:
        """Return the next reach, after so many blocks took too long."""
        return replace(self, blocks=max(1, blocks // PARTS))


@dataclass(frozen=True, kw_only=True)
class RevisionWalk:
    """One pass over a heap. `report(done, total)` is called after every batch, in blocks."""

    runner: BatchRunner
    batcher: BatchDeleter
    revision: Revision
    heap: Heap
    report: Callable[[int, int], None]

    def run(self) -> None:
        """Change every row that matches when the walk comes by, except those that others keep locked."""
        pace_limits = self.runner.pacer.pace_limits
        position, reach = 0, Reach.first(self.heap.rows_per_block, min(pace_limits.target_seconds, MOST_SECONDS))
        while position < self.heap.blocks:
            until = min(position + reach.blocks, self.heap.blocks)
            update = partial(
                self.batcher.update_plain,
                self.revision,
                in_blocks(self.revision.table),
                values=blocks(position, until),
            )
            try:
                batch = self.runner.run(update)
            except (TimedOutError, RowsRefusedError):
                reach = reach.after_timeout(until - position)
                if until - position > 1:
                    continue
                self._take_rows(position)
            else:
                reach = reach.after(batch.seconds, batch.changed)
            position = until
            self.report(position, self.heap.blocks)

    def _take_rows(self, block: int) -> None:
        """Take the rows of a block one by one, after the block as a whole timed out, and pass over those locked.

        Or after the database refused it because of one of them.
        """
        revision = self.revision
        query = sa.select(revision.key).where(in_blocks(revision.table), revision.predicate)
        values = blocks(block, block + 1)
        for key in self.runner.database.transaction(lambda connection: connection.scalars(query, values).all()):
            self.runner.run_single_row(partial(self.batcher.update_plain, revision, is_any(revision.key, [key])), key)


def is_worth_a_walk(matched: int, heap: Heap) -> bool:
    """Return whether so many rows of a table are reached faster by walking its heap than one by one."""
    return matched * WORTH_A_WALK >= heap.blocks * heap.rows_per_block


def _affordable(density: int, target_seconds: float, row_seconds: float) -> int:
    return max(1, min(MAX_BLOCKS, int(target_seconds / (density * row_seconds))))
