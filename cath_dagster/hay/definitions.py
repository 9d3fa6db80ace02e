"""The code location `hay`: eleven jobs, the daily analytics as an asset, and what the jobs judge as checks; all in UTC."""

import dagster as dg

from cath_dagster.core.run.spec import load_specs
from cath_dagster.hay import HAY, assets
from cath_dagster.orchestration.checks import build_checks
from cath_dagster.orchestration.console import LOGGERS
from cath_dagster.orchestration.job_sensors import build_job_sensors
from cath_dagster.orchestration.jobs import EXECUTOR, build_asset_job, build_op_job
from cath_dagster.orchestration.schedules import build_schedule, build_schedules

SPECS = {spec.name: spec for spec in load_specs(HAY)}
ANALYTICS = SPECS["generate_daily_analytics"]

analytics_job = build_asset_job(ANALYTICS, assets.daily_analytics)
op_jobs = [(spec, build_op_job(spec)) for spec in SPECS.values() if not spec.is_asset]

defs = dg.Definitions(
    assets=[*assets.TABLE_SPECS, assets.daily_analytics],
    asset_checks=build_checks(SPECS.values()),
    jobs=[analytics_job, *(job for _, job in op_jobs)],
    schedules=[
        build_schedule(ANALYTICS, analytics_job, asset_keys=[assets.ANALYTICS_KEY], requests=assets.last_days),
        *build_schedules(op_jobs),
    ],
    sensors=build_job_sensors([*op_jobs, (ANALYTICS, analytics_job)]),
    executor=EXECUTOR,
    loggers=LOGGERS,
)
