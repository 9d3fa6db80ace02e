"""Do a run's steps in order, each with its part of the ledger; what one leaves undone does not keep the next from its work."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import sqlalchemy as sa

from cath_dagster.core.errors import (
    DatabaseLostError,
    DatabaseStatementError,
    DatabaseUnavailableError,
    IncompleteRunError,
    MaintenanceError,
    NoWritesNowError,
    PreflightError,
    RefusedError,
)
from cath_dagster.core.maintenance.tables import check_current
from cath_dagster.core.model.outcome import Outcome, Status, collect
from cath_dagster.core.model.schedule import spoken
from cath_dagster.core.model.settings import JobSettings, PurgeSettings
from cath_dagster.core.postgres.deadline import DeadlineReached
from cath_dagster.core.postgres.followers import find_hindrance, require_writes
from cath_dagster.core.run.attempts import Attempt
from cath_dagster.core.run.job_parts import Step
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.schema_fit import check_fit
from cath_dagster.core.run.search_path import find_elsewhere
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.run.table_check import check_tables


def lock_name(spec: JobSpec, partition: str | None) -> str:
    """Return the name under which runs of the job exclude each other."""
    return f"{spec.key}/{partition}" if partition and spec.partitions is not None else spec.key


@dataclass(frozen=True)
class Ended:
    """How a run or a step of it ended. `began`: it came to the work. `is_counted`: the outcomes have all of it."""

    status: Status
    error: str | None
    began: bool
    outcomes: tuple[Outcome, ...] = ()
    is_counted: bool = True


def run_steps(run: JobRun, spec: JobSpec, settings: JobSettings, step: str | None, attempt: Attempt) -> Ended:
    """Do the job's steps, the most have one, and keep their ledger; return how it ended.

    A step that failed does not keep the next from its work, one that never began does, and so does the deadline.
    """
    try:
        with attempt.deadline.armed():
            if spec.database is not None:
                _check_server(run, spec)
    except DeadlineReached:
        return Ended(Status.TIMEOUT, _timed_out(spec, settings), began=False)
    except MaintenanceError as failed:
        if isinstance(failed, DatabaseUnavailableError):
            attempt.repeats()
        return Ended(_status(failed), str(failed), began=False)
    parts, ended = spec.parts(step), Ended(Status.SUCCESS, None, began=False)
    for part in parts:
        done = _run_part(run, spec, part, settings, attempt, is_prepared=ended.began)
        ended = _joined(ended, done, len(parts) > 1, part.name)
        if not ended.began or ended.status is Status.TIMEOUT:
            break
    return ended


def _timed_out(spec: JobSpec, settings: JobSettings) -> str:
    return (
        f"the run has had its {spoken(spec.timeout_of(settings))} and was ended; what it committed stays, and the next run "
        f"goes on from there; {settings.timeout_key} gives a run longer"
    )


def _joined(before: Ended, ended: Ended, is_named: bool, step: str) -> Ended:
    """Return the end of all steps so far, with the newest."""
    status = before.status if ended.status is Status.SUCCESS else ended.status
    error = f"{step}: {ended.error}" if ended.error and is_named else ended.error
    errors = [each for each in (before.error, error) if each]
    outcomes = (*before.outcomes, *ended.outcomes)
    return Ended(status, "; ".join(errors) or None, ended.began, outcomes, before.is_counted and ended.is_counted)


def _run_part(
    run: JobRun, spec: JobSpec, part: Step, settings: JobSettings, attempt: Attempt, *, is_prepared: bool
) -> Ended:
    status, error, began, is_counted = Status.SUCCESS, None, is_prepared, True
    try:
        with attempt.deadline.armed():
            _begin(run, spec, part)
            if not began:
                let_in(run, spec, settings)
                began = True
            _work(run, spec, part, settings, attempt)
    except BaseException as broken:
        status, error = _how_it_broke(broken, attempt, spec, settings)
        began = began and status is not Status.REFUSED
        if error is None:
            with contextlib.suppress(MaintenanceError):
                _close(run, spec, part, attempt, "interrupted", None)
            raise
    try:
        _close(run, spec, part, attempt, status.value, error)
    except MaintenanceError as failed:
        if status is Status.SUCCESS:
            status, error = Status.FAILED, f"the work is done, but the ledger could not be closed: {failed}"
        # Before the work there was nothing to count.
        is_counted = not began
    return Ended(status, error, began, tuple(run.account.outcomes), is_counted)


def _how_it_broke(
    broken: BaseException, attempt: Attempt, spec: JobSpec, settings: JobSettings
) -> tuple[Status, str | None]:
    """Return how a run ended that broke off, without an error where that is no failure of the run.

    What breaks off once the deadline has struck did so by it: tasks and threads wrap what was raised in their midst.
    """
    if attempt.deadline.has_struck:
        attempt.deadline.end()
        return Status.TIMEOUT, _timed_out(spec, settings)
    if not isinstance(broken, MaintenanceError):
        return Status.FAILED, None
    if isinstance(broken, DatabaseUnavailableError):
        attempt.repeats()
    return _status(broken), str(broken)


def _work(run: JobRun, spec: JobSpec, part: Step, settings: JobSettings, attempt: Attempt) -> None:
    """Do the work, and what else is due whatever became of it; raise `IncompleteRunError` for all that failed.

    What breaks the work off may be repeated; what the job has recorded as left undone is for the next run.
    """
    try:
        part.run(run, settings)
    except DatabaseLostError:
        raise
    except (DatabaseStatementError, DatabaseUnavailableError, IncompleteRunError) as failed:
        run.fail(str(failed))
        if not attempt.repeats():
            _try(run, run.drain_left)
    if attempt.again_in is None:
        _finish_up(run, spec, settings)
    if run.account.failures:
        raise IncompleteRunError("; ".join(run.account.failures))


def _finish_up(run: JobRun, spec: JobSpec, settings: JobSettings) -> None:
    if spec.database is not None and isinstance(settings, PurgeSettings):
        _try(run, run.delete_archives)
    if spec.mail is not None:
        _try(run, partial(run.forget, spec.mail.forgets(run, settings)))


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


def _close_ledger(run: JobRun, part: Step, attempt: Attempt, status: str, error: str | None) -> None:
    """Record how the work on every table ended, and make the outcomes complete.

    A table that the job reports on has an outcome also where it came to nothing, and where the run broke off
    in its midst: then with what was committed before. The ledger of a run that is tried again stays open.
    """
    told = {outcome.target for outcome in run.account.outcomes}
    committed = run.ledger.recorded()
    planned = run.account.planned_rows if part.purges else ()
    for table in dict.fromkeys((*part.targets, *planned, *committed)):
        matched = 0 if table in told else run.account.planned_rows.get(table, 0)
        run.record(Outcome.of(table, {**run.account.unrecorded(committed, table), "matched": matched}))
    run.account.outcomes = [
        attempt.complete(outcome, is_whole=outcome.target in committed) for outcome in collect(run.account.outcomes)
    ]
    if attempt.again_in is None:
        run.ledger.finish(run.account.outcomes, status=status, error=error)
    run.account.deleted_today = run.ledger.deleted_today()


def _close(run: JobRun, spec: JobSpec, part: Step, attempt: Attempt, status: str, error: str | None) -> None:
    if spec.database is None:
        outcomes = collect(run.account.outcomes)
        run.account.outcomes = [attempt.complete(outcome, is_whole=False) for outcome in outcomes]
    else:
        _close_ledger(run, part, attempt, status, error)
