"""Run a job: the one way in for schedules, the UI, `dagster job execute` and our own CLI."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from random import random
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import (
    ConfigurationError,
    MaintenanceError,
)
from cath_dagster.core.instants import as_utc
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.model.outcome import RunResult, Status, collect
from cath_dagster.core.model.settings import (
    JobSettings,
    PacedSettings,
    PurgeSettings,
    RunConfig,
    plain_settings,
    read_run_config,
)
from cath_dagster.core.outbox.notices import Patience
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.deadline import Deadline, pause
from cath_dagster.core.run.attempts import UNHEARD, Attempt, AttemptListener, repeat
from cath_dagster.core.run.backends import Backends, Reporter, application_name, required
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.no_database import NoDatabase
from cath_dagster.core.run.record import RunRecord
from cath_dagster.core.run.request import RunRequest
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.run.steps import Ended, run_steps
from cath_dagster.core.telemetry import current_trace_id


def execute(
    spec: JobSpec,
    given: Mapping[str, Any],
    *,
    run_id: str,
    now: datetime,
    backends: Backends,
    reporter: Reporter,
    partition: str | None = None,
    selection: frozenset[str] | None = None,
    is_scheduled: bool = False,
    step: str | None = None,
    clock: Callable[[], float] = time.perf_counter,
    patience: Patience | None = None,
    listener: AttemptListener = UNHEARD,
    spent_seconds: float = 0.0,
    chance: Callable[[], float] = random,
    sleep: Callable[[float], None] = pause,
) -> RunResult:
    """Run a job once and return what it did; failures come back as a status and a message, never as exceptions.

    Of a job of several steps all are done in order, or the one that is named. Only what is no failure of the run is raised: an interrupt, or a mistake in the program.
    A run that failed is tried again as its job says; `listener` hears of every attempt. `spent_seconds` of its time are gone.
    """
    started = clock()
    listener.on_attempt_began(1)
    reporter.info(f"{spec.key} started, run {run_id}")
    try:
        config = read_config(spec, given, environ=backends.environ, now=now)
        check_partition(spec, partition)
    except MaintenanceError as unusable:
        is_dry = bool(given.get("dry_run", False))
        return _failed_early(spec, run_id, unusable, reporter, listener, dry_run=is_dry)
    options = config.options
    reporter.info(f"as of {options.as_of.isoformat()}{', dry run: nothing is changed' if options.dry_run else ''}")
    try:
        required(backends, *spec.variables)
        database = open_database(spec, backends, run_id)
    except MaintenanceError as missing:
        return _failed_early(spec, run_id, missing, reporter, listener, dry_run=options.dry_run, as_of=options.as_of)
    if spec.partitions is not None and partition is None and not spec.partitions.is_optional:
        partition = spec.partitions.default(options.as_of)

    def work(attempt: Attempt) -> tuple[RunResult, int]:
        run = new_run(
            spec,
            config,
            opened,
            run_id,
            backends,
            reporter,
            partition=partition,
            selection=selection,
            is_scheduled=is_scheduled,
            clock=clock,
            now=as_utc(now),
        )
        run.account.taken = attempt.taken
        run.patience = patience or run.patience
        _warn_of_ended_window(run, now)
        ended = run_steps(run, spec, config.settings, step, attempt)
        return _result_of(run, spec, config.settings, ended, attempt, seconds=clock() - started), run.account.taken

    seconds = spec.timeout_of(config.settings).total_seconds() - spent_seconds
    with database as opened, Deadline(seconds) as deadline:
        result = repeat(
            work,
            # Who looks what a run would do wants to know at once why it cannot be told.
            retry=None if options.dry_run else spec.retry_of(config.settings),
            deadline=deadline,
            listener=listener,
            reporter=reporter,
            chance=chance,
            sleep=sleep,
        )
    reporter.ended(result)
    return result


def _result_of(
    run: JobRun, spec: JobSpec, settings: JobSettings, ended: Ended, attempt: Attempt, *, seconds: float
) -> RunResult:
    return RunResult(
        location=spec.location.name,
        job=spec.name,
        run_id=run.run_id,
        dry_run=run.dry_run,
        as_of=run.as_of,
        status=ended.status,
        outcomes=tuple(collect(ended.outcomes)) or attempt.earlier,
        error=ended.error,
        would_refuse=run.account.would_refuse,
        notes=tuple(run.account.notes),
        settings={**run.account.borrowed_settings, **plain_settings(settings)},
        previews=run.account.previews,
        seconds=seconds,
        attempts=attempt.number,
        began=ended.began,
        is_counted=ended.is_counted,
        deleted_today=run.account.deleted_today,
        trace_id=current_trace_id(),
        checks=tuple(run.account.checks),
    )


def read_config(
    spec: JobSpec, given: Mapping[str, Any], *, environ: Mapping[str, str], now: datetime
) -> RunConfig[JobSettings]:
    """Return what a run of the job should do; raise `ConfigurationError` for what it cannot."""
    return read_run_config(
        spec.settings, given, location=spec.location.name, job=spec.name, environ=environ, now=as_utc(now)
    )


def check_partition(spec: JobSpec, partition: str | None) -> None:
    """Raise `ConfigurationError` for a partition that the job cannot have."""
    if partition is None:
        return
    if spec.partitions is None:
        raise ConfigurationError(f"{spec.name} has no partitions, so it has no {partition}")
    spec.partitions.check(partition)


def open_database(spec: JobSpec, backends: Backends, run_id: str) -> contextlib.AbstractContextManager[Database]:
    """Return the database of a run, to be entered; nothing is connected to yet, and never for a job that has none."""
    if spec.database is None:
        return NoDatabase(spec.key)
    return _opened(backends.engine(application_name(spec.name, run_id)))


@contextlib.contextmanager
def _opened(engine: sa.Engine) -> Iterator[Database]:
    try:
        with Database(engine) as database:
            yield database
    finally:
        engine.dispose()


def _warn_of_ended_window(run: JobRun, now: datetime) -> None:
    ends = run.as_of + timedelta(days=run.request.undo.days)
    if run.request.undo.days and ends <= as_utc(now):
        run.note(
            f"as_of lies so far back that what this run deletes cannot be restored: that ended on {ends.isoformat()}"
        )


def new_run(
    spec: JobSpec,
    config: RunConfig[JobSettings],
    database: Database,
    run_id: str,
    backends: Backends,
    reporter: Reporter,
    *,
    now: datetime,
    partition: str | None = None,
    selection: frozenset[str] | None = None,
    is_scheduled: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> JobRun:
    """Return what the job's function is given; nothing is asked of the database yet."""
    request = RunRequest(
        location=spec.location.name,
        job=spec.name,
        run_id=run_id,
        options=config.options,
        now=now,
        partition=partition,
        selection=selection,
        is_scheduled=is_scheduled,
        purging=_purging(config.settings),
        privileges=spec.privileges,
        file_store=spec.location.file_store,
        file_folders=spec.location.stores.get(spec.location.file_store, ()),
    )
    return JobRun(
        request=request,
        account=RunRecord(options=config.options, reporter=reporter),
        database=database,
        ledger=Ledger(
            database=database,
            run_id=run_id,
            location=request.location,
            job=request.job,
            dry_run=config.options.dry_run,
            as_of=config.options.as_of,
        ),
        backends=backends,
        clock=clock,
        on_files_left=spec.database.on_files_left if spec.database is not None else None,
    )


def _purging(settings: JobSettings) -> PurgeSettings:
    """Return what the settings say of purging; of a job that only changes rows, its pace."""
    if isinstance(settings, PurgeSettings):
        return settings
    return PurgeSettings(pace=settings.pace) if isinstance(settings, PacedSettings) else PurgeSettings()


def _failed_early(
    spec: JobSpec,
    run_id: str,
    error: MaintenanceError,
    reporter: Reporter,
    listener: AttemptListener,
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
        began=False,
        trace_id=current_trace_id(),
    )
    listener.on_attempt(1, result, None)
    reporter.ended(result)
    return result
