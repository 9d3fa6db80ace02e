"""Take rows by their keys, as many at once as stay short; fewer where they time out or refuse, and in the end each alone."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from cath_dagster.core.model.purge import Keys
from cath_dagster.core.postgres.database import TimedOutError
from cath_dagster.core.purge.batch import BatchCounts
from cath_dagster.core.purge.batch_runner import FIRST_ROWS, GROWTH, MAX_ROWS, PARTS, BatchRunner
from cath_dagster.core.purge.refusal import RowsRefusedError


@dataclass(kw_only=True)
class Chunks:
    """`rows` is the size of the next chunk; `report(done, total)` is called after every chunk."""

    runner: BatchRunner
    work: Callable[[Keys, sa.Connection], BatchCounts]
    report: Callable[[int, int], None] | None = None
    rows: int = FIRST_ROWS

    def take(self, keys: Keys) -> None:
        """Take the rows of these keys, in their order; a row that stays locked or refuses is passed over."""
        position = 0
        while position < len(keys):
            chunk = keys[position : position + self.rows]
            if self._take(chunk):
                position += len(chunk)
                if self.report is not None:
                    self.report(position, len(keys))

    def grow(self) -> None:
        """Let the next chunk be larger, since rows that do not go apart may go together."""
        self.rows = min(MAX_ROWS, self.rows * GROWTH)

    def _take(self, chunk: Keys) -> bool:
        """Return whether the chunk is done with; false where it must be tried in smaller parts."""
        work = partial(self.work, chunk)
        try:
            batch = self.runner.run(work)
        except (TimedOutError, RowsRefusedError) as error:
            self.rows = max(1, len(chunk) // PARTS)
            if len(chunk) > 1:
                return False
            if isinstance(error, RowsRefusedError):
                self.runner.progress.refused[chunk[0]] = error.refusal
            else:
                self.runner.run_single_row(work, chunk[0])
            return True
        self.rows = min(MAX_ROWS, self.runner.next_rows(self.rows, batch))
        return True
