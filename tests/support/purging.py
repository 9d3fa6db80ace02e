"""A job that purges a table of the tests' own, run as any job is."""

import uuid
from collections.abc import Callable
from typing import Any

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cath import CATH
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings, PurgeSettings
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from tests.support.service import Service


def spec_of(*purges: Purge) -> JobSpec:
    """Return the specification of a job that makes these purges."""
    tables = tuple(dict.fromkeys(purge.table.name for purge in purges))
    return JobSpec(
        location=CATH,
        name="tidy",
        schedule=Cron("0 1 * * *"),
        owner="team:test",
        summary="Tidies.",
        description="Tidies.",
        settings=PurgeSettings,
        run=_purging(purges),
        database=DatabaseWork(
            targets=tables,
            purges=lambda planning, settings: list(purges),
            privileges=dict.fromkeys(tables, ("SELECT", "DELETE")),
        ),
    )


def _purging(purges: tuple[Purge, ...]) -> Callable[[JobRun, JobSettings], None]:
    def work(run: JobRun, settings: JobSettings) -> None:
        del settings
        for planned in run.plan(*purges):
            run.purge(planned)

    return work


def tidy(service: Service, *purges: Purge, url: str | None = None, **config: Any) -> RunResult:
    """Run such a job."""
    return execute(
        spec_of(*purges),
        {"as_of": service.as_of, **config},
        run_id=str(uuid.uuid4()),
        now=service.as_of,
        backends=EnvironmentBackends("CATH", {**service.environ, "CATH_DATABASE_URL": url or service.url}),
        reporter=service.reporter,
    )
