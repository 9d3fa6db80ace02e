"""Text as PostgreSQL and a log can keep it."""

import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 20
"""Levels of what is nested: nothing of ours is, and a parser's stack is not to be tried."""


def storable(text: str) -> str:
    """Return a text; raise `ValueError` for one that no database keeps."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("a text must have no NUL and no half of a surrogate pair")
    return text


def storable_json(value: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON object; raise `ValueError` for one that no database keeps."""
    _check(value, 0)
    return value


def _check(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError(f"nothing may be nested more than {DEEPEST} deep")
    if isinstance(value, str):
        storable(value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number must be finite")
    elif isinstance(value, Mapping | list):
        # Of an object its names as well.
        parts = [*value, *value.values()] if isinstance(value, Mapping) else value
        for each in parts:
            _check(each, depth + 1)
