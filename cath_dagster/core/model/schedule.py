"""When a job runs, for how long it may, and how often it is repeated: plain values of its specification."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import overload

SHORTEST_INTERVAL = timedelta(seconds=5)
"""Dagster's daemon looks at its sensors as often, so that a shorter interval would be a promise that nobody keeps."""
NO_SCHEDULE = "no schedule"
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True)
class Cron:
    """By the calendar, in the zone of the job's location."""

    expression: str
    """Five fields, as Dagster reads them."""

    def __str__(self) -> str:
        return self.expression


@dataclass(frozen=True)
class Every:
    """At an interval, whatever the calendar says; the next look comes an interval after the last."""

    interval: timedelta
    """At least `SHORTEST_INTERVAL`, and whole seconds."""

    def __str__(self) -> str:
        return f"every {spoken(self.interval)}"


@dataclass(frozen=True)
class EvenTicks(Sequence[datetime]):
    """The instants after a start, an interval apart, up to an end; none is made before it is asked for."""

    interval: timedelta
    start: datetime
    end: datetime

    def __len__(self) -> int:
        return max(0, (self.end - self.start) // self.interval)

    @overload
    def __getitem__(self, index: int) -> datetime: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[datetime]: ...

    def __getitem__(self, index: int | slice) -> datetime | Sequence[datetime]:
        numbers = range(1, len(self) + 1)
        if isinstance(index, slice):
            return [self.start + self.interval * number for number in numbers[index]]
        return self.start + self.interval * numbers[index]


Schedule = Cron | Every
"""None in its place is a job that somebody starts."""


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How a failed run is repeated within the run, under the same lock."""

    attempts: int
    """Repetitions after the first attempt: 3 make four attempts."""
    delay: timedelta = timedelta(seconds=30)
    """Before the first repetition."""
    backoff: float = 2.0
    """By which the delay grows from one repetition to the next; 1 keeps it."""
    jitter: float = 0.1
    """The part of a delay by which chance makes it longer or shorter, so that jobs do not come back in step."""

    def delay_before(self, repetition: int, chance: float) -> timedelta:
        """Return the wait before a repetition, counted from 1; `chance` lies between 0 and 1."""
        grown = self.delay * self.backoff ** (repetition - 1)
        return min(LONGEST_DELAY, grown * (1 + self.jitter * (2 * chance - 1)))


LONGEST_DELAY = timedelta(hours=1)
"""A run that waits for longer holds its lock, and a place in the queue, for nothing: the next tick is the better repetition."""


def spoken(interval: timedelta) -> str:
    """Return a duration in words, in the largest unit of which it is a multiple."""
    seconds = int(interval.total_seconds())
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds and seconds % size == 0), _UNITS[-1])
    count = seconds // size
    return f"{count} {unit}s" if count != 1 else unit
