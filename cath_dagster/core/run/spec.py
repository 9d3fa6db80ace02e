"""The specification of a job, from which its op, schedule, queue tag, CLI entry and documentation follow."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.model.ticks import is_cron
from cath_dagster.core.outbox.forgetting import Forgets
from cath_dagster.core.outbox.left_files import LeftFile
from cath_dagster.core.run.job_run import JobRun


class SpecificationError(MaintenanceError):
    """A job's file does not say what a job must say. Raised at load: a job that vanishes must be noticed."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A part of a job whose parts are done in order, each an op of its own.

    One that leaves something undone does not keep the next from its work; one that is refused does.
    """

    name: str
    run: Callable[[JobRun, Any], None]
    summary: str
    tables: tuple[str, ...]
    """The tables that this part reports on."""
    purges: bool = False
    """Whether it is this part that deletes what the job plans to purge."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What a part of a job makes of rows that a later run deletes: it writes `values` into those that match.

    `says` is what became of them then, such as "soft-deleted"; `is_made` finds those that it has been made to. As of a
    purge, a row that matches at one reference time matches at every later one.
    """

    table: sa.Table
    rule: str
    says: str
    predicate: sa.ColumnElement[bool]
    is_made: sa.ColumnElement[bool]
    values: Mapping[str, sa.ColumnElement[Any]]
    conditions: Mapping[str, sa.ColumnElement[bool]]


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """All that is said about a job.

    `run` gets the run and the job's settings; it owns its transactions through the run. A job of several `steps` has
    them in place of `run`, and `prepare` for what may refuse the run: it comes before the first write of any step.
    `needs` names the environment variables, without the location's prefix, that must be set for any run.
    """

    location: CodeLocation
    name: str
    cron: str
    owner: str
    summary: str
    """One line: what it does, for lists."""
    description: str
    """What is deleted or sent, by which rule, and how to undo it; speaks to operators."""
    settings: type[JobSettings]
    run: Callable[[JobRun, Any], None] | None = None
    steps: tuple[Step, ...] = ()
    prepare: Callable[[JobRun, Any], None] | None = None
    tables: tuple[str, ...]
    """The tables a run reports on, the one with the rule first."""
    purges: Callable[[Planning, Any], Sequence[Purge]] | None = None
    """What a run with these settings would delete, as a pure function of the reference time.

    A row that matches at one time matches at every later one, if nobody changes it. None: the run itself decides.
    """
    change: Callable[[Planning, Any], Change] | None = None
    """What a run makes of rows before a later one purges them, for a job of two phases; as pure as `purges`."""
    needs: tuple[str, ...] = ()
    max_runtime: timedelta = timedelta(hours=4)
    default_partition: Callable[[datetime], str] | None = None
    """For a job whose run works on one week: the week of a run that names none, at its reference time. Runs of different
    weeks do not exclude each other.
    """
    check_partition: Callable[[str], object] | None = None
    """Raises `ConfigurationError` for a partition that cannot be one of the job's."""
    is_asset: bool = False
    privileges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the job's role needs on tables, those of ours with their schema, and on the schema `maintenance` itself.

    Locking rows takes UPDATE.
    """
    needs_every_table: bool = True
    """Whether a run is of no use where one of its tables is not as it should be. False for a job whose parts stand alone
    and say so themselves.
    """
    age_columns: Mapping[str, str] = field(default_factory=dict)
    """Per table the column by whose age its rows expire, for the doctor."""
    without_mail: str = ""
    """What comes of a run where no mail provider is configured, for the doctor; empty for a job that sends no mail."""
    on_files_left: Callable[[JobRun, sa.Connection, Sequence[LeftFile]], None] | None = None
    """Records in the service's own tables that files are left to be done by hand, in the transaction that notes them."""
    forgets: Forgets | None = None
    """Which of its notices matter no more; every job that sends mail says so."""
    report: Callable[[RunResult, bool], Sequence[str]] | None = None
    """What the command line prints of a run in words of the job's own; the flag asks for all there is to say."""

    @property
    def key(self) -> str:
        """`<location>/<job>`: the queue's key."""
        return f"{self.location.name}/{self.name}"

    @property
    def partitioned(self) -> bool:
        """Whether a run works on one partition."""
        return self.default_partition is not None

    @property
    def schedule_name(self) -> str:
        return f"{self.name}_cron"

    def parts(self, name: str | None = None) -> tuple[Step, ...]:
        """Return the steps, one of them if it is named, or all of a job without steps as one that has no name."""
        if self.run is not None:
            return (Step(name="", run=self.run, summary=self.summary, tables=self.tables, purges=True),)
        return tuple(step for step in self.steps if name in (None, step.name))


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
    if spec.name != module_name.rpartition(".")[2]:
        raise SpecificationError(f"{module_name} specifies a job named {spec.name!r}; name the file after its job")
    if spec.without_mail and spec.forgets is None:
        raise SpecificationError(f"{spec.key} sends mail and does not say when its notices are forgotten: forgets=…")
    if (spec.run is None) != bool(spec.steps):
        raise SpecificationError(f"{spec.key} needs either run, or steps")
    _check_cron(spec)
    return spec


def _check_cron(spec: JobSpec) -> None:
    if not is_cron(spec.cron):
        raise SpecificationError(
            f"{spec.key} has the cron {spec.cron!r}, of which the scheduler makes nothing; write it in five fields, like '0 1 * * *'"
        )


def _check_unique(specs: Iterable[JobSpec]) -> None:
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise SpecificationError(f"two jobs are named {spec.name!r}")
        seen.add(spec.name)


def purged_tables(specs: Iterable[JobSpec]) -> list[str]:
    """Return the service's tables from which any of the jobs deletes."""
    wanted = {table for spec in specs for table, privileges in spec.privileges.items() if "DELETE" in privileges}
    return sorted(table for table in wanted if "." not in table)
