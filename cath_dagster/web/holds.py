"""Holds: a job that must not run for now, by whom and why. Each lifts itself, and no deployment does."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.web import audit
from cath_dagster.web.problems import unusable
from cath_dagster.web.rights import Action, Principal
from cath_dagster.web.tables import job_hold

LONGEST = timedelta(days=90)
"""A job that should stand still for longer is one to disable."""


def hold(
    connection: sa.Connection,
    principal: Principal,
    jobs: Sequence[tuple[str, str]],
    *,
    reason: str,
    until: datetime,
    now: datetime,
) -> None:
    """Hold jobs; a hold that there is already gets the new reason and end."""
    if not now < until <= now + LONGEST:
        raise unusable(f"until is {until.isoformat()}; a hold ends in the future, and within {LONGEST.days} days")
    for location, job in jobs:
        values = {"reason": reason, "held_by": principal.actor, "held_at": now, "until": until}
        statement = insert(job_hold).values(location=location, job=job, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["location", "job"], set_=values))
        told = {"until": until.isoformat()}
        audit.append(
            connection,
            principal,
            Action.HOLD,
            audit.Subject(location, job),
            reason=reason,
            parameters=told,
            result="held",
        )


def release(connection: sa.Connection, principal: Principal, jobs: Sequence[tuple[str, str]], *, now: datetime) -> int:
    """Lift holds; return how many there were."""
    lifted = 0
    for location, job in jobs:
        gone = sa.delete(job_hold).where(job_hold.c.location == location, job_hold.c.job == job)
        if connection.scalar(gone.returning(job_hold.c.until > now)):
            lifted += 1
            audit.append(connection, principal, Action.RELEASE, audit.Subject(location, job), result="released")
    return lifted


def find_hold(connection: sa.Connection, location: str, job: str, *, now: datetime) -> Any:
    """Return the hold of a job, None for none that lasts."""
    query = sa.select(job_hold).where(job_hold.c.location == location, job_hold.c.job == job, job_hold.c.until > now)
    return connection.execute(query).one_or_none()
