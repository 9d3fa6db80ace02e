"""The code location `cloudmake`: ten jobs, seven of them with schedules in UTC."""

import dagster as dg

from cath_dagster.cloudmake import CLOUDMAKE, assets
from cath_dagster.core.run.spec import JobSpec, load_specs
from cath_dagster.orchestration.checks import build_checks
from cath_dagster.orchestration.console import LOGGERS
from cath_dagster.orchestration.job_sensors import build_job_sensors
from cath_dagster.orchestration.jobs import EXECUTOR, Job, build_op_job, build_step_job
from cath_dagster.orchestration.measured import build_measured_assets, build_measured_job
from cath_dagster.orchestration.schedules import build_schedules

SPECS = load_specs(CLOUDMAKE)
MADE = {spec.name: build_measured_assets(spec, assets.made_by(spec)) for spec in SPECS if spec.is_asset}


def _build(spec: JobSpec) -> Job:
    if spec.name in MADE:
        return build_measured_job(spec, MADE[spec.name])
    return build_step_job(spec) if spec.steps else build_op_job(spec)


JOBS = [(spec, _build(spec)) for spec in SPECS]

defs = dg.Definitions(
    assets=[*assets.TABLE_SPECS, *MADE.values()],
    asset_checks=build_checks(SPECS),
    jobs=[job for _, job in JOBS],
    schedules=build_schedules(JOBS),
    sensors=build_job_sensors(JOBS),
    executor=EXECUTOR,
    loggers=LOGGERS,
)
