"""When a schedule ticks: foretold by the scheduler that makes the ticks, and by nothing else.

Over clock changes, and for a day of the month beside a weekday, no two libraries read a cron alike. This package imports
nothing from above it, so that it names the scheduler's module and loads it when it is first asked.
"""

import importlib
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from itertools import islice, pairwise
from typing import Protocol, cast
from zoneinfo import ZoneInfo

from cath_dagster.core.instants import as_utc

SCHEDULER = "cath_dagster.orchestration.ticks"
_PLAIN = re.compile(
    r"(?:[0-5]?\d|\*/[1-9]|\*/[1-5]\d|\*) (?:1?\d|2[0-3]|\*/[1-9]|\*/1\d|\*/2[0-3]|\*) \* \* (?:[0-6]|\*)"
)
"""Times of the day or the week in digits, which every scheduler takes: no command waits for it to load to be told so."""

_STEADY = {
    re.compile(r"\*/(?P<times>1|2|3|4|5|6|10|12|15|20|30) \* \* \* \*"): timedelta(minutes=1),
    re.compile(r"[0-5]?\d (?:\*/(?P<times>1|2|3|4|6|8|12)|\*) \* \* \*"): timedelta(hours=1),
    re.compile(r"[0-5]?\d (?:1?\d|2[0-3]) \* \* \*"): timedelta(days=1),
    re.compile(r"[0-5]?\d (?:1?\d|2[0-3]) \* \* [0-6]"): timedelta(weeks=1),
}
"""Crons that tick after one and the same time while no clock changes, as all schedules of ours are."""

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


def longest_gap(cron: str, timezone: str, after: datetime, *, among: int) -> timedelta:
    """Return the longest time between so many of the next ticks, none where there are no two.

    For a plain cron the scheduler need not be loaded while no clock changes: that would take as long as many a run.
    """
    steady = _steady_gap(cron)
    if steady and not _clock_changes(timezone, after, after + steady * among):
        return steady
    coming = islice(ticks(cron, timezone, after), among)
    return max((later - earlier for earlier, later in pairwise(coming)), default=timedelta())


def _steady_gap(cron: str) -> timedelta | None:
    for pattern, unit in _STEADY.items():
        if found := pattern.fullmatch(cron):
            return int(found.groupdict().get("times") or 1) * unit
    return None


def _clock_changes(timezone: str, start: datetime, end: datetime) -> bool:
    """Return whether a zone's offset changes; no zone changes it and takes that back within a day."""
    zone, first = ZoneInfo(timezone), as_utc(start)
    days = range((end - start).days + 2)
    return len({(first + timedelta(days=day)).astimezone(zone).utcoffset() for day in days}) > 1


@cache
def _scheduler() -> Scheduler:
    return cast(Scheduler, importlib.import_module(SCHEDULER))
