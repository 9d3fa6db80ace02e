"""End privacy requests that have run out, and take the person out of those that ended long ago."""

import enum
from datetime import timedelta

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Purge, Revision
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER, requests
from cath_dagster.hay.parts import note_parts
from cath_dagster.hay.tables import privacy_requests
from cath_dagster.hay.zone import check_zone

STUCK_ERROR = "The export did not finish within 24 hours and was ended."


class Mode(enum.StrEnum):
    MINIMISE = "minimise"
    DELETE = "delete"


class CleanupOldPrivacyRequestsSettings(PurgeSettings):
    """What becomes of requests that ended long ago."""

    retention_days: int = Field(
        default=90,
        ge=1,
        le=36_500,
        description="Days of 24 hours after which a request that has ended is minimised, or deleted.",
    )
    mode: Mode = Field(
        default=Mode.MINIMISE,
        description="minimise: the row stays as proof of what was asked and answered when, without who asked. delete: the row "
        "goes, and with it the proof.",
    )


def prepare(run: JobRun, settings: CleanupOldPrivacyRequestsSettings) -> None:
    """Look at the zone, and plan what a run that deletes would take."""
    check_zone(run, settings)
    if settings.mode is Mode.DELETE:
        run.plan(_old_requests(run, settings))
    else:
        run.preflight()


def cleanup_old_privacy_requests(run: JobRun, settings: CleanupOldPrivacyRequestsSettings) -> None:
    """Expire, fail, then minimise or delete; erasures that are stuck and answers that are late are told, never changed."""
    c, written = privacy_requests.c, {"updated_at": sa.func.now()}
    expired = run.revise(
        Revision(
            table=privacy_requests,
            rule="requests that nobody confirmed in time",
            predicate=requests.is_unconfirmed(run.as_of),
            values={"status": sa.literal("expired"), "verification_token_hash": sa.null(), **written},
            is_plain=True,
        )
    )
    failed = run.revise(
        Revision(
            table=privacy_requests,
            rule="exports that have not moved for a day",
            predicate=sa.and_(requests.is_stuck(run.as_of), c.type == "export"),
            values={
                "status": sa.literal("failed"),
                "completed_at": sa.func.now(),
                "error_message": sa.literal(STUCK_ERROR),
                **written,
            },
            is_plain=True,
        )
    )
    is_old = requests.is_old(run.as_of, settings.retention_days)
    is_left = sa.true() if settings.mode is Mode.DELETE else ~requests.is_minimised()
    held = run.count(
        sa.select(sa.func.count())
        .select_from(privacy_requests)
        .where(is_old, is_left, requests.is_of_a_held_customer())
    )
    details: dict[str, Scalar] = {"expired": expired, "stuck_exports": failed, "held": held}
    minimised = 0
    if settings.mode is Mode.DELETE:
        for planned in run.planned:
            run.purge(planned)
    else:
        minimised = _minimise(run, sa.and_(is_old, is_left))
        details["minimised"] = minimised
    run.record(Outcome(target=privacy_requests.name, kept=held, details=details))
    words = {
        "unconfirmed and expired": expired,
        "exports that stood still failed": failed,
        "minimised": minimised,
        "kept whole for a held conversation": held,
    }
    note_parts(run, "privacy requests", words)
    for check in SPEC.checks:
        assert check.evaluate is not None  # noqa: S101 - both have one
        run.judge(check, check.evaluate(run.database, run.as_of))


def _minimise(run: JobRun, which: sa.ColumnElement[bool]) -> int:
    return run.revise(
        Revision(
            table=privacy_requests,
            rule="requests that ended long ago, without who asked",
            predicate=sa.and_(which, ~requests.is_of_a_held_customer()),
            values=requests.minimised(run.as_of),
            lock_others=requests.lock_conversations,
        )
    )


def _old_requests(run: JobRun, settings: CleanupOldPrivacyRequestsSettings) -> Purge:
    return Purge(
        table=privacy_requests,
        rule=f"requests that ended more than {settings.retention_days} days ago",
        predicate=sa.and_(requests.is_old(run.as_of, settings.retention_days), ~requests.is_of_a_held_customer()),
        cutoff=run.as_of - timedelta(days=settings.retention_days),
        age=privacy_requests.c.updated_at,
        reads_other_rows=True,
        lock_others=requests.lock_conversations,
    )


SPEC = JobSpec(
    location=HAY,
    name="cleanup_old_privacy_requests",
    schedule=Cron("0 3 * * 0"),
    timeout=timedelta(minutes=10),
    owner=OWNER,
    summary="Expires unconfirmed privacy requests, and takes the person out of those that ended 90 days ago.",
    description=(
        "Expires requests an hour after their confirmation ran out, and fails exports that have stood still for a day. 90 days after a "
        "request has ended, its address, identifiers, network addresses, agents, tokens and errors go; that it was made and "
        "answered stays as proof, unless mode is delete. Requests of customers with a held conversation are kept whole. "
        "Erasures that stand still are told and never changed. What was minimised cannot be brought back."
    ),
    settings=CleanupOldPrivacyRequestsSettings,
    run=cleanup_old_privacy_requests,
    prepare=prepare,
    checks=(requests.STUCK_CHECK, requests.LATE_CHECK),
    database=DatabaseWork(
        targets=("privacy_requests",),
        privileges={"privacy_requests": ("SELECT", "UPDATE", "DELETE"), "conversations": ("SELECT", "UPDATE")},
        age_columns={"privacy_requests": "updated_at"},
    ),
)
