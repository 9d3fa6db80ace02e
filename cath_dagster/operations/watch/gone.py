"""Schedules and sensors that their code location has no more: Dagster keeps the state that they had, and they tick no more.

Of our locations this version says what they have. Of any other only the ticks can tell, and they do not tell a location
that does not load from one without the sensor.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

import dagster as dg

from cath_dagster.core.model.ticks import ticks as foretold
from cath_dagster.operations.alerts import Alert, Kind
from cath_dagster.operations.watch.look import Look
from cath_dagster.operations.watched import SENSORS
from cath_dagster.orchestration.internals.instigators import InstigatorState, InstigatorType, ScheduleInstigatorData
from cath_dagster.orchestration.location_sensors import location_sensor_names
from cath_dagster.registry import all_specs, locations

SILENT = timedelta(days=1)
"""No sensor of anybody's rests for longer, and no version is rolled out for longer."""
TICKS_MISSED = 2
"""Of a schedule, which may rest for weeks: so many ticks that it did not make."""


def is_known(state: InstigatorState) -> bool:
    """Return whether this version has the schedule or sensor."""
    location, name = state.repository_selector.location_name, state.instigator_name
    specs = [spec for spec in all_specs() if spec.location.name == location]
    known = {spec.schedule_name for spec in specs if spec.schedule} | location_sensor_names(specs)
    return name in known or name in SENSORS.get(location, ())


def is_ours(state: InstigatorState) -> bool:
    """Return whether this version has its code location."""
    return state.repository_selector.location_name in {location.name for location in locations()}


def is_gone(instance: dg.DagsterInstance, state: InstigatorState, now: datetime) -> bool:
    """Return whether a schedule or sensor has ticked once, ticks no more, and is none of this version's."""
    if is_known(state):
        return False
    last = last_ticked_at(instance, state)
    if last is None or now - last <= SILENT:
        return False
    data = state.instigator_data
    if state.instigator_type is InstigatorType.SCHEDULE and isinstance(data, ScheduleInstigatorData):
        due = list(islice(foretold(data.cron_schedule, "UTC", last), TICKS_MISSED))
        return len(due) == TICKS_MISSED and due[-1] + SILENT < now
    return True


def last_ticked_at(instance: dg.DagsterInstance, state: InstigatorState) -> datetime | None:
    """Return when a schedule or sensor last ticked, however that ended."""
    for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1):
        return datetime.fromtimestamp(tick.timestamp, UTC)
    return None


def alerts_of_ended(look: Look, kind: Kind, gone: dict[str, InstigatorState]) -> Iterator[Alert]:
    """Yield, for each problem of something that is gone, that it is over; what is told is told once."""
    for subject in look.open_problems(kind):
        if subject in gone:
            yield Alert(
                kind=kind,
                subject=subject,
                occurrence="gone",
                title=f"{subject} ticks no more",
                says=("Its code location has it no more, so that nothing is to be done about it.",),
                at=look.now,
                is_over=True,
            )
