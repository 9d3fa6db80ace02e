"""Batches of a job whose own statement deletes or changes rows of very different weight, such as a survey with its responses.

A batch that fails is tried again row by row, and what fails then is named with its reason and left for the next run.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import DatabaseUnavailableError, MaintenanceError
from cath_dagster.core.model.purge import Keys
from cath_dagster.core.postgres.database import Limits, TimedOutError
from cath_dagster.core.purge.batch import BatchCounts
from cath_dagster.core.purge.batch_runner import BatchRunner
from cath_dagster.core.purge.refusal import RowsRefusedError

BATCH_LIMITS = Limits(lock_seconds=1.0, statement_seconds=300.0)
"""Whoever holds a lock longer holds back one row, not its batch. No statement of a batch of bounded weight takes minutes."""


@dataclass(kw_only=True)
class WeightedBatches:
    """Does `work` on rows given by their keys, in the caller's order; `report(done, total)` is called after every batch."""

    runner: BatchRunner
    work: Callable[[Keys, sa.Connection], BatchCounts]
    """Decides again on the rows of these keys and does its work on them, in the caller's transaction."""
    weights: Mapping[Any, int]
    """By key, the rows that go along with one; none where it is missing."""
    most_rows: int
    most_weight: int
    """Of all rows of a batch, unless it is one row alone."""
    report: Callable[[int, int], None]
    failed: dict[Any, str] = field(default_factory=dict)
    """By key, why a row was left undone."""

    def take(self, keys: Keys) -> None:
        """Do the work on all of them, and make it durable: what follows it outside must not come before it."""
        tried = 0
        for batch in self._batches(keys):
            try:
                self.runner.run(partial(self.work, batch), limits=BATCH_LIMITS)
            except (MaintenanceError, TimedOutError, RowsRefusedError) as error:
                self._check_connection(error)
                for key in batch:
                    self._take_one(key)
            tried += len(batch)
            self.report(tried, len(keys))
        if self.runner.progress.batches:
            self.runner.database.flush()

    def _batches(self, keys: Keys) -> Iterator[list[Any]]:
        batch: list[Any] = []
        weight = 0
        for key in keys:
            more = self.weights.get(key, 0)
            if batch and (len(batch) == self.most_rows or weight + more > self.most_weight):
                yield batch
                batch, weight = [], 0
            batch.append(key)
            weight += more
        if batch:
            yield batch

    def _take_one(self, key: Any) -> None:
        try:
            self.runner.run_without_limits(partial(self.work, [key]))
        except (MaintenanceError, RowsRefusedError) as error:
            self._check_connection(error)
            self.failed[key] = str(error)

    def _check_connection(self, error: Exception) -> None:
        """Raise if the database is gone: no other row would fare better. A row that stays locked is only that one's."""
        if isinstance(error, DatabaseUnavailableError):
            self.runner.database.transaction(lambda connection: connection.scalar(sa.select(sa.literal(1))))
