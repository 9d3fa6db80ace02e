"""Sensors from specifications: an interval, a run, and none while another goes on or where nothing is due."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import dagster as dg

from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.core.run.due import Moment, is_due
from cath_dagster.core.run.spec import JobSpec, SpecificationError
from cath_dagster.orchestration.jobs import Job
from cath_dagster.orchestration.location_sensors import build_location_sensors
from cath_dagster.orchestration.schedules import why_skipped
from cath_dagster.orchestration.stopped import runs_by_default, sensor_status, withheld
from cath_dagster.registry import check_dependencies

NOTHING_DUE = "nothing is due"
"""The reason of a tick that found nothing to do, which is no event: the history leaves it out."""


def build_job_sensors(jobs: Iterable[tuple[JobSpec, Job]]) -> list[dg.SensorDefinition]:
    """Return the sensor of each job that runs at an interval, and those that a location has for all its jobs.

    Raises `SpecificationError` where a job comes after one that is not there, or after itself.
    """
    jobs = list(jobs)
    check_dependencies([spec for spec, _ in jobs])
    at_intervals = [build_interval_sensor(spec, job) for spec, job in jobs if spec.interval is not None]
    return [*at_intervals, *build_location_sensors(jobs)]


def build_interval_sensor(spec: JobSpec, job: Job, *, asset_keys: Sequence[dg.AssetKey] = ()) -> dg.SensorDefinition:
    """Return the sensor of a job that runs at an interval; after a pause it asks for one run, however long that was.

    Raises `SpecificationError` for a job that runs at none.
    """
    if spec.interval is None:
        raise SpecificationError(f"{spec.key} has no interval: {spec.schedule_text}")

    def evaluate(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if skipped := why_skipped(context.instance, spec, asset_keys):
            return dg.SkipReason(skipped)
        # Whole seconds: the clock of the machine that runs it may be a little behind, and refuses a future instant.
        now = datetime.now(UTC).replace(microsecond=0)
        if not _is_due(spec, context.instance, now):
            return dg.SkipReason(NOTHING_DUE)
        return dg.RunRequest(run_config={"as_of": now.isoformat()})

    return dg.SensorDefinition(
        name=spec.schedule_name,
        evaluation_fn=evaluate,
        job=job,
        minimum_interval_seconds=int(spec.interval.total_seconds()),
        default_status=sensor_status(spec.location, enabled=runs_by_default(spec)),
        description=f"{spec.schedule_text.capitalize()}: {spec.summary}",
        metadata=withheld(spec),
    )


def _is_due(spec: JobSpec, instance: dg.DagsterInstance, now: datetime) -> bool:
    if spec.database is None or spec.database.is_due is None:
        return True
    with open_backends(spec.location, instance).database(f"{spec.name}:due") as database:
        return is_due(spec, database, Moment(now, MountedEnvironment()))
