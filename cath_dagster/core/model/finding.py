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
    message: str
    remedy: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the machine-readable form, whose names stay as they are."""
        return {"subject": self.subject, "level": self.level.value, "says": self.message, "remedy": self.remedy}
