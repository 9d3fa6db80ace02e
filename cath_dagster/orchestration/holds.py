"""Whether somebody holds a job: what the console wrote down, asked of the database in which the instance keeps its runs."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from cath_dagster.core.history import holds
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.instance_url import postgres_url


def why_held(instance: dg.DagsterInstance, spec: JobSpec) -> str | None:
    """Return why a job is not to run for now, None where nobody holds it."""
    if postgres_url(instance) is None:
        return None
    storage: Any = instance.run_storage
    with storage.connect() as connection:
        return holds.why_held(connection, spec.location.name, spec.name, now=datetime.now(UTC))
