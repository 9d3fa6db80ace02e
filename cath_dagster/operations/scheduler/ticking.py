"""Write down the ticks that asked for no run although something was due, and those that nobody made."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise

import dagster as dg
import sqlalchemy as sa

from cath_dagster.core.history.plain import plain_error
from cath_dagster.core.history.tables import scheduled_job_history
from cath_dagster.core.history.writing import Begun, miss, skip
from cath_dagster.core.instants import naive_utc
from cath_dagster.core.model.schedule import Every
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations.scheduler.registration import States
from cath_dagster.orchestration.dependencies import WAITS
from cath_dagster.orchestration.internals.instigators import (
    InstigatorState,
    InstigatorTick,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickStatus,
)

OVERLAP = timedelta(minutes=5)
"""A tick is written down when it ends, under the time at which it was due."""
AGAIN = timedelta(hours=1)
"""For how long a run that a late tick asked for may wait before it starts, and is still known as the first after a pause."""
MOST = 200
NOTHING = "nothing"
"""How the reason of a tick begins that had nothing to ask for."""
AWAY = timedelta(minutes=1)
"""A shorter pause of the daemon's is none."""
TICKS = sa.text(
    """
    SELECT wanted.selector_id, tick.at
    FROM unnest(CAST(:selectors AS text[])) AS wanted (selector_id)
    CROSS JOIN LATERAL (
        (SELECT "timestamp" AS at FROM public.job_ticks
         WHERE selector_id = wanted.selector_id AND "timestamp" <= CAST(:since AS timestamp) ORDER BY "timestamp" DESC LIMIT 1)
        UNION ALL
        SELECT "timestamp" FROM public.job_ticks
        WHERE selector_id = wanted.selector_id AND "timestamp" > CAST(:since AS timestamp)
    ) AS tick
    ORDER BY wanted.selector_id, tick.at
    """
)
"""Each by the index on selector and time."""
Due = tuple[JobSpec, InstigatorState]


def record_skipped(
    instance: dg.DagsterInstance,
    database: Database,
    specs: Sequence[JobSpec],
    states: States,
    since: datetime,
    now: datetime,
) -> int:
    """Write down the ticks that were skipped since an instant; return how many are new.

    One that waits for other jobs is skipped when it has waited in vain, for as long as it may.
    """
    return sum(
        database.transaction(partial(skip, begun=_begun(spec, tick), reason=_reason(tick)))
        for spec, state in _ticking(specs, states)
        for tick in reversed(_skipped(instance, state, since - (spec.after_within if spec.after else timedelta())))
        if not _reason(tick).startswith(NOTHING) and not _may_run_yet(database, spec, tick, now)
    )


def record_missed(database: Database, specs: Sequence[JobSpec], states: States, since: datetime) -> int:
    """Write down, at the first run or skipped tick after a pause, how many ticks there were in it; return how many pauses."""
    ticking = list(_ticking(specs, states))
    made = database.transaction(
        lambda connection: _made(connection, [state.selector_id for _, state in ticking], since - AGAIN)
    )
    count = 0
    for spec, state in ticking:
        for first, missed in _pauses(spec, state, made.get(state.selector_id, []), since - AGAIN):
            found = partial(miss, location=spec.location.name, job=spec.name, after=first, count=missed)
            count += database.transaction(found)
    return count


def _ticking(specs: Sequence[JobSpec], states: States) -> list[Due]:
    found = [
        (spec, states.get((spec.location.name, spec.schedule_name))) for spec in specs if spec.schedule is not None
    ]
    return [(spec, state) for spec, state in found if state is not None]


def _skipped(instance: dg.DagsterInstance, state: InstigatorState, since: datetime) -> Sequence[InstigatorTick]:
    after = (since - 2 * OVERLAP).timestamp()
    ticks = instance.get_ticks(
        state.instigator_origin_id, state.selector_id, after=after, statuses=[TickStatus.SKIPPED], limit=MOST
    )
    return list(ticks)


def _reason(tick: InstigatorTick) -> str:
    # Of a job that is held it names who holds it, and what he wrote.
    return plain_error(tick.tick_data.skip_reason) or NOTHING


def _may_run_yet(database: Database, spec: JobSpec, tick: InstigatorTick, now: datetime) -> bool:
    """Return whether a tick waits for other jobs, or has waited for them and had its run."""
    if not _reason(tick).startswith(WAITS):
        return False
    at = datetime.fromtimestamp(tick.timestamp, UTC)
    ran = sa.exists().where(
        scheduled_job_history.c.location == spec.location.name,
        scheduled_job_history.c.job == spec.name,
        scheduled_job_history.c.trigger == "dependency",
        scheduled_job_history.c.started_at.between(at, at + spec.after_within + OVERLAP),
    )
    if now < at + spec.after_within + OVERLAP:
        return True
    return bool(database.transaction(lambda connection: connection.scalar(sa.select(ran))))


def _begun(spec: JobSpec, tick: InstigatorTick) -> Begun:
    return Begun(
        location=spec.location.name,
        job=spec.name,
        run_id="",
        trigger="sensor" if isinstance(spec.schedule, Every) else "schedule",
        started_at=datetime.fromtimestamp(tick.timestamp, UTC),
    )


def _made(connection: sa.Connection, selectors: Sequence[str], since: datetime) -> Mapping[str, list[datetime]]:
    """Return by selector the times of the ticks since an instant, and of the last before it, ascending."""
    made: dict[str, list[datetime]] = {}
    for selector, at in connection.execute(TICKS, {"selectors": list(selectors), "since": naive_utc(since)}):
        made.setdefault(selector, []).append(at.replace(tzinfo=UTC))
    return made


def _pauses(
    spec: JobSpec, state: InstigatorState, made: Sequence[datetime], since: datetime
) -> list[tuple[datetime, int]]:
    """Return for every pause that ended after an instant the tick with which it did, and how many before it nobody made."""
    started = _started_at(state)
    bounds = sorted({*made, *([started] if started is not None else [])})
    bounds = bounds[bounds.index(made[0]) :] if made and made[0] <= since else bounds
    pauses = []
    for before, first in pairwise(bounds):
        # What somebody had stopped missed nothing until he started it again.
        if first in made and (missed := _missed(spec, before, first)):
            pauses.append((first, missed))
    return pauses


def _missed(spec: JobSpec, before: datetime, first: datetime) -> int:
    if isinstance(spec.schedule, Every):
        interval = spec.schedule.interval
        is_pause = first - before > max(3 * interval, interval + AWAY)
        return (first - before) // interval - 1 if is_pause else 0
    if first - before <= AWAY:
        return 0
    return len(spec.ticks_until(before, first - timedelta(microseconds=1)))


def _started_at(state: InstigatorState) -> datetime | None:
    data = state.instigator_data
    at = None
    if isinstance(data, ScheduleInstigatorData):
        at = data.start_timestamp
    elif isinstance(data, SensorInstigatorData):
        at = data.last_sensor_start_timestamp
    return datetime.fromtimestamp(at, UTC) if at is not None else None
