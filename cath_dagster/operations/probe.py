"""Look at the instance from outside, as a probe does that must not rely on what it probes."""

from datetime import datetime

from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import open_backends
from cath_dagster.core.errors import DatabaseUnavailableError
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.postgres.database import translate
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.alerts import read_alert_settings


def look(now: datetime) -> list[Finding]:
    """Return every finding; a storage that cannot be reached is one."""
    # The orchestrator takes most of a second to load, which no other command should wait for.
    from cath_dagster.operations.backends import InstanceBackends
    from cath_dagster.operations.health import look_from_outside

    backends = open_backends(OPERATIONS)
    if not isinstance(backends, InstanceBackends):
        raise TypeError(f"the backends of {OPERATIONS.name} are {type(backends).__name__}")
    try:
        settings = read_alert_settings(backends.environ)
        with backends.database("health") as database:
            return list(look_from_outside(backends.instance, database, settings, now))
    except DBAPIError as error:
        return [_unreachable(str(translate(error)))]
    except DatabaseUnavailableError as error:
        return [_unreachable(str(error))]


def acknowledge(now: datetime) -> int:
    """Settle the messages that were given up; return how many that were."""
    from cath_dagster.operations.store import AlertStore

    try:
        with open_backends(OPERATIONS).database("health") as database:
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
