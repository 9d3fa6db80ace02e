"""The registry of jobs as the monitor leaves it in an instance."""

from datetime import datetime

from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations.scheduler.registration import mirror
from cath_dagster.orchestration.internals.instigators import InstigatorState
from cath_dagster.orchestration.states import read_states
from cath_dagster.registry import all_specs
from tests.operations.instance import NOW, Instance


def states(instance: Instance) -> dict[tuple[str, str], InstigatorState]:
    """Return what the instance keeps of schedules and sensors, by location and name."""
    return read_states(instance.dagster)


def registered(instance: Instance, database: Database, *specs: JobSpec, now: datetime = NOW) -> None:
    """Have jobs registered, all of them unless some are named, as the monitor does."""
    database.transaction(lambda connection: mirror(connection, specs or all_specs(), states(instance), now=now))
