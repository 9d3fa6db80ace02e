"""What a job judges of what it has measured, and how it judged: a limit that is broken is a result, no failure of the run."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from cath_dagster.core.model.scalar import Scalar

D = TypeVar("D")
SUBJECTS = "subjects"
"""In an evaluation's metadata, what it did not pass for."""


class Severity(enum.StrEnum):
    WARN = "warn"
    ERROR = "error"


@dataclass(frozen=True)
class Verdict:
    """How a check came out. `message` says what is wrong, or why it cannot be told; free of personal data."""

    passed: bool
    message: str = ""
    details: Mapping[str, Scalar] = field(default_factory=dict)
    subjects: tuple[str, ...] = ()
    """What of many things it did not pass for, such as servers: each is told by itself, once until it passes."""


@dataclass(frozen=True, kw_only=True)
class Check(Generic[D]):
    """A question about an asset of the location, which `asset` names without the location."""

    name: str
    asset: str
    description: str
    severity: Severity = Severity.ERROR
    is_blocking: bool = False
    evaluate: Callable[[D, datetime], Verdict] | None = None
    """Answers it from the database alone, as of an instant; None for what only a run can measure."""


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """How a check came out in a run."""

    check: str
    asset: str
    severity: Severity
    passed: bool
    message: str
    details: Mapping[str, Scalar]
    subjects: tuple[str, ...] = ()

    @property
    def shown(self) -> dict[str, Scalar]:
        """The details, with the subjects."""
        return {**self.details, **({SUBJECTS: list(self.subjects)} if self.subjects else {})}

    @classmethod
    def of(cls, check: Check[D], verdict: Verdict) -> "CheckResult":
        return cls(
            check=check.name,
            asset=check.asset,
            severity=check.severity,
            passed=verdict.passed,
            message=verdict.message,
            details=verdict.details,
            subjects=verdict.subjects,
        )

    def as_json(self) -> dict[str, object]:
        """Return the machine-readable form."""
        return {
            "check": self.check,
            "asset": self.asset,
            "severity": self.severity.value,
            "passed": self.passed,
            "message": self.message,
            "details": self.shown,
        }
