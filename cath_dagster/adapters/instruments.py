"""The metrics of a run: their names, and what of a run's result each of them is told.

Names and units follow OpenTelemetry. An attribute is not called `job`: that label is Prometheus's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cath_dagster.core.model.check import CheckResult
from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.core.model.ticks import longest_gap
from cath_dagster.core.run.spec import JobSpec

PREFIX = "cath_dagster."
TICKS = 10
"""Enough for a daily schedule with gaps to show its longest gap."""
INTERRUPTED = "interrupted"


class Kind(StrEnum):
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


@dataclass(frozen=True)
class Instrument:
    """A metric. `bounds` are a histogram's buckets."""

    name: str
    kind: Kind
    unit: str
    description: str
    bounds: tuple[float, ...] = ()


_COUNTED = {
    "matched": "Rows, files and messages that were due by a job's rule.",
    "deleted": "Rows and files deleted.",
    "archived": "Rows archived.",
    "updated": "Rows updated.",
    "notified": "Messages that the provider took.",
    "undelivered": "Messages rendered and not delivered, because no provider is configured.",
    "failed": "What was due and tried and not done.",
    "kept": "What was due by age and kept by a rule.",
    "skipped": "What was not touched because a limit or a missing rule says so.",
}
COUNTERS = {name: Instrument(f"{PREFIX}{name}", Kind.COUNTER, "{item}", text) for name, text in _COUNTED.items()}
"""By the name of the count. Only an operator's command restores, and that is no run of a job."""

BATCH_DURATION = Instrument(
    f"{PREFIX}batch.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of the transactions that purge or revise.",
    # Around the aims of the paces, 1 ms and 100 ms, the goal of 250 ms, and the time limits of 5, 30 and 60 s.
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0),
)
RUN_DURATION = Instrument(
    f"{PREFIX}run.duration",
    Kind.HISTOGRAM,
    "s",
    "Duration of runs, by how they ended.",
    (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0),
)
DUTY = Instrument(f"{PREFIX}duty", Kind.GAUGE, "1", "Part of its time that the last purge of a table was at work.")
OLDEST_ROW_AGE = Instrument(
    f"{PREFIX}oldest_row.age", Kind.GAUGE, "s", "Age of the oldest row that a purge has left, at its reference time."
)
LAST_SUCCESS = Instrument(
    f"{PREFIX}last_success.timestamp",
    Kind.GAUGE,
    "s",
    "When the job, or a step of it, last succeeded, in seconds since 1970.",
)
SCHEDULE_INTERVAL = Instrument(
    f"{PREFIX}schedule.interval", Kind.GAUGE, "s", "The longest time between two ticks of the job's schedule."
)
CHECK_FAILED = Instrument(
    f"{PREFIX}check.failed",
    Kind.GAUGE,
    "{item}",
    "Whether a check that the run judged did not pass: 1, or 0 if it did.",
)
CHECK_VALUE = Instrument(f"{PREFIX}check.value", Kind.GAUGE, "{item}", "A number that a check was judged by.")
INSTRUMENTS = (
    *COUNTERS.values(),
    BATCH_DURATION,
    RUN_DURATION,
    DUTY,
    OLDEST_ROW_AGE,
    LAST_SUCCESS,
    SCHEDULE_INTERVAL,
    CHECK_FAILED,
    CHECK_VALUE,
)


@dataclass(frozen=True)
class Observed:
    """The run that is observed or, of a job whose steps are ops of their own, one step of it."""

    spec: JobSpec
    run_id: str
    step: str | None = None

    @property
    def name(self) -> str:
        return f"{self.spec.key}.{self.step}" if self.step else self.spec.key

    @property
    def instance(self) -> str:
        """What no other process or step that sends metrics is called."""
        return f"{self.run_id}/{self.step}" if self.step else self.run_id

    @property
    def steps(self) -> list[str | None]:
        """The steps that are done when it is; None is the only one of a job that has no steps."""
        return [self.step] if self.step else [step.name for step in self.spec.steps] or [None]


@dataclass(frozen=True)
class Measurement:
    """A number for an instrument; what else there is are attributes beside location and job."""

    instrument: Instrument
    value: float
    target: str | None = None
    status: str | None = None
    step: str | None = None
    check: str | None = None
    value_name: str | None = None

    @property
    def attributes(self) -> Mapping[str, str | None]:
        return {
            "target": self.target,
            "status": self.status,
            "step": self.step,
            "check": self.check,
            "value": self.value_name,
        }


def measure_result(run: Observed, result: RunResult, now: datetime) -> Iterator[Measurement]:
    """Yield what a run that came to its end tells. A dry run did nothing, and tells nothing of it."""
    if result.dry_run:
        return
    if result.as_of is not None:
        for outcome in result.outcomes:
            yield from _measure_outcome(outcome, result.as_of)
    for check in result.checks:
        yield from _measure_check(check)
    if gap := _longest_gap(run.spec, now):
        yield Measurement(SCHEDULE_INTERVAL, gap.total_seconds())
    yield Measurement(RUN_DURATION, result.seconds, status=result.status.value)
    if result.status is Status.SUCCESS:
        yield from (Measurement(LAST_SUCCESS, now.timestamp(), step=step) for step in run.steps)


def _measure_outcome(outcome: Outcome, as_of: datetime) -> Iterator[Measurement]:
    # Each run has series of its own, so that a zero would be one more and tell nothing.
    yield from (
        Measurement(COUNTERS[name], n, outcome.target) for name, n in outcome.counts().items() if n and name in COUNTERS
    )
    if outcome.oldest_at is not None:
        yield Measurement(OLDEST_ROW_AGE, max(0.0, (as_of - outcome.oldest_at).total_seconds()), outcome.target)
    if "pace" in outcome.details:
        duty = outcome.details.get("duty")
        yield Measurement(DUTY, duty if isinstance(duty, float) else 1.0, outcome.target)


def _measure_check(check: CheckResult) -> Iterator[Measurement]:
    yield Measurement(CHECK_FAILED, float(not check.passed), check=check.check)
    for name, value in check.details.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield Measurement(CHECK_VALUE, float(value), check=check.check, value_name=name)


def _longest_gap(spec: JobSpec, now: datetime) -> timedelta | None:
    return longest_gap(spec.cron, spec.location.timezone, now, among=TICKS) if spec.cron else spec.interval
