"""Dagster's own reading of a cron, by which its scheduler ticks; reached by way of `core.ticks`."""

from collections.abc import Iterator
from datetime import datetime

from cath_dagster.core.model.ticks import Cron
from cath_dagster.orchestration.internals.crons import (
    CroniterBadDateError,
    is_valid_cron_schedule,
    schedule_execution_time_iterator,
)


def accepts(cron: str) -> bool:
    """Return whether a schedule with this cron loads."""
    return is_valid_cron_schedule(cron)


def iterate(cron: Cron, timezone: str, start: datetime) -> Iterator[datetime]:
    """Yield the ticks from an instant on, ascending.

    Dagster takes crons that name no date, such as the 31st of April, and raises at their first tick: here they have none.
    """
    try:
        yield from schedule_execution_time_iterator(start.timestamp(), cron, timezone)
    except CroniterBadDateError:
        return
