"""What is wrong with what a specification says of when, for how long and how often a job runs: found at load, by name."""

from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from zoneinfo import ZoneInfo

from cath_dagster.core.model.schedule import LONGEST_DELAY, SHORTEST_INTERVAL, Cron, Every, Retry, Schedule
from cath_dagster.core.model.ticks import is_cron

TIMEOUTS = (timedelta(seconds=1), timedelta(hours=24))
"""A run that may last for longer than a day is one that nobody waits for, and holds its lock over the next tick."""
DELAYS = (timedelta(seconds=1), LONGEST_DELAY)
MOST_ATTEMPTS = 10
MOST_BACKOFF = 10.0
WAITS = (timedelta(minutes=1), timedelta(days=7))
"""For `after_within`: a tick that waits for longer than a week waits for something that does not come."""


def schedule_faults(schedule: Schedule | None) -> Iterator[str]:
    """Yield what is wrong with a schedule."""
    if isinstance(schedule, Cron) and not is_cron(schedule.expression):
        yield (
            f"has the cron {schedule.expression!r}, of which the scheduler makes nothing; "
            "write it in five fields, like '0 1 * * *'"
        )
    if isinstance(schedule, Every):
        yield from _interval_faults(schedule.interval)


def _interval_faults(interval: timedelta) -> Iterator[str]:
    if interval < SHORTEST_INTERVAL:
        yield (
            f"runs every {interval.total_seconds():g} s, and the daemon looks every {SHORTEST_INTERVAL.seconds} s; "
            f"make the interval at least {SHORTEST_INTERVAL.seconds} s"
        )
    elif interval % timedelta(seconds=1):
        yield f"runs every {interval.total_seconds():g} s; make the interval whole seconds"


def zone_faults(timezone: str) -> Iterator[str]:
    """Yield whether a zone is none of the tz database's."""
    if not _is_zone(timezone):
        yield f"has the zone {timezone!r}, which the tz database does not have; write it like 'Europe/London'"


@cache
def _is_zone(timezone: str) -> bool:
    try:
        ZoneInfo(timezone)
    except (ValueError, OSError, KeyError):
        return False
    return True


def timeout_faults(timeout: timedelta) -> Iterator[str]:
    """Yield whether a time-out is out of its range."""
    yield from _out_of(timeout, TIMEOUTS, "has the timeout")


def wait_faults(after_within: timedelta) -> Iterator[str]:
    """Yield whether a tick would wait for too short or too long a time."""
    yield from _out_of(after_within, WAITS, "waits for those before it within")


def retry_faults(retry: Retry | None) -> Iterator[str]:
    """Yield what is wrong with how a job is repeated."""
    if retry is None:
        return
    if not 1 <= retry.attempts <= MOST_ATTEMPTS:
        yield f"is repeated {retry.attempts} times; make retry.attempts 1 to {MOST_ATTEMPTS}, or retry None"
    yield from _out_of(retry.delay, DELAYS, "has the retry.delay")
    if not 1 <= retry.backoff <= MOST_BACKOFF:
        yield f"has the retry.backoff {retry.backoff:g}; make it 1 to {MOST_BACKOFF:g}"
    if not 0 <= retry.jitter <= 1:
        yield f"has the retry.jitter {retry.jitter:g}; make it 0 to 1"


def _out_of(value: timedelta, bounds: tuple[timedelta, timedelta], says: str) -> Iterator[str]:
    least, most = bounds
    if not least <= value <= most:
        yield f"{says} {value}; make it {least} to {most}"
