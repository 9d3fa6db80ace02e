"""What operators have said of schedules and sensors: it outlives deployments, and a job's or a location's new name."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import dagster as dg

from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.internals.instigators import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from cath_dagster.orchestration.stopped import runs_by_default

Name = tuple[str, str]
"""A code location, and a schedule or sensor of it."""
SAID = frozenset({InstigatorStatus.RUNNING, InstigatorStatus.STOPPED})
"""What somebody has said; the third, "declared in code", says that nobody did."""


def read_states(instance: dg.DagsterInstance) -> dict[Name, InstigatorState]:
    """Return every schedule and sensor of which the instance keeps a state."""
    states = instance.all_instigator_state()
    return {(state.repository_selector.location_name, state.instigator_name): state for state in states}


def own_name(spec: JobSpec) -> Name:
    """Return under which name the state of a job's schedule or sensor is kept."""
    return spec.location.name, spec.schedule_name


def is_running(states: Mapping[Name, InstigatorState], spec: JobSpec) -> bool:
    """Return whether a job's schedule or sensor runs: as somebody said, else as its code says."""
    own = states.get(own_name(spec))
    said = own if own is not None and own.status in SAID else said_before(states, spec)
    return said.is_running if said is not None else runs_by_default(spec)


def former_names(spec: JobSpec) -> list[Name]:
    """Return the names under which a job's schedule or sensor was kept before, in the order in which they are written."""
    if spec.schedule is None or not (spec.formerly or spec.location.formerly):
        return []
    locations, jobs = (spec.location.name, *spec.location.formerly), (spec.name, *spec.formerly)
    names = [(location, name) for location in locations for job in jobs for name in (f"{job}_cron", f"{job}_every")]
    return [name for name in names if name != own_name(spec)]


def said_before(states: Mapping[Name, InstigatorState], spec: JobSpec) -> InstigatorState | None:
    """Return what somebody said of a job under a former name, where nobody has said anything since; else None."""
    own = states.get(own_name(spec))
    if own is not None and own.status in SAID:
        return None
    found = (states.get(name) for name in former_names(spec))
    return next((state for state in found if state is not None and state.status in SAID), None)


def why_held_back(instance: dg.DagsterInstance, spec: JobSpec) -> str | None:
    """Return why a tick under a new name does nothing: somebody stopped it under the old one."""
    if not former_names(spec):
        return None
    state = said_before(read_states(instance), spec)
    if state is None or state.is_running:
        return None
    location = state.repository_selector.location_name
    return (
        f"{location}/{state.instigator_name} was stopped by somebody, and this is its new name; start it to let it run"
    )


def carry_over(
    instance: dg.DagsterInstance, specs: Sequence[JobSpec], repository: RemoteRepositoryOrigin, now: datetime
) -> Iterator[str]:
    """Keep under the new names what was said under the old ones, once; yield what was carried over.

    The old state goes, so that what is said from now on, "as in the code" included, is what counts.
    """
    states = read_states(instance)
    for spec in specs:
        said = said_before(states, spec)
        own = states.get(own_name(spec))
        # The state of what runs by default the daemon makes itself, in the midst of a look: it must not be there before.
        if said is None or (own is None and runs_by_default(spec)):
            continue
        state = _state(spec, said.status, own.origin.repository_origin if own else repository, now)
        (instance.update_instigator_state if own is not None else instance.add_instigator_state)(state)
        instance.delete_instigator_state(said.instigator_origin_id, said.selector_id)
        yield f"{spec.key} is {said.status.value.lower()}, as {said.repository_selector.location_name}/{said.instigator_name} was"


def _state(
    spec: JobSpec, status: InstigatorStatus, repository: RemoteRepositoryOrigin, now: datetime
) -> InstigatorState:
    origin = RemoteInstigatorOrigin(repository, spec.schedule_name)
    started = now.timestamp() if status is InstigatorStatus.RUNNING else None
    if spec.cron is not None:
        data = ScheduleInstigatorData(spec.cron, started)
        return InstigatorState(origin, InstigatorType.SCHEDULE, status, data)
    interval = int(spec.interval.total_seconds()) if spec.interval else None
    sensor = SensorInstigatorData(min_interval=interval, last_sensor_start_timestamp=started)
    return InstigatorState(origin, InstigatorType.SENSOR, status, sensor)
