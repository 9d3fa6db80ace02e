"""Purge sessions that have expired; the service accepts none of them any more."""

from cath_dagster.bon import BON, OWNER
from cath_dagster.bon.tables import sessions
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec


def session_cleanup(run: JobRun, settings: PurgeSettings) -> None:
    """Purge the sessions that expired before the reference time."""
    for planned in run.plan(*purges(run, settings)):
        run.purge(planned)


def purges(planning: Planning, settings: PurgeSettings) -> list[Purge]:
    """Return the purge of expired sessions."""
    del settings
    return [
        Purge(
            table=sessions,
            rule="sessions that have expired",
            predicate=sessions.c.expires_at < planning.as_of,
            cutoff=planning.as_of,
            age=sessions.c.expires_at,
        )
    ]


SPEC = JobSpec(
    location=BON,
    name="session_cleanup",
    schedule=Cron("0 4 * * *"),
    owner=OWNER,
    summary="Purges sessions that have expired.",
    description=(
        "Deletes rows of sessions whose expires_at has passed. The service accepts none of them any more, so nobody is "
        "logged out. They cannot be brought back, unless undo_days is set."
    ),
    settings=PurgeSettings,
    run=session_cleanup,
    database=DatabaseWork(
        targets=("sessions",),
        purges=purges,
        privileges={"sessions": ("SELECT", "DELETE")},
        age_columns={"sessions": "expires_at"},
    ),
)
