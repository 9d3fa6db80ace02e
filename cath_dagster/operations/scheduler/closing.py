"""Close what the runs themselves could not: those that were killed, and those that were never written down."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

from cath_dagster.core.history.liveness import is_alive
from cath_dagster.core.history.plain import plain_error, plain_parameters
from cath_dagster.core.history.tables import RUNNING, scheduled_job_history
from cath_dagster.core.history.writing import Begun, Ended, end
from cath_dagster.core.model.outcome import COUNTS, Status
from cath_dagster.core.ports.orchestrator import PARTITION_TAG
from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.watch.runs import ended_at, failures_of, job_key, plain
from cath_dagster.orchestration.origin import origin_of
from cath_dagster.orchestration.relaunch import MAX_RUNTIME_TAG
from cath_dagster.registry import spec_of

OVERLAP = timedelta(minutes=1)
"""Looks overlap by as much: a run's last change may be committed after a later one's."""
MOST = 500
"""Runs of one look; the next goes on."""
LOST = (
    "lost: the process that ran it is gone, and nobody knows how it ended; what it committed is done, and the next run goes on "
    "from there"
)
SUCCESS, CANCELED, TIMEOUT = Status.SUCCESS.value, "canceled", Status.TIMEOUT.value
_HISTORY = scheduled_job_history
_Row = sa.Row[Any]


@dataclass(frozen=True)
class Looked:
    """How many rows were closed or written, and up to which change of a run everything is looked at."""

    count: int
    until: datetime


def close_ended(instance: dg.DagsterInstance, database: Database, since: datetime) -> Looked:
    """Hold the history against the runs that changed since an instant and are over."""
    changed = instance.get_run_records(
        RunsFilter(updated_after=since - OVERLAP), limit=MOST, order_by="update_timestamp", ascending=True
    )
    finished = [record for record in changed if record.dagster_run.is_finished]
    until = max([since, *(_utc(record.update_timestamp) for record in changed)])
    return Looked(_close(instance, database, finished), until)


def close_lost(instance: dg.DagsterInstance, database: Database, now: datetime) -> int:
    """Close the runs that are said to be going and are not; return how many.

    Of a run of the orchestrator's the orchestrator knows it. Of one of the command line its session does, which holds a lock.
    """
    query = sa.select(_HISTORY).where(_HISTORY.c.status == RUNNING).order_by(_HISTORY.c.started_at).limit(MOST)
    going = database.transaction(lambda connection: connection.execute(query).all())
    if not going:
        return 0
    ids = list({row.run_id for row in going})
    known = {record.dagster_run.run_id: record for record in instance.get_run_records(RunsFilter(run_ids=ids))}
    finished = [record for record in known.values() if record.dagster_run.is_finished]
    count = _close(instance, database, finished)
    for row in going:
        if row.run_id not in known:
            count += database.transaction(partial(_close_unless_alive, row=row, now=now))
    return count


def _close_unless_alive(connection: sa.Connection, row: _Row, now: datetime) -> bool:
    if is_alive(connection, row.run_id):
        return False
    lost = Ended(status=Status.FAILED.value, completed_at=now, error=LOST)
    # It may have ended since it was read, and its session with it.
    return end(connection, _begun_of_row(row), lost, expected=RUNNING)


def _close(instance: dg.DagsterInstance, database: Database, finished: Sequence[dg.RunRecord]) -> int:
    """Close or write the rows of runs that are over; return how many."""
    if not finished:
        return 0
    ids = [record.dagster_run.run_id for record in finished]
    query = sa.select(_HISTORY).where(_HISTORY.c.run_id.in_(ids)).order_by(_HISTORY.c.attempt)
    rows: dict[str, dict[tuple[str, str], _Row]] = {}
    for row in database.transaction(lambda connection: connection.execute(query).all()):
        # By job the last attempt: a run that materialises assets of two jobs has rows of both.
        rows.setdefault(row.run_id, {})[row.location, row.job] = row
    count = 0
    for record in finished:
        for begun, status in _unwritten(record, rows.get(record.dagster_run.run_id, {})):
            ended = _ended_of(instance, record, with_outcomes=status is None)
            count += database.transaction(partial(end, begun=begun, ended=ended, expected=status))
    return count


def _unwritten(record: dg.RunRecord, rows: Mapping[tuple[str, str], _Row]) -> Iterator[tuple[Begun, str | None]]:
    """Yield what the history does not have as it was, each with the status that it has; None where it has nothing.

    A row that its run has closed says more of the run than its process's end does. But a run that was broken off from outside
    knows not by whom: one that had used up its time, or whose machine went, was not cancelled.
    """
    for row in rows.values():
        if row.status == RUNNING or (
            row.status == CANCELED and record.dagster_run.status is not DagsterRunStatus.CANCELED
        ):
            yield _begun_of_row(row), row.status
    if not rows and spec_of(job_key(record.dagster_run)) is not None:
        yield _begun_of_run(record), None


def _begun_of_row(row: _Row) -> Begun:
    return Begun(
        location=row.location,
        job=row.job,
        run_id=row.run_id,
        trigger=row.trigger,
        started_at=row.started_at,
        attempt=row.attempt,
        actor=row.actor,
        nonce=row.nonce,
        dry_run=row.dry_run,
        parameters=row.parameters,
    )


def _begun_of_run(record: dg.RunRecord) -> Begun:
    run = record.dagster_run
    location, _, job = job_key(run).partition("/")
    origin = origin_of(run)
    config = {name: value for name, value in run.run_config.items() if not isinstance(value, dict)}
    return Begun(
        location=location,
        job=job,
        run_id=run.run_id,
        trigger=origin.trigger,
        started_at=_utc(record.start_time) if record.start_time is not None else _utc(record.create_timestamp),
        actor=origin.actor,
        nonce=origin.nonce,
        dry_run=bool(config.get("dry_run")),
        parameters=plain_parameters({**config, "partition": run.tags.get(PARTITION_TAG)}),
    )


def _ended_of(instance: dg.DagsterInstance, record: dg.RunRecord, *, with_outcomes: bool) -> Ended:
    status, error, outcomes = _judge(instance, record)
    return Ended(
        status=status,
        completed_at=ended_at(record),
        error=plain_error(error),
        outcomes=outcomes if with_outcomes else (),
    )


def _judge(instance: dg.DagsterInstance, record: dg.RunRecord) -> tuple[str, str | None, list[dict[str, Any]]]:
    """Return how a run ended, why, and what it did, by what the orchestrator keeps of it."""
    run = record.dagster_run
    if run.status is DagsterRunStatus.SUCCESS:
        return SUCCESS, None, _outcomes(_put_out(instance, run.run_id))
    if run.status is DagsterRunStatus.CANCELED:
        return CANCELED, "cancelled", []
    failures = failures_of(instance, run.run_id)
    said = [str(plain(failure.metadata.get("status"))) for failure in failures]
    status = next((one for one in (Status.REFUSED.value, TIMEOUT) if one in said), Status.FAILED.value)
    if _was_too_long(record) and not any(failure.metadata for failure in failures):
        status = TIMEOUT
    outcomes = [one for failure in failures for one in _outcomes(failure.metadata)]
    return status, "; ".join(failure.says for failure in failures), outcomes


def _was_too_long(record: dg.RunRecord) -> bool:
    """Return whether the orchestrator ended a run because it had used up its time."""
    allowed = record.dagster_run.tags.get(MAX_RUNTIME_TAG)
    if allowed is None or record.start_time is None or record.end_time is None:
        return False
    return record.end_time - record.start_time >= float(allowed)


def _put_out(instance: dg.DagsterInstance, run_id: str) -> Mapping[str, Any]:
    """Return what the steps of a run said of themselves when they ended well."""
    records = instance.get_records_for_run(run_id, of_type=DagsterEventType.STEP_OUTPUT).records
    events = [record.event_log_entry.dagster_event for record in records]
    said: dict[str, Any] = {}
    for event in events:
        if event is not None:
            said |= event.step_output_data.metadata
    return said


def _outcomes(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the outcomes in a run's metadata in the form that a run itself records."""
    found = []
    for record in plain(metadata.get("outcomes")) or ():
        counts = {name: record.data[name] for name in COUNTS if record.data.get(name) or name == "matched"}
        found.append({"target": record.data.get("target"), **counts, "seconds": record.data.get("seconds")})
    return found


def _utc(instant: datetime | float) -> datetime:
    if isinstance(instant, float):
        return datetime.fromtimestamp(instant, UTC)
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
