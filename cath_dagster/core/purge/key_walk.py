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

from cath_dagster.core.model.purge import Keys, Purge, Revision
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.purge.batch import BatchCounts
from cath_dagster.core.purge.batch_runner import BatchRunner
from cath_dagster.core.purge.chunks import Chunks
from cath_dagster.core.references.holds import keys_in_order

KEYS_IN_MEMORY = 100_000
"""Keys read at once; with uuids about 10 MB."""
MAX_IDLE_PASSES = 5
"""Passes that changed nothing though rows match, before the rest is left to the next run."""
FIRST_WAIT_SECONDS = 0.5
"""After a pass that left locked rows, doubled from pass to pass: about eight seconds in all."""


@dataclass(kw_only=True)
class KeyWalk:
    """Passes over the matching keys, until none is left, nothing moves any more, or there is no room.

    `room` says how many more rows may be changed, None for all; `report(done, total)` is called after every batch.
    """

    runner: BatchRunner
    change: Purge | Revision
    work: Callable[[Keys, sa.Connection], BatchCounts]
    room: Callable[[], int | None]
    report: Callable[[int, int], None]
    along: sa.Column[Any] | None = None
    """The indexed column to go along."""
    _low: str | None = None
    """No row below matches, but those that were passed over. As text: the column may hold what Python does not."""

    def run(self) -> None:
        """Change every row that matches."""
        progress, idle = self.runner.progress, 0
        chunks = Chunks(runner=self.runner, work=self.work, report=self.report)
        while (room := self._room()) > 0:
            is_whole = self._low is None
            keys = self.runner.database.transaction(partial(self._read, room))
            before, progress.passed_over = progress.changed + len(progress.refused), 0
            chunks.take(keys)
            if len(keys) < room:
                # From the low end again, for rows that others moved or added there meanwhile.
                self._low = None
            if not keys and is_whole:
                return
            # Rows that others rescue match no longer; a rule that never settles must not hold the run for ever.
            idle = 0 if progress.changed + len(progress.refused) > before or not keys else idle + 1
            if idle == MAX_IDLE_PASSES:
                progress.gave_up = True
                return
            if progress.passed_over:
                self.runner.pacer.back_off("locked rows", FIRST_WAIT_SECONDS * 2**idle)
            elif idle:
                # Rows that refer to each other in a circle go together or not at all.
                chunks.grow()
        progress.reached_limit = True

    def _room(self) -> int:
        room = self.room()
        return KEYS_IN_MEMORY if room is None else min(KEYS_IN_MEMORY, room)

    def _read(self, room: int, connection: sa.Connection) -> Keys:
        key, along = self.change.key, self.along
        refused = self.runner.progress.refused
        is_open = sa.not_(is_any(key, list(refused))) if refused else sa.true()
        if along is None:
            return connection.scalars(self._keys(is_open, room)).all()
        above = sa.true() if self._low is None else along >= sa.cast(sa.literal(self._low, sa.Text), along.type)
        columns = key, sa.cast(along, sa.Text)
        query = sa.select(*columns).where(self.change.predicate, is_open, above).order_by(along).limit(room)
        rows = connection.execute(query).all()
        if rows:
            self._low = rows[-1][1]
        return [row[0] for row in rows]

    def _keys(self, is_open: sa.ColumnElement[bool], room: int) -> sa.Select[Any]:
        if isinstance(self.change, Purge):
            return keys_in_order(self.change, is_open, room)
        return sa.select(self.change.key).where(self.change.predicate, is_open).limit(room)
