"""Run a job: the one way in for schedules, the UI, `dagster job execute` and our own CLI."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import (
    ConfigurationError,
    DatabaseLostError,
    DatabaseStatementError,
    DatabaseUnavailableError,
    IncompleteRunError,
    MaintenanceError,
    NoWritesNowError,
    PreflightError,
    RefusedError,
)
from cath_dagster.core.instants import as_utc
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.maintenance.tables import check_current
from cath_dagster.core.model.outcome import Outcome, RunResult, Status, collect
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
from cath_dagster.core.postgres.followers import find_hindrance, require_writes
from cath_dagster.core.run.backends import Backends, Reporter, application_name, required
from cath_dagster.core.run.job_parts import Step
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.no_database import NoDatabase
from cath_dagster.core.run.record import RunRecord
from cath_dagster.core.run.request import RunRequest
from cath_dagster.core.run.schema_fit import check_fit
from cath_dagster.core.run.search_path import find_elsewhere
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.run.table_check import check_tables
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
) -> RunResult:
    """Run a job once and return what it did; failures come back as a status and a message, never as exceptions.

    Of a job of several steps all are done in order, or the one that is named. Only what is no failure of the run is raised: an interrupt, or a mistake in the program.
    """
    started = clock()
    reporter.info(f"{spec.key} started, run {run_id}")
    try:
        config = read_config(spec, given, environ=backends.environ, now=now)
        check_partition(spec, partition)
    except MaintenanceError as unusable:
        return _failed_early(spec, run_id, unusable, reporter, dry_run=bool(given.get("dry_run", False)))
    reporter.info(
        f"as of {config.options.as_of.isoformat()}{', dry run: nothing is changed' if config.options.dry_run else ''}"
    )
    try:
        required(backends, *spec.variables)
        database = open_database(spec, backends, run_id)
    except MaintenanceError as missing:
        return _failed_early(
            spec, run_id, missing, reporter, dry_run=config.options.dry_run, as_of=config.options.as_of
        )
    if spec.partitions is not None and partition is None:
        partition = spec.partitions.default(config.options.as_of)
    with database as opened:
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
        run.patience = patience or run.patience
        _warn_of_ended_window(run, now)
        ended = _run(run, spec, config.settings, step)
    result = RunResult(
        location=spec.location.name,
        job=spec.name,
        run_id=run_id,
        dry_run=config.options.dry_run,
        as_of=config.options.as_of,
        status=ended.status,
        outcomes=tuple(collect(ended.outcomes)),
        error=ended.error,
        would_refuse=run.account.would_refuse,
        notes=tuple(run.account.notes),
        settings={**run.account.borrowed_settings, **plain_settings(config.settings)},
        previews=run.account.previews,
        seconds=clock() - started,
        began=ended.began,
        is_counted=ended.is_counted,
        deleted_today=run.account.deleted_today,
        trace_id=current_trace_id(),
    )
    reporter.ended(result)
    return result


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


def summary(result: RunResult) -> str:
    """Return one line that says how a run ended."""
    ending = "completed" if result.status is Status.SUCCESS else result.status.value
    came_of_it = _of_a_success(result) if result.status is Status.SUCCESS else _of_a_failure(result)
    text = f"{result.location}/{result.job} {ending} in {result.seconds:.2f} s: {came_of_it}"
    return f"{text}. {result.error}" if result.error else text


def _of_a_success(result: RunResult) -> str:
    # A job that reports on no table has looked at what it looks at.
    done = _counts(result) or ("nothing to do" if result.outcomes else "done")
    if not result.dry_run:
        return done
    refusal = f"; a run would be refused: {result.would_refuse}" if result.would_refuse else ""
    return f"dry run, nothing was changed: {done}{refusal}"


def _of_a_failure(result: RunResult) -> str:
    """Return what a run did before it failed; of one whose ledger cannot be read, that nobody knows yet."""
    if not result.is_counted:
        return "what it committed could not be counted and stands in the ledger"
    counts = _counts(result)
    if result.changed:
        return f"this was done: {counts}"
    return f"nothing was changed: {counts}" if counts else "nothing was changed"


def _counts(result: RunResult) -> str:
    return "; ".join(
        f"{outcome.target} " + ", ".join(f"{count:,} {name}" for name, count in outcome.counts().items() if count)
        for outcome in result.outcomes
        if any(outcome.counts().values())
    )


def lock_name(spec: JobSpec, partition: str | None) -> str:
    """Return the name under which runs of the job exclude each other."""
    return f"{spec.key}/{partition}" if partition and spec.partitions is not None else spec.key


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
        reporter=reporter,
        clock=clock,
        on_files_left=spec.database.on_files_left if spec.database is not None else None,
    )


def _purging(settings: JobSettings) -> PurgeSettings:
    """Return what the settings say of purging; of a job that only changes rows, its pace."""
    if isinstance(settings, PurgeSettings):
        return settings
    return PurgeSettings(pace=settings.pace) if isinstance(settings, PacedSettings) else PurgeSettings()


@dataclass(frozen=True)
class _Ended:
    """How a run or a step of it ended. `began`: it came to the work. `is_counted`: the outcomes have all of it."""

    status: Status
    error: str | None
    began: bool
    outcomes: tuple[Outcome, ...] = ()
    is_counted: bool = True


def _run(run: JobRun, spec: JobSpec, settings: JobSettings, step: str | None) -> _Ended:
    """Do the job's steps, the most have one, and keep their ledger; return how it ended.

    A step that failed does not keep the next from its work, one that never began does.
    """
    try:
        if spec.database is not None:
            _check_server(run, spec)
    except MaintenanceError as failed:
        return _Ended(_status(failed), str(failed), began=False)
    parts, ended = spec.parts(step), _Ended(Status.SUCCESS, None, began=False)
    for part in parts:
        ended = _joined(ended, _run_part(run, spec, part, settings, is_prepared=ended.began), len(parts) > 1, part.name)
        if not ended.began:
            break
    return ended


def _joined(before: _Ended, ended: _Ended, is_named: bool, step: str) -> _Ended:
    """Return the end of all steps so far, with the newest."""
    status = before.status if ended.status is Status.SUCCESS else ended.status
    error = f"{step}: {ended.error}" if ended.error and is_named else ended.error
    errors = [each for each in (before.error, error) if each]
    outcomes = (*before.outcomes, *ended.outcomes)
    return _Ended(status, "; ".join(errors) or None, ended.began, outcomes, before.is_counted and ended.is_counted)


def _run_part(run: JobRun, spec: JobSpec, part: Step, settings: JobSettings, *, is_prepared: bool) -> _Ended:
    status, error, began, is_counted = Status.SUCCESS, None, is_prepared, True
    try:
        _begin(run, spec, part)
        if not began:
            let_in(run, spec, settings)
            began = True
        _work(run, spec, part, settings)
    except MaintenanceError as failed:
        status, error = _status(failed), str(failed)
        began = began and status is not Status.REFUSED
    except BaseException:
        with contextlib.suppress(MaintenanceError):
            _close(run, spec, part, "interrupted", None)
        raise
    try:
        _close(run, spec, part, status.value, error)
    except MaintenanceError as failed:
        status, error = Status.FAILED, error or f"the work is done, but the ledger could not be closed: {failed}"
        # Before the work there was nothing to count.
        is_counted = not began
    return _Ended(status, error, began, tuple(run.account.outcomes), is_counted)


def _work(run: JobRun, spec: JobSpec, part: Step, settings: JobSettings) -> None:
    """Do the work, and what else is due whatever became of it; raise `IncompleteRunError` for all that failed."""
    try:
        part.run(run, settings)
    except DatabaseLostError:
        raise
    except (DatabaseStatementError, DatabaseUnavailableError, IncompleteRunError) as failed:
        run.fail(str(failed))
        _try(run, run.drain_left)
    if spec.database is not None and isinstance(settings, PurgeSettings):
        _try(run, run.delete_archives)
    if spec.mail is not None:
        _try(run, partial(run.forget, spec.mail.forgets(run, settings)))
    if run.account.failures:
        raise IncompleteRunError("; ".join(run.account.failures))


def _try(run: JobRun, duty: Callable[[], None]) -> None:
    try:
        duty()
    except MaintenanceError as failed:
        run.fail(str(failed))


def let_in(run: JobRun, spec: JobSpec, settings: JobSettings) -> None:
    """Take the job's lock, and look whether anything speaks against any of its steps."""
    if spec.database is not None:
        _lock_and_look(run, spec, settings)
    if spec.prepare is not None:
        spec.prepare(run, settings)


