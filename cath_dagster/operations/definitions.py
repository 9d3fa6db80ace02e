"""The code location `operations`: sensors that watch over every location, and the jobs that look after the instance."""

import dagster as dg

from cath_dagster.core.run.spec import load_specs
from cath_dagster.operations import OPERATIONS, OWNER
from cath_dagster.operations.sensors import build_sensors
from cath_dagster.orchestration.console import LOGGERS
from cath_dagster.orchestration.job_sensors import build_job_sensors
from cath_dagster.orchestration.jobs import EXECUTOR, build_op_job
from cath_dagster.orchestration.runs import ledger_spec
from cath_dagster.orchestration.schedules import build_schedules

JOBS = [(spec, build_op_job(spec)) for spec in load_specs(OPERATIONS)]
TABLES = [
    dg.AssetSpec(
        [OPERATIONS.name, table],
        owners=[OWNER],
        kinds={"table"},
        description=f"Dagster's own table {table}, as the clean-up of the instance leaves it.",
    )
    for spec, _ in JOBS
    for table in spec.targets
]

defs = dg.Definitions(
    assets=[*TABLES, ledger_spec(OPERATIONS, OWNER)],
    jobs=[job for _, job in JOBS],
    schedules=build_schedules(JOBS),
    sensors=[*build_sensors(), *build_job_sensors(JOBS)],
    executor=EXECUTOR,
    loggers=LOGGERS,
)
