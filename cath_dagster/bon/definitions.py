"""The code location `bon`: four jobs with their schedules, in Israel's time."""

import dagster as dg

from cath_dagster.bon import BON, assets
from cath_dagster.core.run.spec import load_specs
from cath_dagster.orchestration.console import LOGGERS
from cath_dagster.orchestration.job_sensors import build_job_sensors
from cath_dagster.orchestration.jobs import EXECUTOR, build_op_job
from cath_dagster.orchestration.schedules import build_schedules

JOBS = [(spec, build_op_job(spec)) for spec in load_specs(BON)]

defs = dg.Definitions(
    assets=assets.TABLE_SPECS,
    jobs=[job for _, job in JOBS],
    schedules=build_schedules(JOBS),
    sensors=build_job_sensors(JOBS),
    executor=EXECUTOR,
    loggers=LOGGERS,
)
