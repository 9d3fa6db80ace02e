"""Drift in words: for a terminal, for machines, and as the one comment of a pull request."""

from collections.abc import Iterator, Sequence

from cath_dagster.cloudmake.drift.source import Reading
from cath_dagster.cloudmake.drift.sources import Looked
from cath_dagster.core.untrusted_text import one_line

MARKER = "<!-- cath-dagster: spec drift -->"
"""What our comment begins with, and no reader sees."""
NAMES_SHOWN = 30
"""Of each kind, in a comment: GitHub takes no more than 65,536 characters."""
LONGEST_NAME = 120


def as_json(looked: Looked, *, comment: str | None) -> dict[str, object]:
    """Return what was found with stable keys."""
    return {
        "drift": bool(looked.drifted),
        "readings": [
            {
                "server_name": reading.server_name,
                "source": reading.source,
                "declared": reading.declared,
                **reading.difference.as_json(),
            }
            for reading in looked.readings
        ],
        "skipped": dict(looked.skipped),
        "unreadable": dict(looked.unreadable),
        "notes": list(looked.notes),
        "comment": comment,
    }


def lines(looked: Looked) -> Iterator[str]:
    """Yield what people read: one line for what is fine or skipped, names for what differs."""
    for reading in looked.readings:
        if not reading.difference:
            yield f"{reading.server_name}: no drift, {reading.declared} declared"
            continue
        yield f"{reading.server_name}: drift"
        for word, names in reading.difference.as_json().items():
            yield from (f"  {word:<8} {one_line(name)}" for name in names)
    yield from (f"{source}: skipped, {lacks}" for source, lacks in looked.skipped.items())
    yield from looked.notes
    yield from (f"{problem}" for problem in looked.problems)


def comment(looked: Looked) -> str:
    """Return the comment: names of what differs, and no more; said to be none where there is none."""
    parts = [MARKER, "### Spec drift"]
    if looked.drifted:
        parts += ["What is there is not what is declared. Until it is, this does not merge."]
        parts += [_section(reading) for reading in looked.drifted]
    elif not looked.unreadable:
        compared = ", ".join(f"`{_safe(reading.server_name)}`" for reading in looked.readings)
        parts.append(f"None: what is there is what is declared in {compared or 'nothing that is configured'}.")
    if looked.unreadable:
        names = ", ".join(f"`{source}`" for source in looked.unreadable)
        parts.append(f"Could not be read, so that nobody knows: {names}. The log of the check says why.")
    return "\n\n".join(parts)


def _section(reading: Reading) -> str:
    rows = [f"**`{_safe(reading.server_name)}`**", ""]
    for word, names in reading.difference.as_json().items():
        rows += [f"- {word}: {_few(names)}"] if names else []
    return "\n".join(rows)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(f"`{_safe(name)}`" for name in names[:NAMES_SHOWN]) + more


def _safe(name: str) -> str:
    """Return a name that can neither end its own marks nor the line, nor call anybody by an @."""
    return one_line(name).replace("`", "'")[:LONGEST_NAME]
