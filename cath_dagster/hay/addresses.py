"""Take e-mail addresses out of what a row says, in the server: in plain text, and in JSON without breaking it."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

REDACTED = "[REDACTED]"
# Of JSON as text, whole escapes only, so that none is cut in two; a text of no JSON has them as plain characters.
_UNIT = r'(?:[^"\\\s@<>]|\\u[0-9a-fA-F]{4}|\\[^u])'
_ADDRESS = f"{_UNIT}+@{_UNIT}+"


def without_addresses(text: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """Return a text with every address in it replaced, what stands next to one included."""
    return sa.func.regexp_replace(text, _ADDRESS, REDACTED, "g", type_=sa.Text)


def json_without_addresses(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return a JSON value with every address in it replaced, in keys as well."""
    return sa.cast(without_addresses(sa.cast(value, sa.Text)), JSONB)


def has_address(text: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    """Return whether there is an address in a text, or in a JSON value; NULL where that is NULL."""
    return sa.cast(text, sa.Text).op("~")(_ADDRESS)
