"""Instants that the service keeps as text within JSON, compared as text: what is none would end a statement that casts it."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.instants import naive_utc

_READABLE = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z$"
"""As every JavaScript writes an instant, and no other form: so written, the earlier is the lesser text."""


def is_readable(text: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return whether a text is an instant in UTC; NULL where it is NULL."""
    return text.op("~")(_READABLE)


def is_before(text: sa.ColumnElement[Any], instant: datetime) -> sa.ColumnElement[bool | None]:
    """Return whether the instant that a text says lies before another one; NULL where it says none."""
    given = naive_utc(instant).isoformat(timespec="microseconds")
    return sa.case((is_readable(text), _plain(text).collate("C") < given))


def _plain(text: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """Return the instant to the microsecond, without the zone."""
    seconds, fraction = sa.func.left(text, 19), sa.func.rtrim(sa.func.substring(text, 21), "Z")
    return sa.func.concat(seconds, ".", sa.func.rpad(fraction, 6, "0"), type_=sa.Text)


def as_text(instant: datetime) -> str:
    """Return an instant as the service writes one into JSON."""
    return f"{naive_utc(instant).isoformat(timespec='milliseconds')}Z"
