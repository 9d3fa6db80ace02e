"""What is watched over: the jobs and schedules of every code location of this version."""

from functools import cache

from cath_dagster.core.run.spec import JobSpec, load_specs
from cath_dagster.locations import LOCATIONS  # the only upward import: whoever watches over all must know all
from cath_dagster.operations import OPERATIONS

SENSORS = {
    OPERATIONS.name: frozenset(
        {"failed_runs", "failed_ticks", "missed_schedules", "failed_checks", "purges_behind", "deliver_alerts"}
    )
}
"""The sensors of each location that has some."""


@cache
def all_specs() -> tuple[JobSpec, ...]:
    """Return every job of every location."""
    return tuple(spec for location in LOCATIONS for spec in load_specs(location))


def spec_of(key: str) -> JobSpec | None:
    """Return the job of a queue key, `<location>/<job>`; None for one that is not ours."""
    return next((spec for spec in all_specs() if spec.key == key), None)
