"""What a table holds after its purge: how many rows, how many of them match still, and how old the oldest is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa

from cath_dagster.core.extremes import least_on_calendar
from cath_dagster.core.instants import as_utc
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.postgres.expressions import in_blocks


@dataclass(frozen=True)
class Remaining:
    """What is left in some blocks of a table; what is left in others is added."""

    rows: int = 0
    matching: int = 0
    oldest_at: datetime | None = None

    @classmethod
    def of(cls, rows: int, matching: int, oldest_at: datetime | None) -> Self:
        return cls(rows, matching, None if oldest_at is None else as_utc(oldest_at))

    def __add__(self, other: "Remaining") -> "Remaining":
        known = [at for at in (self.oldest_at, other.oldest_at) if at is not None]
        return Remaining(self.rows + other.rows, self.matching + other.matching, min(known, default=None))


def remaining_in_blocks(purge: Purge, *, asks_for_matches: bool = True) -> sa.Select[Any]:
    """Return the query for what is left in the blocks that it is executed for.

    Without `asks_for_matches` none are looked for: a predicate that reads other rows would be worked out for each range.
    """
    count = sa.func.count()
    matching = count.filter(purge.predicate) if asks_for_matches else sa.literal(0)
    # What lies before the calendar is no age that anything could have.
    oldest = least_on_calendar(purge.age) if purge.age is not None else sa.null()
    return sa.select(count, matching, oldest).select_from(purge.table).where(in_blocks(purge.table))
