"""Keep the registry's rows as this version's code, and the orchestrator's states, have the jobs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.history.tables import scheduled_job, scheduled_job_history
from cath_dagster.core.model.schedule import Every
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.internals.instigators import InstigatorState, SensorInstigatorData
from cath_dagster.orchestration.states import own_name

States = Mapping[tuple[str, str], InstigatorState]
"""By code location and name, the schedules and sensors of which the orchestrator has a state."""
MIRRORED = ("description", "owner", "schedule", "timezone", "enabled", "selector_id", "next_run_at", "registered")


def mirror(
    connection: sa.Connection, specs: Sequence[JobSpec], states: States, *, now: datetime, is_scheduling: bool = True
) -> None:
    """Write what each job is and when it runs next; mark those that the code has no more. What is so already stays unwritten.

    A job that has another name now takes its history with it. Where no tick asks for a run, nothing runs next.
    """
    _rename(connection, specs)
    rows = [_row(spec, states.get(own_name(spec)), now) for spec in specs]
    rows = rows if is_scheduling else [row | {"next_run_at": None} for row in rows]
    new = insert(scheduled_job).values(rows)
    columns = {name: new.excluded[name] for name in MIRRORED}
    differs = sa.or_(*(scheduled_job.c[name].is_distinct_from(value) for name, value in columns.items()))
    changed = columns | {"unregistered_at": None, "updated_at": now}
    connection.execute(
        new.on_conflict_do_update(
            index_elements=[scheduled_job.c.location, scheduled_job.c.name], set_=changed, where=differs
        )
    )
    known = [(spec.location.name, spec.name) for spec in specs]
    gone = sa.and_(scheduled_job.c.registered, sa.tuple_(scheduled_job.c.location, scheduled_job.c.name).not_in(known))
    nothing = {"registered": False, "unregistered_at": now, "enabled": None, "next_run_at": None, "updated_at": now}
    connection.execute(sa.update(scheduled_job).where(gone).values(nothing))


def _rename(connection: sa.Connection, specs: Sequence[JobSpec]) -> None:
    key = sa.tuple_(scheduled_job.c.location, scheduled_job.c.name)
    known = [(spec.location.name, spec.name) for spec in specs]
    for spec in specs:
        former = [name for name in former_keys(spec) if name not in known]
        if not former:
            continue
        last = sa.select(scheduled_job.c.name, scheduled_job.c.location).where(key.in_(former))
        was = connection.execute(last.order_by(scheduled_job.c.updated_at.desc()).limit(1)).one_or_none()
        if was is not None and not _has_run(connection, spec):
            own = {"location": spec.location.name, "name": spec.name}
            connection.execute(sa.delete(scheduled_job).where(key == tuple(own.values())))
            connection.execute(sa.update(scheduled_job).where(key == (was.location, was.name)).values(own))


def _has_run(connection: sa.Connection, spec: JobSpec) -> bool:
    """Return whether there is a history under the new name already, which is nobody's to overwrite."""
    of_it = sa.and_(scheduled_job_history.c.location == spec.location.name, scheduled_job_history.c.job == spec.name)
    return bool(connection.scalar(sa.select(sa.exists().where(of_it))))


def former_keys(spec: JobSpec) -> list[tuple[str, str]]:
    """Return the locations and names under which a job was kept before."""
    locations, names = (spec.location.name, *spec.location.formerly), (spec.name, *spec.formerly)
    return [(location, name) for location in locations for name in names][1:]


def _row(spec: JobSpec, state: InstigatorState | None, now: datetime) -> dict[str, Any]:
    enabled = is_enabled(spec, state)
    return {
        "location": spec.location.name,
        "name": spec.name,
        "description": spec.description,
        "owner": spec.owner,
        "schedule": str(spec.schedule) if spec.schedule is not None else None,
        "timezone": spec.location.timezone,
        "enabled": enabled,
        "selector_id": state.selector_id if state is not None else None,
        "next_run_at": next_run(spec, state, now) if enabled else None,
        "registered": True,
    }


def is_enabled(spec: JobSpec, state: InstigatorState | None) -> bool | None:
    """Return whether a job's schedule or sensor ticks; None of one that people start.

    The daemon writes down a state for each that is to run from the start: one without a state was never started.
    """
    if spec.schedule is None:
        return None
    return state is not None and state.is_running


def next_run(spec: JobSpec, state: InstigatorState | None, now: datetime) -> datetime | None:
    """Return when a job that is enabled is looked at next: of a cron by the scheduler's own reading of it, over clock changes
    as well; of an interval, an interval after the last look, or at once where that has passed.
    """
    if not isinstance(spec.schedule, Every):
        return spec.next_tick(now)
    data = state.instigator_data if state is not None else None
    last = data.last_tick_timestamp if isinstance(data, SensorInstigatorData) else None
    return max(now, datetime.fromtimestamp(last, UTC) + spec.schedule.interval) if last is not None else now
