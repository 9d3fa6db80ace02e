"""Instants and days that PostgreSQL holds and Python does not: infinities, years beyond 9999, and those before Christ.

The driver refuses them, and with them the whole answer in which they stand. So a statement of ours compares by them as
the server does, and reads them only where they are within the calendar, or brought to its nearest end. What a value is
for, such as how far a walk has come, travels as text.
"""

from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

FIRST_DAY = date(1, 1, 2)
LAST_DAY = date(9999, 12, 30)
"""A day from Python's own ends, so that no time zone leads beyond them."""


def is_on_calendar(value: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return whether Python can hold the instant or day; NULL where that is NULL."""
    first, last = _ends(value)
    return value.between(first, last)


def on_calendar(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the instant or day, the nearest end of the calendar for one that Python cannot hold."""
    first, last = _ends(value)
    return sa.case((value < first, first), (value > last, last), else_=value)


def least_on_calendar(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return the aggregate of the least that Python can hold, NULL where there is none; each row is compared once."""
    first, last = _ends(value)
    least = sa.func.min(value).filter(value >= first)
    return sa.case((least <= last, least))


def instant_on_calendar(text: str) -> datetime:
    """Return the instant that PostgreSQL wrote into JSON, the nearest end of the calendar for one that Python cannot hold."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        is_early = text.startswith("-") or text.endswith("BC")
        day = FIRST_DAY if is_early else LAST_DAY
        return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _ends(value: sa.ColumnElement[Any]) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    if not isinstance(value.type, sa.DateTime):
        return sa.literal(FIRST_DAY, sa.Date), sa.literal(LAST_DAY, sa.Date)
    zone = UTC if value.type.timezone else None
    first, last = (datetime(day.year, day.month, day.day, tzinfo=zone) for day in (FIRST_DAY, LAST_DAY))
    return sa.literal(first, value.type), sa.literal(last, value.type)
