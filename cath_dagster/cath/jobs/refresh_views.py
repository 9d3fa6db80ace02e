"""Keep the four reporting views level with their sources."""

from datetime import timedelta

from cath_dagster.cath import CATH, OWNER
from cath_dagster.cath.views import VIEWS
from cath_dagster.core.errors import DatabaseLostError, DatabaseStatementError, DatabaseUnavailableError
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.maintenance.view import View
from cath_dagster.core.maintenance.views import refresh
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.postgres.blockers import find_lock_holders
from cath_dagster.core.postgres.database import TimedOutError
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec


class RefreshViewsSettings(JobSettings):
    """None: every view is compared with its source and refreshed where it differs."""


def refresh_views(run: JobRun, settings: RefreshViewsSettings) -> None:
    """Refresh the selected views, each in a transaction of its own; one that fails does not stop the others.

    One that is locked is tried once more when the others are done.
    """
    del settings
    selected = [view for view in VIEWS if run.request.selection is None or view.name in run.request.selection]
    locked = [view for view in selected if not _refresh(run, view, is_last=False)]
    run.reporter.progress("views", len(selected) - len(locked), len(selected))
    for view in locked:
        _refresh(run, view, is_last=True)
        run.reporter.progress("views", len(selected), len(selected))
    if not run.dry_run:
        run.database.flush()


def _refresh(run: JobRun, view: View, *, is_last: bool) -> bool:
    """Refresh a view and record how it went; return whether that is so, and False for one to be tried again."""
    started = run.clock()
    try:
        outcome = refresh(run.database, view, dry_run=run.dry_run)
    except DatabaseLostError:
        raise
    except TimedOutError as error:
        if not is_last:
            run.reporter.info(f"{view.name}: {error.reason}, tried again after the others")
            return False
        run.record(Outcome(target=view.name, matched=1, failed=1))
        run.fail(f"{view.name} could not be refreshed: {_who_holds(run, view, error.reason)}")
    except (DatabaseStatementError, DatabaseUnavailableError) as error:
        run.record(Outcome(target=view.name, matched=1, failed=1))
        run.fail(f"{view.name} could not be refreshed: {error}")
    else:
        seconds = run.clock() - started
        run.record(outcome.timed(seconds))
        action = "refreshed" if outcome.updated else "due" if outcome.matched else "level with its source"
        run.reporter.info(f"{view.name}: {action} in {seconds:.2f} s")
    return True


def _who_holds(run: JobRun, view: View, reason: str) -> str:
    relations = [view.relation, *(f'{schema}."{name}"' for schema in ("public", SCHEMA) for name in view.sources)]
    holders = run.database.transaction(lambda connection: find_lock_holders(connection, relations))
    by_whom = f"; {', '.join(holders)}: end it, and run again" if holders else ", and nobody is in the way any more"
    return f"{reason}, twice{by_whom}"


SPEC = JobSpec(
    location=CATH,
    name="refresh_views",
    schedule=Cron("0 2 * * *"),
    owner=OWNER,
    summary="Refreshes the four sdp_mat_view_* reporting views, without locking out their readers.",
    description=(
        "Refreshes maintenance.sdp_mat_view_artefact, _location, _pi_user and _subscription CONCURRENTLY. A view "
        "that equals its source is only verified; one that is missing, or is not what this release wants, is made anew "
        "with its grants. Views stand in the way of the service's own migrations of the columns they read, which "
        "cath-dagster doctor names: drop the views before (cath-dagster views drop), the next run makes them again."
    ),
    settings=RefreshViewsSettings,
    run=refresh_views,
    timeout=timedelta(hours=1),
    is_asset=True,
    database=DatabaseWork(
        targets=tuple(view.name for view in VIEWS),
        privileges={
            "artefact": ("SELECT",),
            "location": ("SELECT",),
            "user": ("SELECT",),
            "subscription": ("SELECT",),
            "maintenance": ("CREATE",),
            "maintenance.artefact_archive": ("SELECT",),
        },
        needs_every_table=False,
    ),
)
