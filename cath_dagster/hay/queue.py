"""What is due of the service's table of jobs, which nothing consumes: their ends, their addresses, and their own end."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.core.model.purge import Keys, Planning, Purge, Revision
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.hay.addresses import has_address, json_without_addresses, without_addresses
from cath_dagster.hay.stamps import as_text
from cath_dagster.hay.tables import jobs, privacy_requests

OPEN = ("pending", "queued", "processing")
AT_WORK = ("queued", "processing")
ENDED = ("completed", "failed", "cancelled")
REQUEST_ENDED = {"completed": "completed", "failed": "failed", "cancelled": "cancelled", "expired": "cancelled"}
"""How a request ended, and how its job did."""
REQUEST_ID = "requestId"
SCRUBBED = "scrubbedAt"
LOST_AFTER = timedelta(hours=24)
SILENT = "It saved no progress for {minutes} minutes and was ended; nothing was repeated."
LOST = "The privacy request that it answers is not there."


class JobQueueProcessingSettings(PurgeSettings):
    """When a job is taken to be dead, and how long ended ones are kept."""

    stuck_minutes: int = Field(
        default=60,
        ge=30,
        le=100_000,
        description="Minutes without progress after which a job at work is ended as failed. Saved progress is the only sign of "
        "life that the service leaves.",
    )
    retention_days: int = Field(
        default=30, ge=7, le=36_500, description="Days of 24 hours after which a job that has ended is deleted."
    )
    scrub_days: int = Field(
        default=7,
        ge=1,
        le=36_500,
        description="Days after which addresses are taken out of an ended job that answered a privacy request.",
    )


def request_id() -> sa.ColumnElement[str]:
    return jobs.c.data.op("->>")(REQUEST_ID)


def is_linked(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return whether a privacy request for which the conditions hold names the job, or is named by it."""
    r = privacy_requests.c
    by_job = sa.select(r.job_id).where(r.job_id.is_not(None), *conditions)
    by_id = sa.select(sa.cast(r.id, sa.Text)).where(*conditions)
    return sa.or_(jobs.c.id.in_(by_job), sa.func.coalesce(request_id().in_(by_id), sa.false()))


def is_of_privacy() -> sa.ColumnElement[bool]:
    """Return whether a job answers a privacy request, one that is gone included."""
    return sa.or_(is_linked(), request_id().is_not(None))


def lock_requests(ids: Keys) -> list[sa.Select[Any]]:
    """Return the statement that locks the requests by which these jobs are decided."""
    r = privacy_requests.c
    named = sa.select(request_id()).where(is_any(jobs.c.id, ids), request_id().is_not(None))
    query = sa.select(r.id).where(sa.or_(is_any(r.job_id, ids), sa.cast(r.id, sa.Text).in_(named)))
    return [query.order_by(r.id).with_for_update(read=True)]


def mirrored() -> Revision:
    """Return the change that ends jobs whose privacy request has ended: the service cannot do so itself."""
    r = privacy_requests.c
    ends = r.status.in_(list(REQUEST_ENDED))
    status = (
        sa.select(sa.case(REQUEST_ENDED, value=r.status))
        .where(ends, sa.or_(r.job_id == jobs.c.id, sa.cast(r.id, sa.Text) == request_id()))
        .order_by(r.updated_at.desc(), r.id)
        .limit(1)
        .correlate(jobs)
        .scalar_subquery()
    )
    still_open = sa.not_(is_linked(r.status.not_in(list(REQUEST_ENDED))))
    return Revision(
        table=jobs,
        rule="jobs whose privacy request has ended",
        predicate=sa.and_(jobs.c.status.in_(OPEN), is_linked(ends), still_open),
        values={"status": sa.cast(status, jobs.c.status.type), "updated_at": sa.func.now()},
        lock_others=lock_requests,
    )


def reaped(as_of: datetime, settings: JobQueueProcessingSettings) -> Revision:
    """Return the change that ends jobs at work that save no progress; those of privacy requests end with these."""
    error = SILENT.format(minutes=settings.stuck_minutes)
    return Revision(
        table=jobs,
        rule=f"jobs at work without progress for {settings.stuck_minutes} minutes",
        predicate=sa.and_(is_silent(as_of, settings), ~is_of_privacy()),
        values={"status": _status("failed"), "result": _result(as_of, error), "updated_at": sa.func.now()},
        lock_others=lock_requests,
    )


