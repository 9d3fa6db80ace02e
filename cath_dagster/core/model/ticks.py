"""When a schedule ticks: foretold by the scheduler that makes the ticks, and by nothing else.

Over clock changes, and for a day of the month beside a weekday, no two libraries read a cron alike. This package imports
nothing from above it, so that it names the scheduler's module and loads it when it is first asked.
"""

import importlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Protocol, cast

from cath_dagster.core.instants import as_utc

SCHEDULER = "cath_dagster.orchestration.ticks"
_PLAIN = re.compile(
    r"(?:[0-5]?\d|\*/[1-9]|\*/[1-5]\d|\*) (?:1?\d|2[0-3]|\*/[1-9]|\*/1\d|\*/2[0-3]|\*) \* \* (?:[0-6]|\*)"
)
"""Times of the day or the week in digits, which every scheduler takes: no command waits for it to load to be told so."""


Cron = str | Sequence[str]
"""A schedule of Dagster's may have several, and ticks by each."""


class Scheduler(Protocol):
    """What makes the ticks."""

    def accepts(self, cron: str) -> bool:
        """Return whether a schedule may have this cron."""

    def iterate(self, cron: Cron, timezone: str, start: datetime) -> Iterator[datetime]:
        """Yield the ticks from an instant on, ascending; end where none comes any more."""


def is_cron(cron: str) -> bool:
    """Return whether the scheduler takes the cron, no more and no less."""
    return bool(_PLAIN.fullmatch(cron)) or _scheduler().accepts(cron)


def ticks(cron: Cron, timezone: str, after: datetime) -> Iterator[datetime]:
    """Yield every later tick than an instant, ascending, in UTC: two instants of one zone compare by its wall clock."""
    start = as_utc(after)
    for tick in _scheduler().iterate(cron, timezone, start):
        at = as_utc(tick)
        if at > start:
            yield at


def next_tick(cron: Cron, timezone: str, after: datetime) -> datetime | None:
    """Return the first tick after an instant, in UTC; None where the cron names no date that ever comes."""
    return next(ticks(cron, timezone, after), None)


@cache
def _scheduler() -> Scheduler:
    return cast(Scheduler, importlib.import_module(SCHEDULER))
