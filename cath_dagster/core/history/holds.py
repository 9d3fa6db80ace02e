"""Holds of jobs, which the console writes: whoever asks for a run asks here first."""

from datetime import datetime

import sqlalchemy as sa

from cath_dagster.core.history.tables import SCHEMA

job_hold = sa.table(
    "job_hold",
    *(sa.column(name, sa.Text) for name in ("location", "job", "reason", "held_by")),
    sa.column("until", sa.DateTime(timezone=True)),
    schema=SCHEMA,
)
_THERE = sa.select(sa.func.to_regclass(f"{SCHEMA}.job_hold"))


def why_held(connection: sa.Connection, location: str, job: str, *, now: datetime) -> str | None:
    """Return why a job is not to run for now, None where nobody holds it."""
    query = sa.select(job_hold).where(job_hold.c.location == location, job_hold.c.job == job, job_hold.c.until > now)
    # An instance that no console was ever started for has no such table.
    held = connection.execute(query).one_or_none() if connection.scalar(_THERE) is not None else None
    if held is None:
        return None
    return f"{location}/{job} is held by {held.held_by} until {held.until.isoformat(timespec='minutes')}: {held.reason}"
