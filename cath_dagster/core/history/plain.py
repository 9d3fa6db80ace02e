"""Make what a run was given, did and said fit for a table that many may read: bounded, and without anything personal.

What our own code says is impersonal already. This is the second net: text of another kind, and whatever looks like an
address, stays out.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from cath_dagster.core.model.outcome import COUNTS, Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.untrusted_text import one_line

LONGEST_ERROR = 2_000
LONGEST_TEXT = 200
MOST_BYTES = 32_768
"""Of one column of JSON: a list of a hundred rows stays below three megabytes."""
_ADDRESS = re.compile(r"[^\s@<>\"']+@[^\s@<>\"']+")
_WORD = r"[\w.:;+*/=()\[\]-]*"
_PLAIN = re.compile(rf"{_WORD}(?:, ?{_WORD})*|[0-9-]{{10}} [0-9:.+Z]+")
"""Identifiers, numbers, instants, lists of names: words with blanks between them are somebody's prose."""


def plain_error(error: str | None) -> str | None:
    """Return an error as one line of bounded length, without addresses."""
    if error is None:
        return None
    said = _ADDRESS.sub("(an address)", one_line(error))
    return said if len(said) <= LONGEST_ERROR else f"{said[: LONGEST_ERROR - 1]}…"


def plain_parameters(given: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return what a run was told to do: numbers and switches as they are, of text what is no prose."""
    return {name: _plain(value) for name, value in given.items() if value is not None}


def plain_outcomes(outcomes: Iterable[Outcome]) -> list[dict[str, Scalar]]:
    """Return what a run did to each target; numbers that are 0 and say nothing are left out.

    Where that is too much for one row, the details go, and the numbers stay.
    """
    found = list(outcomes)
    full = [_counted(outcome) | _details(outcome) for outcome in found]
    if len(json.dumps(full)) <= MOST_BYTES:
        return full
    return [_counted(outcome) for outcome in found]


def _counted(outcome: Outcome) -> dict[str, Scalar]:
    counts: dict[str, Scalar] = {
        name: count for name in COUNTS if (count := getattr(outcome, name)) or name == "matched"
    }
    counts = {"target": outcome.target, **counts, "seconds": round(outcome.seconds, 3)}
    if outcome.rows_left is not None:
        counts["rows_left"] = outcome.rows_left
    if outcome.oldest_at is not None:
        counts["oldest_at"] = outcome.oldest_at.isoformat()
    return counts


def _details(outcome: Outcome) -> dict[str, Scalar]:
    details = {name: _plain(value) for name, value in outcome.details.items() if value is not None}
    return {"details": details} if details else {}  # type: ignore[dict-item]  # JSON has what a scalar has not


def _plain(value: Any) -> Scalar:
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple | frozenset):
        return [str(_plain(each)) for each in value]
    text = str(value)
    if len(text) <= LONGEST_TEXT and _PLAIN.fullmatch(text):
        return text
    return f"(text of {len(text)} characters)"
