"""Whether somebody holds a job: what the console wrote down, asked of the database in which the instance keeps its runs."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import sqlalchemy as sa

from cath_dagster.core.history.tables import SCHEMA
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.instance_url import postgres_url

_HOLDS = sa.table(
    "job_hold", *(sa.column(name) for name in ("location", "job", "reason", "held_by", "until")), schema=SCHEMA
)
_THERE = sa.select(sa.func.to_regclass(f"{SCHEMA}.job_hold"))


def why_held(instance: dg.DagsterInstance, spec: JobSpec) -> str | None:
    """Return why a job is not to run for now, None where nobody holds it."""
    if postgres_url(instance) is None:
        return None
    storage: Any = instance.run_storage
    query = sa.select(_HOLDS).where(
        _HOLDS.c.location == spec.location.name, _HOLDS.c.job == spec.name, _HOLDS.c.until > datetime.now(UTC)
    )
    with storage.connect() as connection:
        # An instance that no console was ever started for has no such table.
        held = connection.execute(query).one_or_none() if connection.scalar(_THERE) is not None else None
    if held is None:
        return None
    return f"{spec.key} is held by {held.held_by} until {held.until.isoformat(timespec='minutes')}: {held.reason}"
