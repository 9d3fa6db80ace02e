"""Read the registry, the history and what is queued: what the API and the pages show of jobs and runs.

Every query goes by an index and is bounded, so that it costs the same with a thousand rows of history as with a million.
"""

import base64
import binascii
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON, aggregate_order_by

from cath_dagster.core.history.tables import RUNNING, scheduled_job, scheduled_job_history
from cath_dagster.core.instants import as_utc
from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.web.tables import job_hold

WAITING = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
"""Dagster's words for a run that is not over."""
BARS = 30
"""Runs that are shown of a job at a glance."""

runs = sa.table(
    "runs",
    *(sa.column(name) for name in ("run_id", "pipeline_name", "status", "create_timestamp")),
    schema=SERVICE,
)
run_tags = sa.table("run_tags", *(sa.column(name) for name in ("run_id", "key", "value")), schema=SERVICE)
H = scheduled_job_history
NEWEST_FIRST = (H.c.started_at.desc(), H.c.id.desc())


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which runs are asked for; what is None does not matter."""

    locations: Collection[str]
    """Those that may be looked at."""
    location: str | None = None
    job: str | None = None
    status: str | None = None
    trigger: str | None = None
    actor: str | None = None
    after: datetime | None = None
    before: datetime | None = None

    def clauses(self) -> list[sa.ColumnElement[bool]]:
        equal = {"location": self.location, "job": self.job, "status": self.status, "trigger": self.trigger}
        found: list[sa.ColumnElement[bool]] = [H.c.location.in_(list(self.locations))]
        found += [H.c[name] == value for name, value in (equal | {"actor": self.actor}).items() if value is not None]
        if self.after is not None:
            found.append(H.c.started_at >= self.after)
        if self.before is not None:
            found.append(H.c.started_at < self.before)
        return found


class CursorError(ValueError):
    """A cursor that none of our answers gave."""


# Written once: to put a statement together anew takes as long as its answer.
_SEEN = sa.any_(sa.bindparam("locations", type_=ARRAY(sa.Text)))
_JOBS = (
    sa.select(scheduled_job)
    .where(scheduled_job.c.location == _SEEN)
    .order_by(scheduled_job.c.location, scheduled_job.c.name)
)
_HOLDS = sa.select(job_hold).where(job_hold.c.location == _SEEN, job_hold.c.until > sa.bindparam("now"))


def read_jobs(connection: sa.Connection, locations: Collection[str], job: str | None = None) -> list[Any]:
    """Return the rows of all jobs of these locations, or of one."""
    query = _JOBS if job is None else _JOBS.where(scheduled_job.c.name == job)
    return list(connection.execute(query, {"locations": list(locations)}).all())


def read_holds(
    connection: sa.Connection, locations: Collection[str], *, now: datetime
) -> Mapping[tuple[str, str], Any]:
    """Return the holds that last, by location and job: one that was never registered may be held as well."""
    given = {"locations": list(locations), "now": now}
    return {(row.location, row.job): row for row in connection.execute(_HOLDS, given)}


def read_runs(
    connection: sa.Connection, wanted: Filter, *, limit: int, cursor: str | None = None
) -> tuple[list[Any], str | None]:
    """Return a page of runs, the newest first, and the cursor of the next page."""
    query = sa.select(H).where(*wanted.clauses()).order_by(H.c.started_at.desc(), H.c.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(sa.tuple_(H.c.started_at, H.c.id) < sa.tuple_(*map(sa.literal, parse_cursor(cursor))))
    rows = list(connection.execute(query).all())
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    return rows[:limit], write_cursor(last.started_at, last.id)


def write_cursor(started_at: datetime, row_id: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([started_at.isoformat(), row_id]).encode()).decode().rstrip("=")


def parse_cursor(cursor: str) -> tuple[datetime, int]:
    """Return what a cursor stands for; raise `CursorError`."""
    try:
        text, row_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        given = datetime.fromisoformat(text)
        if type(row_id) is not int or not 0 <= row_id < 2**63 or given.tzinfo is None:
            raise CursorError(cursor)
        started_at = as_utc(given)
    except (binascii.Error, ValueError, TypeError) as error:
        raise CursorError(cursor) from error
    return started_at, row_id


def read_run(connection: sa.Connection, run_id: str) -> list[Any]:
    """Return the rows of a run's attempts, the last first."""
    return list(connection.execute(sa.select(H).where(H.c.run_id == run_id).order_by(H.c.attempt.desc())).all())


class Bar(NamedTuple):
    """A run at a glance."""

    status: str
    duration_ms: int | None


