"""What a scan is asked to look at."""

import enum
from dataclasses import dataclass
from pathlib import Path

from cath_dagster.core.errors import ConfigurationError

MEGABYTE = 1_000_000


class What(enum.StrEnum):
    NEW = "new"
    """The history since the last clean scan, all of it where none is remembered, and the newest tree."""
    ALL = "all"
    """The whole history, and the newest tree."""
    STAGED = "staged"
    """What the next commit would have."""
    RANGE = "range"
    """What the commits between two brought."""


@dataclass(frozen=True, kw_only=True)
class ScanRequest:
    """A scan that somebody asks for."""

    path: Path
    what: What = What.NEW
    since: str = ""
    """Of a range the commit that it begins after; "" for none."""
    until: str = "HEAD"
    """Of a range the commit that it ends with."""
    baseline: Path | None = None
    """None for the usual file, if there is one."""
    memory: Path | None = None
    """Where the last clean scan's commit is remembered."""
    max_bytes: int = 100 * MEGABYTE


def read_what(*, is_staged: bool, commits: str, is_all: bool) -> tuple[What, str, str]:
    """Return what is asked for, and the ends of a range.

    Raises `ConfigurationError` for more than one thing, and for a range that is none.
    """
    asked = [what for what, given in ((What.STAGED, is_staged), (What.RANGE, commits), (What.ALL, is_all)) if given]
    if len(asked) > 1:
        raise ConfigurationError(
            f"{' and '.join(asked)} are both asked for; a scan looks at one of staged, range and all"
        )
    if What.RANGE not in asked:
        return (asked or [What.NEW])[0], "", "HEAD"
    since, found, until = commits.partition("..")
    if not found or not since or until.startswith("."):
        raise ConfigurationError(f"the range {commits!r} is none; write two commits as A..B, what B has and A has not")
    # What a forge calls the parent of a branch that is new.
    return What.RANGE, "" if set(since) == {"0"} else since, until or "HEAD"
