"""Look at the instance from outside, as a probe does that must not rely on what it probes."""

from datetime import datetime

from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import open_resources
from cath_dagster.core.errors import DatabaseUnavailableError
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.postgres.database import translate
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.alerts import read_alert_settings


def look(now: datetime) -> list[Finding]:
    """Return every finding; a storage that cannot be reached is one."""
    # The orchestrator takes most of a second to load, which no other command should wait for.
    from cath_dagster.operations.health import look_from_outside
    from cath_dagster.operations.resources import InstanceResources

    resources = open_resources(OPERATIONS)
    if not isinstance(resources, InstanceResources):
        raise TypeError(f"the resources of {OPERATIONS.name} are {type(resources).__name__}")
    try:
        settings = read_alert_settings(resources.environ)
        with resources.database("health") as database:
            return list(look_from_outside(resources.instance, database, settings, now))
    except DBAPIError as error:
        return [_unreachable(str(translate(error)))]
    except DatabaseUnavailableError as error:
        return [_unreachable(str(error))]


def acknowledge(now: datetime) -> int:
    """Settle the messages that were given up; return how many that were."""
    from cath_dagster.operations.store import AlertStore

    try:
        with open_resources(OPERATIONS).database("health") as database:
            return AlertStore(database).acknowledge(now=now)
    except DBAPIError as error:
        raise translate(error) from None


def _unreachable(says: str) -> Finding:
    return Finding(
        subject="storage",
        level=Level.PROBLEM,
        message=says,
        remedy="no schedule ticks and no run starts without it: start the database, or set DAGSTER_POSTGRES_URL",
    )
