"""Run a job: the one way in for schedules, the UI, `dagster job execute` and our own CLI."""

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from cath_dagster.core.catalogue import is_replica
from cath_dagster.core.database import Database
from cath_dagster.core.errors import (
    ConfigurationError,
    IncompleteRunError,
    MaintenanceError,
    PreflightError,
    RefusedError,
)
from cath_dagster.core.instants import as_utc
from cath_dagster.core.job_run import JobRun, Reporter, Resources, application_name, required
from cath_dagster.core.ledger import Ledger
from cath_dagster.core.maintenance import check_current
from cath_dagster.core.outcome import Outcome, RunResult, Status, collect
from cath_dagster.core.preflight import REPLICA
from cath_dagster.core.settings import (
    JobSettings,
    PacedSettings,
    PurgeSettings,
    RunConfig,
    plain_settings,
    read_run_config,
)
from cath_dagster.core.spec import JobSpec
from cath_dagster.core.telemetry import current_trace_id


def execute(
    spec: JobSpec,
    given: Mapping[str, Any],
    *,
    run_id: str,
    now: datetime,
    resources: Resources,
    reporter: Reporter,
    partition: str | None = None,
    selection: frozenset[str] | None = None,
    is_scheduled: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> RunResult:
    """Run a job once and return what it did; failures come back as a status and a message, never as exceptions.

    Only what is no failure of the run is raised: an interrupt, or a mistake in the program.
    """
    started = clock()
    reporter.info(f"{spec.key} started, run {run_id}")
    try:
        config = read_config(spec, given, environ=resources.environ, now=now)
        check_partition(spec, partition)
    except MaintenanceError as unusable:
        return _failed_early(spec, run_id, unusable, reporter, dry_run=bool(given.get("dry_run", False)))
    reporter.info(f"as of {config.as_of.isoformat()}{', dry run: nothing is changed' if config.dry_run else ''}")
    try:
        required(resources, "DATABASE_URL", *spec.needs)
        engine = resources.engine(application_name(spec.name, run_id))
    except MaintenanceError as missing:
        return _failed_early(spec, run_id, missing, reporter, dry_run=config.dry_run, as_of=config.as_of)
    if spec.default_partition is not None and partition is None:
        partition = spec.default_partition(config.as_of)
    with Database(engine) as database:
        run = _prepare(spec, config, database, run_id, resources, reporter, partition, selection, is_scheduled, clock)
        _warn_of_ended_window(run, now)
        try:
            status, error = _run(run, spec, config.settings)
        except RefusedError as refused:
            status, error = Status.REFUSED, str(refused)
        except MaintenanceError as failed:
            status, error = Status.FAILED, str(failed)
    engine.dispose()
    result = RunResult(
        location=spec.location.name,
        job=spec.name,
        run_id=run_id,
        dry_run=config.dry_run,
        as_of=config.as_of,
        status=status,
        outcomes=tuple(run.outcomes),
        error=error,
        would_refuse=run.would_refuse,
        notes=tuple(run.notes),
        settings={**run.borrowed_settings, **plain_settings(config.settings)},
        previews=run.previews,
        seconds=clock() - started,
        deleted_today=run.deleted_today,
        trace_id=current_trace_id(),
    )
    reporter.ended(result)
    return result


def read_config(
    spec: JobSpec, given: Mapping[str, Any], *, environ: Mapping[str, str], now: datetime
) -> RunConfig[JobSettings]:
    """Return what a run of the job shall do; raise `ConfigurationError` for what it cannot."""
    return read_run_config(
        spec.settings, given, location=spec.location.name, job=spec.name, environ=environ, now=as_utc(now)
    )


def check_partition(spec: JobSpec, partition: str | None) -> None:
    """Raise `ConfigurationError` for a partition that the job cannot have."""
    if partition is None:
        return
    if spec.check_partition is None:
        raise ConfigurationError(f"{spec.name} has no partitions, so it has no {partition}")
    spec.check_partition(partition)


def summary(result: RunResult) -> str:
    """Return one line that says how a run ended."""
    done = "; ".join(
        f"{outcome.target} " + ", ".join(f"{count:,} {name}" for name, count in outcome.counts().items() if count)
        for outcome in result.outcomes
        if any(outcome.counts().values())
    )
    ending = "completed" if result.status is Status.SUCCESS else result.status.value
    text = f"{result.location}/{result.job} {ending} in {result.seconds:.2f} s: {done or 'nothing to do'}"
    return f"{text}. {result.error}" if result.error else text


def lock_name(spec: JobSpec, partition: str | None) -> str:
    """Return the name under which runs of the job exclude each other."""
    return f"{spec.key}/{partition}" if partition and spec.partitioned else spec.key


def _warn_of_ended_window(run: JobRun, now: datetime) -> None:
    ends = run.as_of + timedelta(days=run.undo.days)
    if run.undo.days and ends <= as_utc(now):
        run.note(
            f"as_of lies so far back that what this run deletes cannot be restored: that ended on {ends.isoformat()}"
        )


def _prepare(
    spec: JobSpec,
    config: RunConfig[JobSettings],
    database: Database,
    run_id: str,
    resources: Resources,
    reporter: Reporter,
    partition: str | None,
    selection: frozenset[str] | None,
    is_scheduled: bool,
    clock: Callable[[], float],
) -> JobRun:
    ledger = Ledger(
        database=database,
        run_id=run_id,
        location=spec.location.name,
        job=spec.name,
        dry_run=config.dry_run,
        as_of=config.as_of,
    )
    return JobRun(
        job=spec.name,
        run_id=run_id,
        as_of=config.as_of,
        dry_run=config.dry_run,
        max_rows=config.max_rows,
        allow_large=config.allow_large,
        partition=partition,
        selection=selection,
        database=database,
        ledger=ledger,
        resources=resources,
        reporter=reporter,
        clock=clock,
        purging=_purging(config.settings),
        is_scheduled=is_scheduled,
        privileges=spec.privileges,
    )


def _purging(settings: JobSettings) -> PurgeSettings:
    """Return what the settings say of purging; of a job that only changes rows, its pace."""
    if isinstance(settings, PurgeSettings):
        return settings
    return PurgeSettings(pace=settings.pace) if isinstance(settings, PacedSettings) else PurgeSettings()


def _run(run: JobRun, spec: JobSpec, settings: JobSettings) -> tuple[Status, str | None]:
    """Do the job's work and keep its ledger; return how it ended."""
    _check_server(run, spec)
    status, error = Status.SUCCESS, None
    run.ledger.start(*spec.tables)
    try:
        if not run.dry_run:
            run.database.lock(lock_name(spec, run.partition))
        spec.run(run, settings)
        if isinstance(settings, PurgeSettings):
            run.delete_archives()
        if run.failures:
            raise IncompleteRunError("; ".join(run.failures))
    except RefusedError as refused:
        status, error = Status.REFUSED, str(refused)
    except MaintenanceError as failed:
        status, error = Status.FAILED, str(failed)
    except BaseException:
        with contextlib.suppress(MaintenanceError):
            _close_ledger(run, spec, "interrupted", None)
        raise
    try:
        _close_ledger(run, spec, status.value, error)
    except MaintenanceError as failed:
        status, error = Status.FAILED, error or f"the work is done, but the ledger could not be closed: {failed}"
    return status, error


def _check_server(run: JobRun, spec: JobSpec) -> None:
    """Raise where the run could not even keep its ledger; a dry run does without on a replica."""
    run.database.transaction(
        lambda connection: check_current(connection, location=spec.location.name, revision=spec.location.revision)
    )
    if not run.database.transaction(is_replica):
        return
    if not run.dry_run:
        raise PreflightError(REPLICA)
    run.would_refuse = REPLICA
    run.ledger = replace(run.ledger, is_kept=False)


def _close_ledger(run: JobRun, spec: JobSpec, status: str, error: str | None) -> None:
    """Record how the work on every table ended, and make the outcomes complete.

    A table that the job reports on has an outcome also where it came to nothing, and where the run broke off
    in its midst: then with what was committed before.
    """
    told = {outcome.target for outcome in run.outcomes}
    committed = run.ledger.recorded()
    for table in dict.fromkeys((*spec.tables, *run.planned_rows, *committed)):
        matched = 0 if table in told else run.planned_rows.get(table, 0)
        run.record(Outcome.of(table, {**run.not_yet_told(committed, table), "matched": matched}))
    run.outcomes = list(collect(run.outcomes))
    run.ledger.finish(run.outcomes, status=status, error=error)
    run.deleted_today = run.ledger.deleted_today()


def _failed_early(
    spec: JobSpec,
    run_id: str,
    error: MaintenanceError,
    reporter: Reporter,
    *,
    dry_run: bool,
    as_of: datetime | None = None,
) -> RunResult:
    result = RunResult(
        location=spec.location.name,
        job=spec.name,
        run_id=run_id,
        dry_run=dry_run,
        as_of=as_of,
        status=Status.FAILED,
        error=str(error),
        trace_id=current_trace_id(),
    )
    reporter.ended(result)
    return result
