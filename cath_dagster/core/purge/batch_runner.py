"""Run batches one after the other at a pace, each a transaction, and size the next by what they took."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core import telemetry
from cath_dagster.core.postgres.database import Database, Limits, TimedOutError
from cath_dagster.core.purge.access_path import Accessed
from cath_dagster.core.purge.batch import BatchCounts
from cath_dagster.core.purge.cost import Cost
from cath_dagster.core.purge.pace import Pacer
from cath_dagster.core.purge.refusal import Guards, Refusal, RowsRefusedError, StayedError

FIRST_ROWS = 16
"""Rows of the first batches: what a row costs is not known before some are deleted."""
MAX_ROWS = 10_000
"""Rows of a batch that is decided and deleted by keys."""
GROWTH = 4
"""A batch is at most so many times as large as the one before it, on whose time its size rests."""
PARTS = 4
"""A batch that timed out is tried again in so many parts."""
SINGLE_ROW = Limits(lock_seconds=1.0, statement_seconds=60.0)
"""A row alone cannot be tried in smaller parts: a foreign key without an index may scan a large table for it."""


@dataclass(frozen=True)
class Batch(BatchCounts):
    """What one batch did, and the seconds that it took."""

    seconds: float = 0.0

    @property
    def row_seconds(self) -> float:
        """The time that grows with the rows: their deletion, and the commit with its deferred constraints."""
        return self.seconds - self.decide_seconds - self.look_seconds


@dataclass
class Progress:
    """What a purge or revision has done so far; one per call, never shared."""

    changed: int = 0
    batches: int = 0
    timeouts: int = 0
    passed_over: int = 0
    """Rows that stayed locked by others, or took too long, since the last look at what matches."""
    seconds: float = 0.0
    longest_seconds: float = 0.0
    reached_limit: bool = False
    gave_up: bool = False
    """Rows matched still after every attempt."""
    rows_left: int | None = None
    """Rows of the table when the work ended; None where nobody counted them."""
    oldest_at: datetime | None = None
    accessed: Accessed = field(default_factory=Accessed)
    """How the rows were found."""
    cost: Cost = field(default_factory=Cost)
    refused: dict[Any, Refusal] = field(default_factory=dict)
    """By its key, each row that the database does not let go."""
    by_group: Counter[str] = field(default_factory=Counter)
    """Deleted rows by the value of the purge's `counted_by`."""

    def add(self, batch: Batch) -> None:
        self.changed += batch.changed
        self.batches += 1
        self.seconds += batch.seconds - batch.look_seconds
        if batch.changed:
            self.cost.add(batch.changed, batch.row_seconds)
        self.longest_seconds = max(self.longest_seconds, batch.seconds)
        self.by_group.update(batch.by_group)


@dataclass(frozen=True, kw_only=True)
class BatchRunner:
    """Runs the batches of one purge or revision and keeps count of them."""

    database: Database
    pacer: Pacer
    progress: Progress
    guards: Guards = field(default_factory=Guards)
    """What may refuse rows of the tables at work."""
    clock: Callable[[], float] = field(default=time.perf_counter)

    def run(self, work: Callable[[sa.Connection], BatchCounts], *, limits: Limits | None = None) -> Batch:
        """Return what one batch did, and rest after it.

        Raises `TimedOutError` for one that went beyond the limits, the pace's if none are given, and `RowsRefusedError`
        for one of which the database does not let a row go; nothing of it was done.
        """
        return self._run(work, limits or self.pacer.pace_limits.limits)

    def run_without_limits(self, work: Callable[[sa.Connection], BatchCounts]) -> Batch:
        """Return what one batch did that waits for locks as any transaction does; raises `RowsRefusedError` as `run` does."""
        return self._run(work, None)

    def _run(self, work: Callable[[sa.Connection], BatchCounts], limits: Limits | None) -> Batch:
        started = self.clock()
        try:
            done = self.database.transaction(lambda connection: self._watched(work, connection), limits=limits)
        except TimedOutError as error:
            self.progress.timeouts += 1
            telemetry.batch(self.clock() - started, 0, timed_out=True)
            self.pacer.back_off(error.reason, 0.0)
            raise
        except RowsRefusedError:
            self.pacer.rest(self.clock() - started)
            raise
        batch = Batch(**vars(done), seconds=self.clock() - started)
        self.progress.add(batch)
        self.progress.refused |= dict.fromkeys(batch.stayed, self.guards.silence)
        telemetry.batch(batch.seconds, batch.changed)
        self.pacer.rest(batch.seconds)
        return batch

    def _watched(self, work: Callable[[sa.Connection], BatchCounts], connection: sa.Connection) -> BatchCounts:
        try:
            done = work(connection)
            if self.guards.has_deferred and done.changed:
                # What would fail at the commit fails here, where it can be told from a fault of the connection.
                connection.execute(sa.text("SET CONSTRAINTS ALL IMMEDIATE"))
        except StayedError:
            raise RowsRefusedError(self.guards.silence) from None
        except DBAPIError as error:
            if refusal := self.guards.refusal_of(error):
                raise RowsRefusedError(refusal) from None
            raise
        self.pacer.look(connection)
        return done

    def run_single_row(self, work: Callable[[sa.Connection], BatchCounts], key: Any) -> None:
        """Run the batch of a row that cannot be tried in smaller parts, and pass over one that stays locked or refuses."""
        try:
            self.run(work, limits=SINGLE_ROW)
        except TimedOutError:
            self.progress.passed_over += 1
        except RowsRefusedError as error:
            self.progress.refused[key] = error.refusal

    def next_rows(self, rows: int, batch: Batch) -> int:
        """Return how many rows the next batch may take, by what these cost; a batch that changed none tells nothing."""
        cost = self.progress.cost
        if not batch.changed or cost.per_row is None:
            return rows
        # Where a batch takes longer than its aim whatever it holds, its rows may take as long again.
        seconds = max(self.pacer.pace_limits.target_seconds, cost.overhead)
        return max(1, rows // GROWTH, min(GROWTH * rows, int(seconds / cost.per_row)))

    def growth(self, seconds: float) -> float:
        """Return by how much a range that took so long may be longer the next time, or must be shorter."""
        at_work = max(seconds - self.progress.cost.overhead, seconds / GROWTH, 1e-6)
        return min(GROWTH, max(1 / GROWTH, self.pacer.pace_limits.target_seconds / at_work))
