"""Archive the metadata of artefacts no longer displayed, delete them and their files."""

from cath_dagster.cath import LOCATION, OWNER
from cath_dagster.cath.artefacts import removal
from cath_dagster.cath.tables import artefact
from cath_dagster.core.instants import naive_utc
from cath_dagster.core.job_run import JobRun
from cath_dagster.core.settings import JobSettings
from cath_dagster.core.spec import JobSpec


class ExpiredArtefactsSettings(JobSettings):
    """None: an artefact says itself how long it is displayed."""


def expired_artefacts(run: JobRun, settings: ExpiredArtefactsSettings) -> None:
    """Remove every artefact whose display ended strictly before the reference time, no-match ones included."""
    del settings
    (planned,) = run.plan(
        removal(
            rule="artefacts whose display has ended",
            predicate=artefact.c.display_to < naive_utc(run.as_of),
            cutoff=run.as_of,
            run_id=run.run_id,
        )
    )
    run.purge(planned)
    run.drain_files()


SPEC = JobSpec(
    location=LOCATION,
    name="expired_artefacts",
    cron="0 1 * * *",
    owner=OWNER,
    summary="Archives the metadata of artefacts whose display has ended, deletes the rows and their files.",
    description=(
        "Deletes artefacts with display_to in the past, no-match ones included, with their artefact_search rows; "
        "their metadata goes into maintenance.artefact_archive and is kept. ingestion_log rows stay without their "
        "reference. The files in blob storage are queued with the deletion and deleted after it; a file that cannot "
        "be deleted stays queued, fails the run and is tried again by the next. Files cannot be brought back."
    ),
    settings=ExpiredArtefactsSettings,
    run=expired_artefacts,
    tables=("artefact", "artefact_search"),
    needs=("BLOB_URL",),
    privileges={
        "artefact": ("SELECT", "UPDATE", "DELETE"),
        "artefact_search": ("SELECT", "DELETE"),
        "maintenance.artefact_archive": ("SELECT", "INSERT"),
    },
    age_columns={"artefact": "display_to"},
)