def _lock_and_look(run: JobRun, spec: JobSpec, settings: JobSettings) -> None:
    if not run.dry_run:
        run.database.lock(lock_name(spec, run.request.partition))
    used = spec.tables_used(run, settings)
    run.database.transaction(lambda connection: check_fit(connection, spec, used))
    check_tables(run, spec.targets, used)
    if spec.location.is_of_the_orchestrator:
        elsewhere = run.database.transaction(lambda connection: find_elsewhere(connection, spec.privileges))
        run.refuse(list(map(str, elsewhere)))


def _status(failed: MaintenanceError) -> Status:
    return Status.REFUSED if isinstance(failed, RefusedError) else Status.FAILED


def _check_server(run: JobRun, spec: JobSpec) -> None:
    """Raise where the run could not even keep its ledger; a dry run does without where the server takes no write."""

    def look(connection: sa.Connection) -> str | None:
        check_current(connection, location=spec.location.name, revision=spec.location.revision)
        if run.dry_run:
            return find_hindrance(connection)
        require_writes(connection)
        return None

    try:
        run.account.would_refuse = run.database.transaction(look)
    except NoWritesNowError as lasting:
        raise PreflightError(str(lasting)) from None
    if run.account.would_refuse:
        run.ledger = replace(run.ledger, is_kept=False)


def _begin(run: JobRun, spec: JobSpec, part: Step) -> None:
    if spec.database is None:
        run.account.turn_to_step(run.account.taken)
    else:
        run.begin(part.name, part.targets, deletes=part.purges, rule_table=next(iter(spec.targets), ""))


def _close(run: JobRun, spec: JobSpec, part: Step, status: str, error: str | None) -> None:
    if spec.database is None:
        run.account.outcomes = list(collect(run.account.outcomes))
    else:
        _close_ledger(run, part, status, error)


def _close_ledger(run: JobRun, part: Step, status: str, error: str | None) -> None:
    """Record how the work on every table ended, and make the outcomes complete.

    A table that the job reports on has an outcome also where it came to nothing, and where the run broke off
    in its midst: then with what was committed before.
    """
    told = {outcome.target for outcome in run.account.outcomes}
    committed = run.ledger.recorded()
    planned = run.account.planned_rows if part.purges else ()
    for table in dict.fromkeys((*part.targets, *planned, *committed)):
        matched = 0 if table in told else run.account.planned_rows.get(table, 0)
        run.record(Outcome.of(table, {**run.account.unrecorded(committed, table), "matched": matched}))
    run.account.outcomes = list(collect(run.account.outcomes))
    run.ledger.finish(run.account.outcomes, status=status, error=error)
    run.account.deleted_today = run.ledger.deleted_today()


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
        began=False,
        trace_id=current_trace_id(),
    )
    reporter.ended(result)
    return result
