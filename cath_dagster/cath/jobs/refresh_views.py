"""Keep the four reporting views level with their sources."""

from datetime import timedelta

from cath_dagster.cath import LOCATION, OWNER
from cath_dagster.cath.views import VIEWS
from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.job_run import JobRun
from cath_dagster.core.outcome import Outcome
from cath_dagster.core.settings import JobSettings
from cath_dagster.core.spec import JobSpec
from cath_dagster.core.views import refresh


class RefreshViewsSettings(JobSettings):
    """None: every view is compared with its source and refreshed where it differs."""


def refresh_views(run: JobRun, settings: RefreshViewsSettings) -> None:
    """Refresh the selected views, each in a transaction of its own; one that fails does not stop the others."""
    del settings
    selected = [view for view in VIEWS if run.selection is None or view.name in run.selection]
    for position, view in enumerate(selected, start=1):
        started = run.clock()
        try:
            outcome = refresh(run.database, view, dry_run=run.dry_run)
        except DatabaseStatementError as error:
            run.record(Outcome(target=view.name, matched=1, failed=1))
            run.fail(f"{view.name} could not be refreshed: {error}")
            continue
        seconds = run.clock() - started
        run.record(outcome.timed(seconds))
        action = "refreshed" if outcome.updated else "due" if outcome.matched else "level with its source"
        run.reporter.info(f"{view.name}: {action} in {seconds:.2f} s")
        run.reporter.progress("views", position, len(selected))


SPEC = JobSpec(
    location=LOCATION,
    name="refresh_views",
    cron="0 2 * * *",
    owner=OWNER,
    summary="Refreshes the four sdp_mat_view_* reporting views, without locking out their readers.",
    description=(
        "Refreshes maintenance.sdp_mat_view_artefact, _location, _pi_user and _subscription CONCURRENTLY. A view "
        "that equals its source is only verified; a missing view is created. Drop the views before the service's "
        "own migrations (cath-dagster views drop), the next run creates them again."
    ),
    settings=RefreshViewsSettings,
    run=refresh_views,
    tables=tuple(view.name for view in VIEWS),
    max_runtime=timedelta(hours=1),
    is_asset=True,
    needs_every_table=False,
    privileges={
        "artefact": ("SELECT",),
        "location": ("SELECT",),
        "user": ("SELECT",),
        "subscription": ("SELECT",),
        "maintenance": ("CREATE",),
        "maintenance.artefact_archive": ("SELECT",),
    },
)
