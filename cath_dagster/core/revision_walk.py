"""How far a revision's next statement may reach, when the heap is walked once and each range changed by one statement.

What a changed row costs (a new version, and an entry in every index) is learnt from the rows changed so far. A range is
as long as keeps the statement short should all its rows match.
"""

from dataclasses import dataclass
from typing import Self

TARGET_SECONDS = 0.08
"""A transaction's aim, less than a DELETE's: what a changed row costs varies more, as every index grows and splits."""
ASSUMED_ROW_SECONDS = 100e-6
"""What a row is taken to cost before any was changed: more than ten indexes do."""
TELLING_ROWS = 200
"""Fewer rows tell more about the statement's own cost than about theirs."""
MAX_BLOCKS = 4_096
"""32 MB. Reading more at once gains nothing."""
WORTH_A_WALK = 16
"""The walk reads every block; where fewer than one in so many rows change, it is cheaper to go to those."""


@dataclass(frozen=True)
class Reach:
    """How many blocks the next statement takes. `density` is the number of rows in a block."""

    density: int
    blocks: int
    row_seconds: float = ASSUMED_ROW_SECONDS

    @classmethod
    def first(cls, density: int) -> Self:
        """Return the reach before anything is known."""
        return cls(density, _affordable(density, ASSUMED_ROW_SECONDS))

    def after(self, seconds: float, changed: int) -> "Reach":
        """Return the next reach, from what the last statement took; it at most doubles."""
        row_seconds = seconds / changed if changed >= TELLING_ROWS else self.row_seconds
        return Reach(self.density, min(2 * self.blocks, _affordable(self.density, row_seconds)), row_seconds)


def is_worth_a_walk(matched: int, blocks: int, density: int) -> bool:
    """Return whether so many rows of a table are reached faster by walking its heap than one by one."""
    return matched * WORTH_A_WALK >= blocks * density


def _affordable(density: int, row_seconds: float) -> int:
    return max(1, min(MAX_BLOCKS, int(TARGET_SECONDS / (density * row_seconds))))
