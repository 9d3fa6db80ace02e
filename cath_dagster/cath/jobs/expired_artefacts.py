"""Archive the metadata of artefacts no longer displayed, delete them and their files."""

from cath_dagster.cath import CATH, OWNER
from cath_dagster.cath.artefacts import removal
from cath_dagster.cath.tables import artefact
from cath_dagster.core.instants import naive_utc
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec


class ExpiredArtefactsSettings(PurgeSettings):
    """No period: an artefact says itself how long it is displayed."""


def expired_artefacts(run: JobRun, settings: ExpiredArtefactsSettings) -> None:
    """Remove every artefact whose display ended strictly before the reference time, no-match ones included."""
    (planned,) = run.plan(*purges(run, settings))
    run.purge(planned)
    run.drain_files()


def purges(planning: Planning, settings: ExpiredArtefactsSettings) -> list[Purge]:
    """Return the purge of the artefacts no longer displayed."""
    del settings
    return [
        removal(
            rule="artefacts whose display has ended",
            predicate=artefact.c.display_to < naive_utc(planning.as_of),
            cutoff=planning.as_of,
            run_id=planning.run_id,
        )
    ]


SPEC = JobSpec(
    location=CATH,
    name="expired_artefacts",
    schedule=Cron("0 1 * * *"),
    owner=OWNER,
    summary="Archives the metadata of artefacts whose display has ended, deletes the rows and their files.",
    description=(
        "Deletes artefacts with display_to in the past, no-match ones included, with their artefact_search rows; "
        "their metadata goes into maintenance.artefact_archive and is kept. ingestion_log rows stay without their "
        "reference. The files in blob storage are queued with the deletion and deleted after it; a file that cannot "
        "be deleted stays queued, fails the run and is tried again by the next. Nothing can be brought back, unless "
        "undo_days is set."
    ),
    settings=ExpiredArtefactsSettings,
    run=expired_artefacts,
    required_variables=("BLOB_URL",),
    database=DatabaseWork(
        targets=("artefact", "artefact_search"),
        purges=purges,
        privileges={
            "artefact": ("SELECT", "UPDATE", "DELETE"),
            "artefact_search": ("SELECT", "DELETE"),
            "maintenance.artefact_archive": ("SELECT", "INSERT"),
        },
        age_columns={"artefact": "display_to"},
    ),
)
