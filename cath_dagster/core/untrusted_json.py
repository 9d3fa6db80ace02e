"""Read JSON that others wrote: whatever they wrote, what is none is a `ValueError`."""

import json
from collections.abc import Callable, Sequence
from typing import Any

Pairs = Sequence[tuple[str, Any]]


def parse_json(content: str | bytes, *, pairs: Callable[[Pairs], Any] | None = None) -> Any:
    """Return what a text holds; raise `ValueError` for what is no JSON, and for what is nested deeper than can be read.

    `pairs` makes of an object what it stands for, and may raise `ValueError`.
    """
    try:
        return json.loads(content, object_pairs_hook=pairs)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def is_text(value: str) -> bool:
    """Return whether a string of JSON is text: neither NUL, which no database keeps, nor half of a pair of surrogates."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
