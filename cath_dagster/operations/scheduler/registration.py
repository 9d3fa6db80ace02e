"""Keep the registry's rows as this version's code, and the orchestrator's states, have the jobs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.history.tables import scheduled_job
from cath_dagster.core.model.schedule import Every
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.internals.instigators import InstigatorState, SensorInstigatorData

States = Mapping[tuple[str, str], InstigatorState]
"""By code location and name, the schedules and sensors of which the orchestrator has a state."""
MIRRORED = ("description", "owner", "schedule", "timezone", "enabled", "selector_id", "next_run_at", "registered")


def mirror(connection: sa.Connection, specs: Sequence[JobSpec], states: States, *, now: datetime) -> None:
    """Write what each job is and when it runs next; mark those that the code has no more. What is so already stays unwritten."""
    rows = [_row(spec, states.get((spec.location.name, spec.schedule_name)), now) for spec in specs]
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
