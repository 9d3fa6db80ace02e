"""How it ended for each secret in each place, and in what words the service's own table has it."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

from cath_dagster.cloudmake.github_secrets.targets import State
from cath_dagster.core.ports.github import RemoteSecret


class Ending(enum.StrEnum):
    """The words of a run's outcome; of a dry run, what would come of it."""

    SYNCED = "synced"
    SKIPPED = "skipped"
    CONFLICT = "conflict"
    DELETED = "deleted"
    FAILED = "failed"
    MISSING = "missing"
    LEFT = "left"
    """For the next run, by a quota or a limit."""


STATES = {Ending.CONFLICT: State.CONFLICT, Ending.FAILED: State.FAILED, Ending.MISSING: State.MISSING}
"""How it stands with what was not written."""
_STATUS = (
    ("failed", {Ending.FAILED, Ending.MISSING}),
    ("conflict", {Ending.CONFLICT}),
    ("pending", {Ending.LEFT}),
)


@dataclass(frozen=True)
class Ended:
    """A secret of ours in one place, where it may have another name."""

    secret: str
    target: str
    name: str
    ending: Ending
    error: str | None = None
    remote: RemoteSecret | None = None
    value_hash: str = field(default="", repr=False)
    is_new: bool = False
    in_doubt: bool = False
    """Whether a write was sent of which nobody knows whether it came."""

    @property
    def is_good(self) -> bool:
        return self.ending in {Ending.SYNCED, Ending.SKIPPED, Ending.DELETED}


def mapping_status(ended: Sequence[Ended]) -> str:
    """Return a mapping's status, that of the worst of its places."""
    endings = {each.ending for each in ended}
    return next((status for status, bad in _STATUS if endings & bad), "synced")


def first_error(ended: Sequence[Ended]) -> str | None:
    """Return what is wrong in the first place where anything is, naming it."""
    return next((f"{each.target}: {each.error}" for each in ended if each.error and not each.is_good), None)
