"""Keep a message within what its channel takes: the alert that matters most is the longest."""

import json
from collections.abc import Sequence

LONGEST_BODY = 8_000
"""Of what a channel is handed, as JSON writes it: Teams takes 28 kB with its frame around it, and nobody reads as much."""
LONGEST_LINE = 1_500
"""So that one line of thousands of ids leaves room for the others."""
LONGEST_TITLE = 200
SHORT_BODY = 500
"""For a channel that refuses what should have fitted."""
BREAK = "\n\n"
CUT = "… (cut; all of it stands where the link leads)"


def measure(text: str) -> int:
    """Return the bytes of a text in JSON, which are never fewer than its characters."""
    return len(json.dumps(text)) - 2


def cut(text: str, room: int, mark: str = "…") -> str:
    """Return the text where it fits, else as much of its beginning as does, with a mark; nothing where not even that."""
    if measure(text) <= room:
        return text
    left = room - measure(mark)
    if left < 0:
        return ""
    low, high = 0, min(len(text), left)
    while low < high:
        middle = (low + high + 1) // 2
        if measure(text[:middle]) <= left:
            low = middle
        else:
            high = middle - 1
    return text[:low] + mark


def fit(says: Sequence[str], closing: Sequence[str], room: int) -> str:
    """Return both as paragraphs within so much room: the closing lines whole, the first of them first, or not at all.

    They lead to the rest of what is said, and get half of the room at most.
    """
    kept: list[str] = []
    for line in closing:
        if measure(BREAK.join([*kept, line])) <= room // 2:
            kept.append(line)
    end = measure(BREAK.join(["", *kept])) if kept else 0
    said = BREAK.join(cut(line, LONGEST_LINE, CUT) for line in says)
    return BREAK.join(part for part in (cut(said, room - end, CUT) or cut(said, room - end), *kept) if part)
