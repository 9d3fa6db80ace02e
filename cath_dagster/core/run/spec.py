"""The specification of a job, from which its op, schedule, queue tag, CLI entry and documentation follow."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any, Generic

from typing_extensions import TypeVar

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.instants import as_utc
from cath_dagster.core.model.check import Check
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import NO_SCHEDULE, Cron, EvenTicks, Every, Retry, Schedule
from cath_dagster.core.model.schedule_faults import (
    retry_faults,
    schedule_faults,
    timeout_faults,
    wait_faults,
    zone_faults,
)
from cath_dagster.core.model.settings import TIMEOUT, JobSettings
from cath_dagster.core.model.ticks import ticks
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_parts import DatabaseWork, MailWork, Partitions, Step
from cath_dagster.core.run.job_run import JobRun

S = TypeVar("S", bound=JobSettings, default=Any)
"""A job's settings; whoever handles jobs of any kind leaves them out."""


class SpecificationError(MaintenanceError):
    """A job's file does not say what a job must say. Raised at load: a job that vanishes must be noticed."""


@dataclass(frozen=True, kw_only=True)
class JobSpec(Generic[S]):
    """All that is said about a job; what only some jobs have is a part of its own, None for the others.

    `run` gets the run and the job's settings; it owns its transactions through the run. A job of several `steps` has
    them in place of `run`, and `prepare` for what may refuse the run: it comes before the first write of any step.
    """

    location: CodeLocation
    name: str
    schedule: Schedule | None = None
    """When it runs: by a cron in the location's zone, or at an interval; None for a job that people start."""
    enabled: bool = True
    """Whether its schedule runs until somebody says otherwise; what an operator says lasts, over deployments too."""
    owner: str
    summary: str
    """One line: what it does, for lists."""
    description: str
    """What is deleted or sent, by which rule, and how to undo it; speaks to operators."""
    settings: type[S]
    run: Callable[[JobRun, S], None] | None = None
    steps: tuple[Step[S], ...] = ()
    prepare: Callable[[JobRun, S], None] | None = None
    required_variables: tuple[str, ...] = ()
    """The environment variables, without the location's prefix, that must be set for any run; the database's is implied."""
    idle_without: tuple[str, ...] = ()
    """The environment variables, without the location's prefix, without which there is nothing to do: a scheduled run says so
    and ends well, and one that somebody starts is told what is missing.
    """
    timeout: timedelta = timedelta(hours=4)
    """After which the run ends its work by itself: the statement is cancelled, its transaction rolled back."""
    consent: str | None = None
    """The environment variable, without the location's prefix, that must be `true` before the job's ticks may be started."""
    retry: Retry | None = None
    """How a run that failed is repeated, under its lock. None, the default, for what deletes: the next tick goes on."""
    run_on_startup: bool = False
    """Whether it runs once for each deployment, when the daemon first sees it."""
    after: tuple[str, ...] = ()
    """The jobs, as `location/name`, each of which must have succeeded since this one's last run."""
    after_within: timedelta = timedelta(hours=1)
    """For a job that has a schedule besides: how long a tick waits for `after`, before it is skipped."""
    formerly: tuple[str, ...] = ()
    """The names that it had, so that what operators said of its schedule goes on to hold."""
    needs_approval: bool = False
    """Whether a run that somebody starts by the console takes another person who approves of its dry run. Schedules run it alone."""
    is_asset: bool = False
    database: DatabaseWork[S] | None = None
    partitions: Partitions | None = None
    mail: MailWork[S] | None = None
    checks: tuple[Check[Database], ...] = ()
    """What the job judges; each about an asset of the location."""
    console_report: Callable[[RunResult, bool], Sequence[str]] | None = None
    """What the command line prints of a run in words of the job's own; the flag asks for all there is to say."""

    @property
    def key(self) -> str:
        """`<location>/<job>`: the queue's key."""
        return f"{self.location.name}/{self.name}"

    @property
    def schedule_name(self) -> str:
        """The name of Dagster's schedule, or of the sensor of a job that runs at an interval."""
        return schedule_name(self.name, self.schedule)

    @property
    def cron(self) -> str | None:
        """The cron of a job that runs by one."""
        return self.schedule.expression if isinstance(self.schedule, Cron) else None

    @property
    def interval(self) -> timedelta | None:
        """The interval of a job that runs at one."""
        return self.schedule.interval if isinstance(self.schedule, Every) else None

    @property
    def schedule_text(self) -> str:
        """When it runs, in words for people."""
        return str(self.schedule) if self.schedule is not None else NO_SCHEDULE

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables, without the prefix, without which no run begins."""
        return (*(("DATABASE_URL",) if self.database is not None else ()), *self.required_variables)

    @property
    def targets(self) -> tuple[str, ...]:
        """The tables a run reports on, the one with the rule first."""
        return self.database.targets if self.database is not None else ()

    @property
    def privileges(self) -> Mapping[str, tuple[str, ...]]:
        """What the job's role needs; see `DatabaseWork`."""
        return self.database.privileges if self.database is not None else {}

    def timeout_of(self, settings: JobSettings) -> timedelta:
        """Return for how long a run with these settings may go on."""
        return self.timeout if settings.run_seconds is None else timedelta(seconds=settings.run_seconds)

    def retry_of(self, settings: JobSettings) -> Retry | None:
        """Return how a run with these settings is repeated, None where it is not."""
        given = self.retry or Retry(attempts=0)
        attempts, seconds = settings.retry_attempts, settings.retry_delay_seconds
        retry = replace(
            given,
            attempts=given.attempts if attempts is None else attempts,
            delay=given.delay if seconds is None else timedelta(seconds=seconds),
        )
        return retry if retry.attempts else None

    def default_of(self, key: str) -> Scalar:
        """Return the value of a setting that nobody sets; some of every job's are what its specification says."""
        of_specification: dict[str, Scalar] = {
            self.settings.timeout_key: int(self.timeout.total_seconds()),
            "retry_attempts": self.retry.attempts if self.retry else 0,
            "retry_delay_seconds": int((self.retry or Retry(attempts=0)).delay.total_seconds()),
        }
        default: Scalar = self.settings.model_fields[key].default
        return of_specification.get(key, default)

    def missing_consent(self, environ: Mapping[str, str]) -> str | None:
        """Return the variable that must be true before the job's ticks may be started, None where they may."""
        variable = f"{self.location.prefix}_{self.consent}"
        return variable if self.consent is not None and environ.get(variable) != "true" else None

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """Yield every later tick than an instant, ascending, in UTC; none of a job without a schedule.

        Those of an interval are counted from the instant: there the last look was.
        """
        if isinstance(self.schedule, Every):
            return iter(EvenTicks(self.schedule.interval, as_utc(after), datetime.max.replace(tzinfo=UTC)))
        return ticks(self.schedule.expression, self.location.timezone, after) if self.schedule else iter(())

    def ticks_until(self, after: datetime, until: datetime) -> Sequence[datetime]:
        """Return the later ticks than an instant up to another one, ascending; of an interval without making them all."""
        if isinstance(self.schedule, Every):
            return EvenTicks(self.schedule.interval, as_utc(after), until)
        return list(takewhile(lambda tick: tick <= until, self.ticks(after)))

    def next_tick(self, after: datetime) -> datetime | None:
        """Return the first tick after an instant, in UTC; None where none ever comes."""
        return next(self.ticks(after), None)

    def parts(self, name: str | None = None) -> tuple[Step[S], ...]:
        """Return the steps, one of them if it is named, or all of a job without steps as one that has no name."""
        if self.run is not None:
            return (Step(name="", run=self.run, summary=self.summary, targets=self.targets, purges=True),)
        return tuple(step for step in self.steps if name in (None, step.name))

    def purges_at(self, planning: Planning, settings: S) -> Sequence[Purge] | None:
        """Return what a run with these settings would delete; None where only the run itself can tell."""
        if self.database is None or self.database.purges is None:
            return None
        return self.database.purges(planning, settings)

    def idle_for_want_of(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return the variables that are not set, with their prefix, for want of which a scheduled run does nothing."""
        names = (f"{self.location.prefix}_{name}" for name in self.idle_without)
        return tuple(name for name in names if not environ.get(name))

    def tables_used(self, planning: Planning, settings: S) -> Mapping[str, tuple[str, ...]]:
        """Return what a run with these settings does to which tables; those whose purge is switched off are left out."""
        purges = self.purges_at(planning, settings)
        if purges is None:
            return self.privileges
        purged = {table.name for purge in purges for table in purge.every_table}
        return {name: needs for name, needs in self.privileges.items() if name in purged or "DELETE" not in needs}


def load_specs(location: CodeLocation) -> tuple[JobSpec, ...]:
    """Import every module of `<location>.jobs` and return its `SPEC`, sorted by name.

    Raises `SpecificationError` for a module without one, a name twice, or a name unlike its file's.
    """
    package = importlib.import_module(f"{location.package}.jobs")
    specs = [_load_spec(f"{package.__name__}.{module.name}") for module in pkgutil.iter_modules(package.__path__)]
    _check_unique(specs)
    return tuple(sorted(specs, key=lambda spec: spec.name))


def _load_spec(module_name: str) -> JobSpec:
    module = importlib.import_module(module_name)
    spec = getattr(module, "SPEC", None)
    if not isinstance(spec, JobSpec):
        raise SpecificationError(f"{module_name} has no SPEC; a file in jobs/ describes one job by SPEC = JobSpec(…)")
    if not spec.name.strip():
        raise SpecificationError(f"{module_name} specifies a job with a blank name; name it after its file")
    if spec.name != module_name.rpartition(".")[2]:
        raise SpecificationError(f"{module_name} specifies a job named {spec.name!r}; name the file after its job")
    if spec.mail is not None and spec.database is None:
        raise SpecificationError(f"{spec.key} sends mail and keeps its notices nowhere: database=DatabaseWork(…)")
    if (spec.run is None) != bool(spec.steps):
        raise SpecificationError(f"{spec.key} needs either run, or steps")
    if faults := "; ".join(_faults(spec)):
        raise SpecificationError(f"{spec.key} {faults}")
    return spec


def _faults(spec: JobSpec) -> Iterator[str]:
    """Yield what is wrong with what a job says of itself."""
    for part in ("owner", "summary", "description"):
        if not getattr(spec, part).strip():
            yield f"has a blank {part}; say it to the people who operate it"
    yield from schedule_faults(spec.schedule)
    if spec.schedule is not None:
        yield from zone_faults(spec.location.timezone)
    yield from timeout_faults(spec.timeout)
    yield from retry_faults(spec.retry)
    for name, field in JobSettings.model_fields.items():
        of_its_own = spec.settings.model_fields[name].description != field.description
        if of_its_own and (name != TIMEOUT or spec.settings.timeout_key == TIMEOUT):
            yield f"has a setting {name} of its own, which every run would take for {field.description!r}; give it another name"
    yield from wait_faults(spec.after_within)
    if spec.interval is None and spec.database is not None and spec.database.is_due is not None:
        yield "asks whether anything is due, and runs at no interval; give it schedule=Every(…), or take is_due out"


def schedule_name(job: str, schedule: Schedule | None) -> str:
    """Return the name of what makes a job's ticks: `<job>_every` of one at an interval, else `<job>_cron`."""
    return f"{job}_every" if isinstance(schedule, Every) else f"{job}_cron"


def _check_unique(specs: Sequence[JobSpec]) -> None:
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise SpecificationError(f"two jobs are named {spec.name!r}")
        seen.add(spec.name)
    for spec in specs:
        for name in spec.formerly:
            # One that runs by a cron no more but at an interval has another schedule under its own name.
            if name in seen and name != spec.name:
                raise SpecificationError(f"{spec.key} was formerly {name!r}, which another job is named or was")
            seen.add(name)


def purged_tables(specs: Iterable[JobSpec]) -> list[str]:
    """Return the service's tables from which any of the jobs deletes."""
    wanted = {table for spec in specs for table, privileges in spec.privileges.items() if "DELETE" in privileges}
    return sorted(table for table in wanted if "." not in table)
