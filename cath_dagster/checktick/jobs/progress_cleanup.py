"""Delete the answers that people began and left, once they have expired."""

from datetime import timedelta

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.checktick import CHECKTICK, OWNER
from cath_dagster.checktick.console_report import report_progress
from cath_dagster.checktick.tables import progress
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec


class ProgressCleanupSettings(PurgeSettings):
    """Progress says itself when it expires: 30 days after it was last opened."""

    untouched_days: int | None = Field(
        default=None,
        ge=0,
        le=36_500,
        description="Also delete progress of which nothing was saved for more than so many days, though it was opened since "
        "and has not expired; the service's own command uses 90. Unset: only what has expired.",
    )


def progress_cleanup(run: JobRun, settings: ProgressCleanupSettings) -> None:
    """Delete every progress that expired strictly before the reference time."""
    (planned,) = run.plan(*purges(run, settings))
    run.purge(planned)


def purges(planning: Planning, settings: ProgressCleanupSettings) -> list[Purge]:
    """Return the purge of the expired progress."""
    is_expired = progress.c.expires_at < planning.as_of
    rule = "progress that has expired"
    if settings.untouched_days is not None:
        untouched = progress.c.updated_at < planning.as_of - timedelta(days=settings.untouched_days)
        is_expired = sa.or_(is_expired, untouched)
        rule = f"{rule}, or was not saved for over {settings.untouched_days} days"
    return [Purge(table=progress, rule=rule, predicate=is_expired, cutoff=planning.as_of, age=progress.c.expires_at)]


SPEC = JobSpec(
    location=CHECKTICK,
    name="progress_cleanup",
    schedule=Cron("0 3 * * *"),
    owner=OWNER,
    summary="Deletes answers that people began and did not submit, 30 days after they last opened them.",
    description=(
        "Deletes rows of surveys_surveyprogress whose expires_at has passed, of known and anonymous respondents alike. "
        "Submitted responses are not touched. Deleted progress cannot be brought back; whoever returns starts anew."
    ),
    settings=ProgressCleanupSettings,
    run=progress_cleanup,
    database=DatabaseWork(
        targets=("surveys_surveyprogress",),
        purges=purges,
        privileges={"surveys_surveyprogress": ("SELECT", "DELETE")},
        age_columns={"surveys_surveyprogress": "expires_at"},
    ),
    console_report=report_progress,
)
