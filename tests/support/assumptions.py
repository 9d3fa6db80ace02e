"""The page that says what a run relies on outside its own code, as a test reads it."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "assumptions.md"
LEFT_ALONE = "Settings left as they are"


def section(title: str) -> str:
    """Return the text under a heading of the second level."""
    return PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def settings_left_alone() -> set[str]:
    """Return the names of the settings that were judged to make no difference."""
    return {name for names, _ in rows(section(LEFT_ALONE)) for name in re.findall(r"`(\w+)`", names)}
