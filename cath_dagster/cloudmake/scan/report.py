"""What a scan found, as it may be told: nothing of a value, nor of anything that stands beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

STAGED = "staged"
NO_COMMIT = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A value in a file that looks like a secret."""

    rule: str
    path: str
    line: int
    commit: str
    """The first that brought it; `staged` for one to be, "" for a file in no repository."""
    fingerprint: str
    is_present: bool
    """Whether it stands in the newest tree, or will; false where only the history has it."""
    reason: str | None = None
    """Of one that the baseline knows, why it may stand there."""

    @property
    def place(self) -> str:
        return f"{self.path}:{self.line}"

    def as_json(self) -> dict[str, object]:
        return {
            "rule": self.rule,
            "file": self.path,
            "line": self.line,
            "commit": self.commit,
            "fingerprint": self.fingerprint,
            "present": self.is_present,
        }

    def as_text(self) -> str:
        return "  ".join(filter(None, (self.rule, self.place, self.commit[:12], self.fingerprint)))


@dataclass(frozen=True, kw_only=True)
class ScanReport:
    """What was looked at, and what came of it."""

    looked_at: str
    """What was looked at, in words."""
    found: tuple[Finding, ...] = ()
    known: tuple[Finding, ...] = ()
    files: int = 0
    """File versions that were looked at."""
    commits: int = 0
    """Commits that brought them."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """What was not looked into, by why."""
    unread: tuple[str, ...] = ()
    """What should have been looked at and could not be read: without it nobody knows that there is no secret."""
    notes: tuple[str, ...] = ()
    head: str | None = None
    """The newest commit that was looked at, with all before it."""

    @property
    def is_clean(self) -> bool:
        return not self.found and not self.unread

    @property
    def verdict(self) -> str:
        """Say how it came out, in one line."""
        parts = []
        if self.found:
            present = sum(each.is_present for each in self.found)
            places = f"{present} in the newest tree, {len(self.found) - present} in the history alone"
            parts.append(f"{len(self.found)} secrets found ({places}); rotate them first, then take them out")
        parts += [f"not read: {each}" for each in self.unread]
        return "; ".join(parts) or "no secret found"

    def as_json(self) -> dict[str, object]:
        return {
            "looked_at": self.looked_at,
            "clean": self.is_clean,
            "found": [each.as_json() for each in self.found],
            "known": [each.as_json() | {"reason": each.reason} for each in self.known],
            "files": self.files,
            "commits": self.commits,
            "skipped": dict(self.skipped),
            "unread": list(self.unread),
            "notes": list(self.notes),
        }
