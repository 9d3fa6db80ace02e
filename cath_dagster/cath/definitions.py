"""The code location `cath`: seven jobs, seven schedules, the report and the views as assets."""

import dagster as dg

from cath_dagster.cath import CATH, assets
from cath_dagster.core.run.spec import load_specs
from cath_dagster.orchestration.console import LOGGERS
from cath_dagster.orchestration.job_sensors import build_job_sensors
from cath_dagster.orchestration.jobs import EXECUTOR, build_asset_job, build_op_job
from cath_dagster.orchestration.schedules import build_schedule, build_schedules, missing_partitions

SPECS = {spec.name: spec for spec in load_specs(CATH)}
REPORT, VIEWS = SPECS["media_reporting"], SPECS["refresh_views"]

report_job = build_asset_job(REPORT, assets.media_application_report)
views_job = build_asset_job(VIEWS, assets.reporting_views)
op_jobs = [(spec, build_op_job(spec)) for spec in SPECS.values() if not spec.is_asset]

defs = dg.Definitions(
    assets=[*assets.TABLE_SPECS, assets.media_application_report, assets.reporting_views],
    asset_checks=[assets.views_verified, assets.no_missing_weeks],
    jobs=[report_job, views_job, *(job for _, job in op_jobs)],
    schedules=[
        build_schedule(
            REPORT,
            report_job,
            asset_keys=[assets.REPORT_KEY],
            requests=missing_partitions(assets.REPORT_KEY, assets.WEEKS),
        ),
        build_schedule(VIEWS, views_job, asset_keys=list(assets.VIEW_KEYS.values())),
        *build_schedules(op_jobs),
    ],
    sensors=build_job_sensors([(REPORT, report_job), (VIEWS, views_job), *op_jobs]),
    executor=EXECUTOR,
    loggers=LOGGERS,
)