def read_bars(connection: sa.Connection, jobs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], list[Bar]]:
    """Return each job's last runs, the newest first; ticks that were skipped are none."""
    locations, names = ([job[place] for job in jobs] for place in (0, 1))
    # As arrays: a list of values would be another statement each time, and be compiled anew.
    pairs = sa.func.unnest(sa.literal(locations, ARRAY(sa.Text)), sa.literal(names, ARRAY(sa.Text)))
    wanted = pairs.table_valued("location", "name", name="wanted").render_derived()
    of_job = sa.and_(H.c.location == wanted.c.location, H.c.job == wanted.c.name)
    last = _last_runs(of_job, "id", "status", "started_at", "duration_ms").lateral("last")
    newest_first = (last.c.started_at.desc(), last.c.id.desc())
    bar = sa.func.json_build_array(last.c.status, last.c.duration_ms)
    # A row for each job: three thousand rows one by one would take most of the page's time.
    bars = sa.func.json_agg(aggregate_order_by(bar, *newest_first), type_=JSON)
    query = sa.select(wanted.c.location, wanted.c.name, bars.label("bars")).select_from(wanted.join(last, sa.true()))
    found: dict[tuple[str, str], list[Bar]] = {job: [] for job in jobs}
    if jobs:
        for row in connection.execute(query.group_by(wanted.c.location, wanted.c.name)):
            found[row.location, row.name] = [Bar(*each) for each in row.bars]
    return found


def read_recent(connection: sa.Connection, location: str, job: str) -> list[Any]:
    """Return a job's last runs, the newest first; ticks that were skipped are none."""
    of_job = sa.and_(H.c.location == location, H.c.job == job)
    query = _last_runs(of_job, "run_id", "status", "started_at", "duration_ms", "dry_run")
    return list(connection.execute(query).all())


def _last_runs(of_job: sa.ColumnElement[bool], *names: str) -> sa.Select[Any]:
    shown = [H.c[name] for name in names]
    return sa.select(*shown).where(of_job, H.c.run_id.is_not(None)).order_by(*NEWEST_FIRST).limit(BARS)


def read_going(connection: sa.Connection, location: str, job: str) -> str | None:
    """Return the run of a job that is queued or going, the oldest, None for none."""
    tagged = sa.and_(run_tags.c.run_id == runs.c.run_id, run_tags.c.key == QUEUE_KEY)
    in_dagster = (
        sa.select(runs.c.run_id)
        .where(runs.c.status.in_(WAITING), tagged, run_tags.c.value == f"{location}/{job}")
        .order_by(runs.c.create_timestamp)
        .limit(1)
    )
    elsewhere = (
        sa.select(H.c.run_id)
        .where(H.c.location == location, H.c.job == job, H.c.status == RUNNING, H.c.run_id.is_not(None))
        .order_by(H.c.started_at)
        .limit(1)
    )
    going: str | None = connection.scalar(in_dagster) or connection.scalar(elsewhere)
    return going


def _all_going() -> sa.CompoundSelect[Any]:
    tagged = sa.and_(run_tags.c.run_id == runs.c.run_id, run_tags.c.key == QUEUE_KEY)
    location, job = (sa.func.split_part(run_tags.c.value, "/", place) for place in (1, 2))
    queued = sa.select(location.label("location"), job.label("job"), runs.c.run_id).where(
        runs.c.status.in_(WAITING), tagged, location == _SEEN
    )
    running = sa.select(H.c.location, H.c.job, H.c.run_id).where(
        H.c.status == RUNNING, H.c.location == _SEEN, H.c.run_id.is_not(None)
    )
    return sa.union_all(queued, running)


_ALL_GOING = _all_going()


def read_all_going(connection: sa.Connection, locations: Collection[str]) -> Mapping[tuple[str, str], str]:
    """Return the run of every job that has one queued or going: of what waits in Dagster's queue there is no history yet."""
    found = connection.execute(_ALL_GOING, {"locations": list(locations)})
    # What runs comes later, and so is what is told of a job that has a run in the queue besides.
    return {(row.location, row.job): row.run_id for row in found}


def find_launched(connection: sa.Connection, tag: str, nonce: str) -> str | None:
    """Return the run that carries a nonce, None where it was never launched: the first, since one that somebody executes again
    in Dagster's UI has its tags.
    """
    query = (
        sa.select(run_tags.c.run_id)
        .where(run_tags.c.key == tag, run_tags.c.value == nonce, runs.c.run_id == run_tags.c.run_id)
        .order_by(runs.c.create_timestamp)
        .limit(1)
    )
    found: str | None = connection.scalar(query)
    return found


def location_of_queued(connection: sa.Connection, run_id: str) -> tuple[str, str, str] | None:
    """Return location, job and Dagster's status of a run that has no row of history yet."""
    query = sa.select(run_tags.c.value, runs.c.status).where(
        runs.c.run_id == run_id, run_tags.c.run_id == runs.c.run_id, run_tags.c.key == QUEUE_KEY
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    location, _, job = row.value.partition("/")
    return location, job, row.status
