"""What a run did: one outcome per table or effect, and the result of the whole."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Self

from cath_dagster.core.model.check import CheckResult
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.ports.mail import Content

COUNTS = (
    "matched", "deleted", "archived", "updated", "restored", "notified", "undelivered", "failed", "kept", "skipped",
)  # fmt: skip
"""The numbers of an outcome, in the order they are shown."""


EFFECTS = ("deleted", "archived", "updated", "restored", "notified")
"""Of these numbers those that say what is no longer as it was."""


class Status(enum.StrEnum):
    SUCCESS = "success"
    FAILED = "failed"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    """Ended by its deadline; never so by what an error says."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happened to one target.

    `matched`: due by the job's rule; in a dry run the only number that is not 0, but for a restore's, which foresees what
    would be `skipped` and `failed`. `kept`: due by age, kept by
    a rule. `skipped`: not touched because a limit or a missing rule says so. `failed`: due, tried, not done.
    `details` holds numbers and ids for operators, never personal data.
    """

    target: str
    matched: int = 0
    deleted: int = 0
    archived: int = 0
    updated: int = 0
    restored: int = 0
    notified: int = 0
    undelivered: int = 0
    failed: int = 0
    kept: int = 0
    skipped: int = 0
    batches: int = 0
    longest_transaction_seconds: float = 0.0
    seconds: float = 0.0
    deleting_seconds: float = 0.0
    """Of `seconds` the part in which rows were deleted, without the closing look at what is left."""
    rows_left: int | None = None
    oldest_at: datetime | None = None
    details: Mapping[str, Scalar] = field(default_factory=dict)

    @classmethod
    def of(cls, target: str, counts: Mapping[str, int]) -> Self:
        """Return an outcome with the given counts."""
        values: dict[str, Any] = {name: counts.get(name, 0) for name in COUNTS}
        return cls(target=target, **values)

    @property
    def changed(self) -> int:
        """Rows, files and messages that are no longer what they were."""
        return self.deleted + self.updated + self.restored + self.notified

    def counts(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in COUNTS}

    def only_matched(self) -> "Outcome":
        """Return what a dry run may say: what would change, and that nothing did."""
        return Outcome(target=self.target, matched=self.matched, rows_left=self.rows_left, details=self.details)

    def timed(self, seconds: float) -> "Outcome":
        """Return the outcome with the time it took."""
        return replace(self, seconds=seconds)

    def after(self, before: "Outcome", *, counts_it: bool) -> "Outcome":
        """Return the outcome of a run that was tried again: the effects of both, unless this one counts those before it.

        What matched is the most that an attempt found, since the later ones find what is left. What failed or was kept
        is what the last one says.
        """
        effects = EFFECTS if not counts_it else ()
        return replace(
            self,
            matched=max(self.matched, before.matched),
            seconds=self.seconds + before.seconds,
            **{name: getattr(self, name) + getattr(before, name) for name in effects},
        )

    def merged(self, other: "Outcome") -> "Outcome":
        """Return both outcomes of one target as one."""
        return replace(
            self,
            **{
                name: getattr(self, name) + getattr(other, name)
                for name in (*COUNTS, "batches", "seconds", "deleting_seconds")
            },
            longest_transaction_seconds=max(self.longest_transaction_seconds, other.longest_transaction_seconds),
            rows_left=other.rows_left if other.rows_left is not None else self.rows_left,
            oldest_at=other.oldest_at or self.oldest_at,
            details={**self.details, **other.details},
        )


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """The result of one run of one job."""

    location: str
    job: str
    run_id: str
    dry_run: bool
    as_of: datetime | None
    status: Status
    outcomes: tuple[Outcome, ...] = ()
    error: str | None = None
    would_refuse: str | None = None
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    previews: Mapping[str, Content] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 1
    """How often the work was tried."""
    began: bool = True
    """Whether it came to the work; false where something was missing or the run was refused."""
    is_counted: bool = True
    """Whether the outcomes have all that was done; false where the ledger could not be read at the end."""
    deleted_today: Mapping[str, int] = field(default_factory=dict)
    """By rule, what the job's runs have deleted on this day, in UTC."""
    trace_id: str | None = None
    """Where telemetry is sent, the trace of the run."""
    undoes: str | None = None
    """Of a restore, the run whose deletions it puts back."""
    checks: tuple[CheckResult, ...] = ()
    """How what the job judges came out."""

    @property
    def left_out(self) -> int:
        """Of a restore, the rows that did not come back, in a dry run those that cannot."""
        return sum(outcome.failed for outcome in self.outcomes) if self.undoes is not None else 0

    @property
    def changed(self) -> int:
        """Rows, files and messages that are no longer what they were."""
        return sum(outcome.changed for outcome in self.outcomes)

    def as_json(self) -> dict[str, object]:
        """Return the machine-readable form: stable keys, instants in ISO 8601."""
        return {
            "job": self.job,
            "location": self.location,
            "run_id": self.run_id,
            "dry_run": self.dry_run,
            "as_of": self.as_of.isoformat() if self.as_of else None,
            "status": self.status.value,
            "outcomes": [_plain(outcome) for outcome in self.outcomes],
            "error": self.error,
            "would_refuse": self.would_refuse,
            "notes": list(self.notes),
            "settings": dict(self.settings),
            "deleted_today": dict(self.deleted_today),
            "seconds": round(self.seconds, 3),
            "attempts": self.attempts,
            "trace_id": self.trace_id,
            "undoes": self.undoes,
            "checks": [check.as_json() for check in self.checks],
        }


def collect(outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Return one outcome per target, in the order in which the targets first appear."""
    merged: dict[str, Outcome] = {}
    for outcome in outcomes:
        known = merged.get(outcome.target)
        merged[outcome.target] = known.merged(outcome) if known else outcome
    return tuple(merged.values())


def _plain(outcome: Outcome) -> dict[str, object]:
    plain = asdict(outcome)
    plain["oldest_at"] = outcome.oldest_at.isoformat() if outcome.oldest_at else None
    return {name: plain[name] for name in (item.name for item in fields(outcome))}
