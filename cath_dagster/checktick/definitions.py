"""The code location `checktick`: data governance in three ops, the progress clean-up, and the report on retention."""

import dagster as dg

from cath_dagster.checktick import CHECKTICK, assets
from cath_dagster.core.run.spec import load_specs
from cath_dagster.orchestration.console import LOGGERS
from cath_dagster.orchestration.job_sensors import build_job_sensors
from cath_dagster.orchestration.jobs import EXECUTOR, build_op_job, build_step_job
from cath_dagster.orchestration.schedules import build_schedules

JOBS = [
    (spec, build_step_job(spec, afterwards=assets.report_after_run) if spec.steps else build_op_job(spec))
    for spec in load_specs(CHECKTICK)
]

defs = dg.Definitions(
    assets=[*assets.TABLE_SPECS, assets.retention_report],
    asset_checks=[assets.retention_checks],
    jobs=[job for _, job in JOBS],
    schedules=build_schedules(JOBS),
    sensors=build_job_sensors(JOBS),
    executor=EXECUTOR,
    loggers=LOGGERS,
)
