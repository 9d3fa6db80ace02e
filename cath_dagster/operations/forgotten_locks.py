"""Find locks of jobs that nobody holds any more: the session lives, the run it worked for does not."""

import re
from collections.abc import Iterator
from datetime import datetime

import dagster as dg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.environment import open_backends
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.postgres.database import translate
from cath_dagster.operations.health import SLACK
from cath_dagster.registry import all_specs, locations

HOLDER = re.compile(r"^(?P<job>\w+):(?P<run>[0-9a-f-]{36})$")
"""How a run names its session."""
LOCKS = sa.text(
    """
    SELECT DISTINCT session.pid, session.application_name, session.backend_start
    FROM pg_locks AS held JOIN pg_stat_activity AS session USING (pid)
    WHERE held.locktype = 'advisory' AND held.granted
      AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
)


def find_forgotten_locks(instance: dg.DagsterInstance, now: datetime) -> Iterator[Finding]:
    """Yield what there is to say of each location's database that this process can reach.

    Any role that may connect sees them. A database whose variable is not set here is not looked at.
    """
    for location in locations():
        backends = open_backends(location, instance)
        if not backends.is_configured:
            yield Finding(
                subject=f"locks {location.name}",
                level=Level.OK,
                message=f"not looked at: {location.prefix}_DATABASE_URL is not set here",
            )
            continue
        try:
            with backends.disposed_engine("self_check") as engine, engine.connect() as connection:
                sessions = connection.execute(LOCKS).all()
        except (MaintenanceError, DBAPIError) as error:
            says = str(translate(error) if isinstance(error, DBAPIError) else error)
            yield Finding(subject=f"locks {location.name}", level=Level.PROBLEM, message=says)
            continue
        forgotten = [found for found in (_judge(instance, location, now, *one) for one in sessions) if found]
        yield from forgotten or [Finding(subject=f"locks {location.name}", level=Level.OK, message="none is forgotten")]


def _judge(
    instance: dg.DagsterInstance, location: CodeLocation, now: datetime, pid: int, holder: str, started_at: datetime
) -> Finding | None:
    """Return what is wrong with the holder of a lock.

    A run that Dagster does not know may be one of our own command line, for as long as its job may take.
    """
    named = HOLDER.match(holder)
    if named is None:
        return None
    run = instance.get_run_by_id(named["run"])
    limits = {spec.name: spec.timeout for spec in all_specs() if spec.location.name == location.name}
    if run is not None and not run.is_finished:
        return None
    if run is None and now - started_at <= limits.get(named["job"], SLACK) + SLACK:
        return None
    of = f"run {named['run']} of {named['job']}"
    why = f"{of}, which is {run.status.value.lower()}" if run is not None else f"{of}, which Dagster does not know"
    return Finding(
        subject=f"locks {location.name}",
        level=Level.PROBLEM,
        message=f"session {pid} holds the lock of {why}",
        remedy=f"SELECT pg_terminate_backend({pid});",
    )
