"""What a look at something returns: one thing seen, how bad it is, and what to do."""

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    OK = "ok"
    WARNING = "warning"
    """A job will run, and may run long, or as a role that may more than it should."""
    PROBLEM = "problem"
    """A job will fail."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at. `remedy` is what to do, as a command or statement where there is one."""

    subject: str
    level: Level
    says: str
    remedy: str | None = None
