"""Whether ticks do anything: by the deployment as a whole, and by the word of each code location."""

import dagster as dg

from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.ports.orchestrator import WITHHELD
from cath_dagster.core.run.spec import JobSpec

ENABLED = "SCHEDULER_ENABLED"
OFF = f"{ENABLED} is false: no schedule and no sensor does anything; what was started and stopped stays so"
WORDS = {"true": True, "false": False}
STANDBY = "standby"
SCHEDULES = {
    "running": dg.DefaultScheduleStatus.RUNNING,
    "stopped": dg.DefaultScheduleStatus.STOPPED,
    STANDBY: dg.DefaultScheduleStatus.STOPPED,
}
"""The values of `<LOCATION>_SCHEDULES`, and whether schedules then run from the start."""


def why_stopped(location: CodeLocation) -> str | None:
    """Return why a tick of a location does nothing, None where it may."""
    if not is_scheduling():
        return OFF
    if schedules_word(location) == STANDBY:
        return f"{schedules_variable(location)} is {STANDBY}: another cluster runs the schedules"
    return None


def is_scheduling() -> bool:
    """Return whether schedules and sensors do anything: not where `SCHEDULER_ENABLED` is false.

    Raises `ConfigurationError` for another word: what runs because of a typing error would delete.
    """
    value = MountedEnvironment().get(ENABLED) or "true"
    if value.lower() not in WORDS:
        raise ConfigurationError(f"{ENABLED} is {value!r}; it may be {', '.join(WORDS)}")
    return WORDS[value.lower()]


def default_status(location: CodeLocation) -> dg.DefaultScheduleStatus:
    """Return whether schedules run from the start.

    `<LOCATION>_SCHEDULES=stopped` says no, until somebody starts them; `standby` says no whoever starts them. Raises
    `ConfigurationError` for another word: schedules that run because of a typing error would delete.
    """
    return SCHEDULES[schedules_word(location)]


def runs_by_default(spec: JobSpec) -> bool:
    """Return whether a job's schedule or sensor runs until somebody says otherwise."""
    return spec.enabled and not withheld(spec) and default_status(spec.location) is dg.DefaultScheduleStatus.RUNNING


def withheld(spec: JobSpec) -> dict[str, str]:
    """Return the metadata by which a schedule or sensor says that it may not be started yet, none where it may."""
    missing = spec.missing_consent(MountedEnvironment())
    return {WITHHELD: missing} if missing else {}


def sensor_status(location: CodeLocation, *, enabled: bool = True) -> dg.DefaultSensorStatus:
    """Return whether a sensor runs from the start, as the location's schedules do."""
    runs = enabled and default_status(location) is dg.DefaultScheduleStatus.RUNNING
    return dg.DefaultSensorStatus.RUNNING if runs else dg.DefaultSensorStatus.STOPPED


def schedules_word(location: CodeLocation) -> str:
    """Return the value of `<LOCATION>_SCHEDULES`, `running` unless set."""
    variable = schedules_variable(location)
    value = MountedEnvironment().get(variable) or "running"
    if value not in SCHEDULES:
        raise ConfigurationError(f"{variable} is {value!r}; it may be {', '.join(SCHEDULES)}")
    return value


def schedules_variable(location: CodeLocation) -> str:
    """Return the name of the variable that says whether a location's schedules run."""
    return f"{location.prefix}_SCHEDULES"
