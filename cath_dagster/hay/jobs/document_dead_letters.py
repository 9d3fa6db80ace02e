"""Give up documents whose import can never succeed, and that the service would try, or overlook, for ever."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Keys, Revision
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PacedSettings
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER
from cath_dagster.hay.parts import note_parts
from cath_dagster.hay.stamps import is_before
from cath_dagster.hay.tables import documents, jobs
from cath_dagster.hay.zone import check_zone

MOST_TRIES = 3
"""After so many the service selects a document no more."""
QUIET = timedelta(minutes=30)
"""Longer than the longest of the service's own pauses between two tries, twenty minutes."""
WITHOUT_SOURCE = timedelta(hours=1)
AT_WORK = ("queued", "processing")
LIVELY = timedelta(minutes=60)
"""A job that has saved no progress for longer is not at work."""
_COUNTER = r"^[0-9]{1,6}$"


class DocumentDeadLettersSettings(PacedSettings):
    """Nothing of its own: by the service's own rules it is a dead end."""


def document_dead_letters(run: JobRun, settings: DocumentDeadLettersSettings) -> None:
    """Mark each dead end as an error that says which it is; nothing whose import is under way."""
    del settings
    run.preflight()
    given_up: dict[str, int] = {}
    for name, (says, is_dead) in dead_ends(run).items():
        given_up[name] = run.revise(
            Revision(
                table=documents,
                rule=f"documents in processing: {says}",
                predicate=sa.and_(documents.c.status == "processing", is_dead, ~is_under_way(run)),
                values={
                    "status": sa.cast(sa.literal("error", sa.Text), documents.c.status.type),
                    "processing_metadata": _with_error(run, says),
                    "updated_at": sa.func.now(),
                },
                lock_others=_lock_jobs,
            )
        )
    run.record(Outcome(target=documents.name, details=dict(given_up)))
    note_parts(run, "documents", {name.replace("_", " "): count for name, count in given_up.items()})


def dead_ends(run: JobRun) -> dict[str, tuple[str, sa.ColumnElement[bool]]]:
    """Return by name what is said of a dead end, and which documents are at it; no document is at two."""
    has_source = sa.func.coalesce(documents.c.source_url, "") != ""
    counter = documents.c.processing_metadata.op("->>")("retryCount")
    is_number = counter.op("~")(_COUNTER)
    tries = sa.case((is_number, sa.cast(counter, sa.Integer)), else_=0)
    is_quiet = documents.c.updated_at < run.as_of - QUIET
    last_try = documents.c.processing_metadata.op("->>")("lastAttemptAt")
    is_over = sa.func.coalesce(is_before(last_try, run.as_of - QUIET), is_quiet)
    is_counted = sa.or_(counter.is_(None), is_number)
    return {
        "without_source": (
            "there is no source to import from",
            sa.and_(~has_source, documents.c.updated_at < run.as_of - WITHOUT_SOURCE),
        ),
        "unreadable_counter": ("the number of tries cannot be read", sa.and_(has_source, ~is_counted, is_quiet)),
        "tried_too_often": (
            f"it was tried {MOST_TRIES} times without success",
            sa.and_(has_source, is_counted, tries >= MOST_TRIES, is_over),
        ),
    }


def is_under_way(run: JobRun) -> sa.ColumnElement[bool]:
    """Return whether the job of a document's import is at work, or waits, and has shown so lately."""
    is_lively = sa.and_(jobs.c.status.in_(AT_WORK), jobs.c.updated_at >= run.as_of - LIVELY)
    return sa.exists().where(_is_job_of(documents), is_lively).correlate(documents)


def _is_job_of(source: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.cast(jobs.c.id, sa.Text) == source.c.processing_metadata.op("->>")("jobId")


def _lock_jobs(ids: Keys) -> list[sa.Select[Any]]:
    given = documents.alias("given")
    named = sa.select(given.c.processing_metadata.op("->>")("jobId")).where(is_any(given.c.id, ids))
    query = sa.select(jobs.c.id).where(sa.cast(jobs.c.id, sa.Text).in_(named))
    return [query.order_by(jobs.c.id).with_for_update(read=True)]


def _with_error(run: JobRun, says: str) -> sa.ColumnElement[object]:
    known = sa.case(
        (sa.func.jsonb_typeof(documents.c.processing_metadata) == "object", documents.c.processing_metadata),
        else_=sa.text("'{}'::jsonb"),
    )
    error = sa.func.jsonb_build_object("lastError", says, "deadLetteredAt", run.as_of.isoformat())
    return known.op("||")(error)


SPEC = JobSpec(
    location=HAY,
    name="document_dead_letters",
    schedule=Cron("*/30 * * * *"),
    timeout=timedelta(minutes=10),
    owner=OWNER,
    summary="Marks documents as failed whose import is at a dead end, with the reason.",
    description=(
        "Sets documents of status processing to error, with lastError in processing_metadata: those without a source, those tried three "
        "times, and those whose counter of tries cannot be read. One whose job is at work is never touched. Nothing is deleted; a "
        "document is tried again once it is imported anew."
    ),
    settings=DocumentDeadLettersSettings,
    run=document_dead_letters,
    prepare=check_zone,
    database=DatabaseWork(
        targets=("documents",),
        privileges={"documents": ("SELECT", "UPDATE"), "jobs": ("SELECT", "UPDATE")},
    ),
)
