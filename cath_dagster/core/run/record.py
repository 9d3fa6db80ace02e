"""What has come of a run so far: its outcomes, what it says of them, and what is left of `max_rows`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cath_dagster.core.errors import RefusedError
from cath_dagster.core.model.check import CheckResult
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.settings import ResolvedOptions
from cath_dagster.core.ports.mail import Content
from cath_dagster.core.run.backends import Reporter
from cath_dagster.core.untrusted_text import one_line


@dataclass(kw_only=True)
class RunRecord:
    """The record of one run. Outcomes and failures are those of the step at work, all else is of the whole run."""

    options: ResolvedOptions
    reporter: Reporter
    outcomes: list[Outcome] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    would_refuse: str | None = None
    """Of a dry run, why a real one would be refused."""
    borrowed_settings: dict[str, Scalar] = field(default_factory=dict)
    """Settings of other jobs that this one goes by."""
    previews: dict[str, Content] = field(default_factory=dict)
    """By template, a message to be looked at from the run; without personal data."""
    planned_rows: dict[str, int] = field(default_factory=dict)
    """What was found to match, per table, before the first write."""
    files_to_hold: int = 0
    """In a dry run, the files that the run would queue for the end of their window."""
    checks: list[CheckResult] = field(default_factory=list)
    """How what the job judges came out so far."""
    deleted_today: dict[str, int] = field(default_factory=dict)
    """By rule, once the ledger is closed."""
    taken: int = 0
    """Rows that were changed, as `max_rows` counts them."""

    def turn_to_step(self, taken: int) -> None:
        """Begin the outcomes and failures of another step; the others have changed so many rows."""
        self.outcomes, self.failures, self.taken = [], [], taken

    def add(self, outcome: Outcome) -> None:
        """Add an outcome; of a dry run only what matched."""
        self.outcomes.append(outcome.only_matched() if self.options.dry_run else outcome)

    def note(self, message: str) -> None:
        """Tell operators something about this run that is no failure."""
        said = one_line(message)
        self.notes.append(said)
        self.reporter.info(said)

    def fail(self, message: str) -> None:
        """Record that something due is left undone; the run goes on and ends failed."""
        said = one_line(message)
        self.failures.append(said)
        self.reporter.warning(said)

    def judge(self, result: CheckResult, *, gates: bool) -> None:
        """Record how a check came out; one that did not pass fails the run where it `gates`, and is noted elsewhere."""
        self.checks.append(result)
        if not result.passed:
            (self.fail if gates else self.note)(f"{result.check}: {result.message}")

    def refuse(self, error: type[RefusedError], reasons: Sequence[str]) -> None:
        """Raise the error if there are reasons to; in a dry run only keep them."""
        if not reasons:
            return
        if not self.options.dry_run:
            raise error(". ".join(reasons))
        self.would_refuse = ". ".join((*([self.would_refuse] if self.would_refuse else ()), *reasons))

    def take(self, rows: int) -> None:
        """Count rows that were changed against `max_rows`."""
        self.taken += rows

    def room(self) -> int | None:
        """Return how many more rows this run may change, None without `max_rows`."""
        most = self.options.max_rows
        return None if most is None else max(0, most - self.taken)

    def unrecorded(self, recorded: Mapping[str, Mapping[str, int]], table: str) -> dict[str, int]:
        """Return what the ledger has of a table beyond the outcomes added so far."""
        known = [outcome for outcome in self.outcomes if outcome.target == table]
        counts = recorded.get(table, {})
        return {
            # Effects such as mail have outcomes and no batches.
            name: max(0, counts.get(name, 0) - sum(getattr(outcome, name) for outcome in known))
            for name in ("deleted", "archived", "updated")
        }
