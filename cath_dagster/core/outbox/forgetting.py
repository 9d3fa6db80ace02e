"""Forget notices once they can matter no more: each job says which of its own, and its runs delete them.

A notice matters while it keeps a message from going twice, or is what a deletion waits for. One about somebody who is
gone matters no more, and goes with the run that deleted them, or with the next where that was somebody else's doing.
"""

from datetime import date, datetime, timedelta
from typing import Protocol

import sqlalchemy as sa

from cath_dagster.core.maintenance.tables import sent_notice

KEPT = timedelta(days=90)
"""A message of a day is not sent by a run for that day so much later: nobody could tell whether it went before."""


class Asking(Protocol):
    """The run that asks. In a dry one nobody is gone yet whom the run would delete."""

    @property
    def as_of(self) -> datetime: ...

    @property
    def dry_run(self) -> bool: ...


def is_older(as_of: datetime, kept: timedelta = KEPT) -> sa.ColumnElement[bool]:
    """Return whether a notice's period lies so far back that no run will ask for it."""
    return sent_notice.c.period_start < (as_of - kept).date()


def is_past_telling(connection: sa.Connection, job: str, period: date) -> bool:
    """Return whether notices of that period may have been forgotten, by the newest that the job has written."""
    newest = connection.scalar(sa.select(sa.func.max(sent_notice.c.period_start)).where(sent_notice.c.job == job))
    return newest is not None and period < newest - KEPT


def count_forgotten(connection: sa.Connection, job: str, which: sa.ColumnElement[bool]) -> int:
    """Return how many notices of a job matter no more."""
    query = sa.select(sa.func.count()).select_from(sent_notice).where(sent_notice.c.job == job, which)
    return connection.scalar(query) or 0


def forget(connection: sa.Connection, job: str, which: sa.ColumnElement[bool]) -> int:
    """Delete the notices of a job that matter no more, in the caller's transaction; return how many."""
    return connection.execute(sa.delete(sent_notice).where(sent_notice.c.job == job, which)).rowcount
