"""Read the registry and the history, as people and programs ask for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.history.holds import job_hold
from cath_dagster.core.history.tables import RUNNING, scheduled_job, scheduled_job_history
from cath_dagster.operations.tables import instigators, runs

STOPPED = "STOPPED"
"""Dagster's word for a schedule or sensor that somebody has stopped."""
ENDS = {"SUCCESS": "success", "FAILURE": "failed", "CANCELED": "canceled"}
JOB = tuple(column.name for column in scheduled_job.columns if column.name != "selector_id")
RUN = tuple(column.name for column in scheduled_job_history.columns if column.name not in ("counted", "nonce"))
_JOB, _RUN = scheduled_job, scheduled_job_history
Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which runs are asked for; what is None does not matter."""

    location: str | None = None
    job: str | None = None
    status: str | None = None
    trigger: str | None = None
    run_id: str | None = None
    since: datetime | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        equal = {name: getattr(self, name) for name in ("location", "job", "status", "trigger", "run_id")}
        found = [_RUN.c[name] == value for name, value in equal.items() if value is not None]
        return [*found, _RUN.c.started_at >= self.since] if self.since is not None else found


def read_jobs(
    connection: sa.Connection, location: str | None = None, name: str | None = None, *, now: datetime
) -> list[Record]:
    """Return what is known of jobs, by location and name, with the run that is going and whoever holds them.

    `enabled` is Dagster's own state of this instant, where it has one: the mirrored one is some seconds old.
    """
    live = sa.case(
        (_JOB.c.enabled.is_(None), sa.null()),
        (instigators.c.status.is_(None), _JOB.c.enabled),
        else_=instigators.c.status != STOPPED,
    )
    going = (
        sa.select(_RUN.c.run_id)
        .where(_RUN.c.location == _JOB.c.location, _RUN.c.job == _JOB.c.name, _RUN.c.status == RUNNING)
        .order_by(_RUN.c.started_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    columns = [_JOB.c[column] for column in JOB if column != "enabled"]
    query = (
        sa.select(
            *columns,
            live.label("enabled"),
            going.label("running_run_id"),
            job_hold.c.held_by,
            job_hold.c.until.label("held_until"),
            job_hold.c.reason.label("hold_reason"),
        )
        .select_from(
            _JOB.outerjoin(instigators, instigators.c.selector_id == _JOB.c.selector_id).outerjoin(
                job_hold,
                sa.and_(job_hold.c.location == _JOB.c.location, job_hold.c.job == _JOB.c.name, job_hold.c.until > now),
            )
        )
        .order_by(_JOB.c.location, _JOB.c.name)
    )
    wanted = {_JOB.c.location: location, _JOB.c.name: name}
    query = query.where(*(column == value for column, value in wanted.items() if value is not None))
    return [_job(dict(row)) for row in connection.execute(query).mappings()]


def read_history(connection: sa.Connection, wanted: Wanted, *, limit: int) -> list[Record]:
    """Return runs and skipped ticks, the newest first."""
    query = (
        sa.select(*(_RUN.c[column] for column in RUN))
        .where(*wanted.clauses())
        .order_by(_RUN.c.started_at.desc(), _RUN.c.id.desc())
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def read_attempts(connection: sa.Connection, run_id: str) -> list[Record]:
    """Return what became of a run, its last attempt first; nothing of a run that has not started."""
    query = sa.select(*(_RUN.c[column] for column in RUN)).where(_RUN.c.run_id == run_id)
    return [dict(row) for row in connection.execute(query.order_by(_RUN.c.attempt.desc())).mappings()]


def read_end(connection: sa.Connection, run_id: str) -> str | None:
    """Return how a run ended as Dagster has it, in the history's words; None of one that goes on or waits."""
    status = connection.scalar(sa.select(runs.c.status).where(runs.c.run_id == run_id))
    return ENDS.get(status or "")


def _job(job: Record) -> Record:
    # Somebody has stopped it since the monitor looked.
    return job if job["enabled"] else job | {"next_run_at": None}


def names_of(jobs: Sequence[Record]) -> list[str]:
    """Return `<location>/<job>` of each."""
    return [f"{job['location']}/{job['name']}" for job in jobs]