def is_silent(as_of: datetime, settings: JobQueueProcessingSettings) -> sa.ColumnElement[bool]:
    """Return whether a job at work has saved no progress for long."""
    return sa.and_(jobs.c.status.in_(AT_WORK), jobs.c.updated_at < as_of - timedelta(minutes=settings.stuck_minutes))


def cancelled(as_of: datetime) -> Revision:
    """Return the change that ends jobs for a privacy request that is not there: nobody will."""
    return Revision(
        table=jobs,
        rule="jobs for a privacy request that is not there",
        predicate=sa.and_(
            jobs.c.status.in_(OPEN),
            request_id().is_not(None),
            ~is_linked(),
            jobs.c.created_at < as_of - LOST_AFTER,
        ),
        values={"status": _status("cancelled"), "result": _result(as_of, LOST), "updated_at": sa.func.now()},
        lock_others=lock_requests,
    )


def scrubbed(as_of: datetime, settings: JobQueueProcessingSettings) -> Revision:
    """Return the change that takes addresses out of ended jobs of privacy requests."""
    data = sa.case((_is_object(), jobs.c.data.op("-")("email")), else_=sa.text("'{}'::jsonb"))
    marker = sa.func.jsonb_build_object(SCRUBBED, as_text(as_of))
    return Revision(
        table=jobs,
        rule=f"addresses in jobs of privacy requests that ended {settings.scrub_days} days ago",
        # What is over goes: scrubbed first, its new stamp would keep it.
        predicate=sa.and_(
            is_ended(as_of - timedelta(days=settings.scrub_days)),
            ~is_over(as_of, settings),
            is_of_privacy(),
            _says_who(),
        ),
        values={
            "title": without_addresses(jobs.c.title),
            "description": without_addresses(jobs.c.description),
            "data": json_without_addresses(data).op("||")(marker),
            "result": json_without_addresses(jobs.c.result),
            "updated_at": sa.func.now(),
        },
        lock_others=lock_requests,
    )


def purges(planning: Planning, settings: JobQueueProcessingSettings) -> list[Purge]:
    """Return the purge of the jobs that ended long ago."""
    return [
        Purge(
            table=jobs,
            rule=f"jobs that ended more than {settings.retention_days} days ago",
            predicate=is_over(planning.as_of, settings),
            cutoff=planning.as_of - timedelta(days=settings.retention_days),
            age=sa.case((jobs.c.status.in_(ENDED), jobs.c.updated_at)),
        )
    ]


def is_over(as_of: datetime, settings: JobQueueProcessingSettings) -> sa.ColumnElement[bool]:
    """Return whether a job ended so long ago that it goes; a scrubbed one has ended earlier than its stamp says."""
    cutoff = as_of - timedelta(days=settings.retention_days)
    scrubbed_cutoff = cutoff + timedelta(days=min(settings.scrub_days, settings.retention_days))
    was_scrubbed = sa.func.coalesce(jobs.c.data.has_key(SCRUBBED), sa.false())
    # Never NULL, so that what is not over can be asked for.
    return sa.or_(is_ended(cutoff), sa.and_(was_scrubbed, is_ended(scrubbed_cutoff)))


def is_ended(before: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.status.in_(ENDED), jobs.c.updated_at < before)


def _says_who() -> sa.ColumnElement[bool]:
    """Return whether a job's row has an address."""
    columns = (jobs.c.title, jobs.c.description, jobs.c.data, jobs.c.result)
    has_email = sa.and_(_is_object(), jobs.c.data.has_key("email"))
    return sa.or_(*(sa.func.coalesce(each, sa.false()) for each in (has_email, *map(has_address, columns))))


def _is_object() -> sa.ColumnElement[bool]:
    return sa.func.jsonb_typeof(jobs.c.data) == "object"


def _status(value: str) -> sa.ColumnElement[str]:
    return sa.cast(sa.literal(value, sa.Text), jobs.c.status.type)


def _result(as_of: datetime, error: str) -> sa.ColumnElement[Any]:
    return sa.func.jsonb_build_object(
        *("error", error, "reapedAt", as_text(as_of)), "previousStatus", sa.cast(jobs.c.status, sa.Text)
    )
