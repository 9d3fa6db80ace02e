"""Purge or revise by keys: read the keys of the rows that match, then decide again batch by batch.

For predicates that read other rows and would be worked out anew for every range of the heap, for limited runs, and for
the few rows of a large table that an index finds. Along an index the walk remembers how far it has come: the index
keeps the entries of deleted rows until the next vacuum, and a search from its low end would read them all again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.batch import Done
from cath_dagster.core.batch_runner import FIRST_ROWS, MAX_ROWS, PARTS, BatchRunner
from cath_dagster.core.database import TimedOutError
from cath_dagster.core.heap import Keys
from cath_dagster.core.purge import Purge, Revision

KEYS_IN_MEMORY = 100_000
"""Keys read at once; with uuids about 10 MB."""
MAX_IDLE_PASSES = 5
"""Passes that changed nothing though rows match, before the rest is left to the next run."""
FIRST_WAIT_SECONDS = 0.5
"""After a pass that left locked rows, doubled from pass to pass: about eight seconds in all."""


@dataclass(kw_only=True)
class KeyWalk:
    """Passes over the matching keys, until none is left, nothing moves any more, or there is no room.

    `room` says how many more rows may be changed, None for all; `report(done, total)` hears of every batch.
    """

    runner: BatchRunner
    change: Purge | Revision
    work: Callable[[Keys, sa.Connection], Done]
    room: Callable[[], int | None]
    report: Callable[[int, int], None]
    along: sa.Column[Any] | None = None
    """The indexed column to go along."""
    _rows: int = FIRST_ROWS
    _low: str | None = None
    """No row below matches, but those that were passed over. As text: the column may hold what Python does not."""

    def run(self) -> None:
        """Change every row that matches."""
        progress, idle = self.runner.progress, 0
        while (room := self._room()) > 0:
            is_whole = self._low is None
            keys = self.runner.database.transaction(partial(self._read, room))
            before, progress.passed_over = progress.changed, 0
            self._take(keys)
            if len(keys) < room:
                # From the low end again, for rows that others moved or added there meanwhile.
                self._low = None
            if not keys and is_whole:
                return
            # Rows that others rescue match no longer; a rule that never settles must not hold the run for ever.
            idle = 0 if progress.changed > before or not keys else idle + 1
            if idle == MAX_IDLE_PASSES:
                progress.gave_up = True
                return
            if progress.passed_over:
                self.runner.pacer.back_off("locked rows", FIRST_WAIT_SECONDS * 2**idle)
        progress.reached_limit = True

    def _room(self) -> int:
        room = self.room()
        return KEYS_IN_MEMORY if room is None else min(KEYS_IN_MEMORY, room)

    def _read(self, room: int, connection: sa.Connection) -> Keys:
        key, along = self.change.key, self.along
        if along is None:
            return connection.scalars(sa.select(key).where(self.change.predicate).limit(room)).all()
        above = sa.true() if self._low is None else along >= sa.cast(sa.literal(self._low, sa.Text), along.type)
        query = sa.select(key, sa.cast(along, sa.Text)).where(self.change.predicate, above).order_by(along).limit(room)
        rows = connection.execute(query).all()
        if rows:
            self._low = rows[-1][1]
        return [row[0] for row in rows]

    def _take(self, keys: Keys) -> None:
        position = 0
        while position < len(keys):
            chunk = keys[position : position + self._rows]
            try:
                batch = self.runner.run(partial(self.work, chunk))
            except TimedOutError:
                if len(chunk) == 1:
                    self.runner.run_single_row(partial(self.work, chunk))
                    position += 1
                self._rows = max(1, len(chunk) // PARTS)
                continue
            position += len(chunk)
            self._rows = min(MAX_ROWS, self.runner.next_rows(self._rows, batch))
            self.report(position, len(keys))
