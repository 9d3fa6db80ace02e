"""Holds: a job that must not run for now, by whom and why. Each lifts itself, and no deployment does."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.web import audit, reading
from cath_dagster.web.console import Console
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


def release(
    connection: sa.Connection, principal: Principal, jobs: Sequence[tuple[str, str]], *, now: datetime
) -> list[tuple[str, str]]:
    """Lift holds; return the jobs that were held."""
    lifted = []
    for location, job in jobs:
        gone = sa.delete(job_hold).where(job_hold.c.location == location, job_hold.c.job == job)
        if connection.scalar(gone.returning(job_hold.c.until > now)):
            lifted.append((location, job))
            audit.append(connection, principal, Action.RELEASE, audit.Subject(location, job), result="released")
    return lifted


def all_locations(console: Console, principal: Principal, action: Action, location: str | None) -> list[str]:
    """Return one location or all; raise a `Problem` with 422 for an unknown one, with 403 for who may not do this in each.

    A hold for an incident that leaves a location out would be taken for one that does not.
    """
    if location not in {None, *console.locations}:
        raise unusable(f"there is no location {location!r}; there are {', '.join(console.locations)}")
    found = [each for each in console.locations if location in {None, each}]
    for each in found:
        console.require(principal, action, each)
    return found


def hold_all(
    console: Console, principal: Principal, location: str | None, *, reason: str, until: datetime
) -> list[tuple[str, str]]:
    """Hold every job of a location, or of all; return them."""
    locations = all_locations(console, principal, Action.HOLD, location)
    jobs = [(spec.location.name, spec.name) for spec in console.specs.values() if spec.location.name in locations]
    with console.engine.begin() as connection:
        hold(connection, principal, jobs, reason=reason, until=until, now=console.clock())
    return jobs


def release_all(console: Console, principal: Principal, location: str | None) -> list[tuple[str, str]]:
    """Lift every hold of a location, or of all, also of a job whose code is gone; return the jobs."""
    locations = all_locations(console, principal, Action.RELEASE, location)
    now = console.clock()
    with console.engine.begin() as connection:
        return release(connection, principal, sorted(reading.read_holds(connection, locations, now=now)), now=now)


def find_hold(connection: sa.Connection, location: str, job: str, *, now: datetime) -> Any:
    """Return the hold of a job, None for none that lasts."""
    query = sa.select(job_hold).where(job_hold.c.location == location, job_hold.c.job == job, job_hold.c.until > now)
    return connection.execute(query).one_or_none()
