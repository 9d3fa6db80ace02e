"""Warn owners of surveys that are about to be deleted: once for each tier and date, however often a run is late."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa

from cath_dagster.checktick.messages import UpcomingDeletion, deletion_warning, masked
from cath_dagster.checktick.retention import (
    JOB,
    WARNING,
    DataGovernanceSettings,
    deletion_day,
    is_doomed,
    is_hard_deletable,
)
from cath_dagster.checktick.tables import survey, user
from cath_dagster.core.instants import as_utc
from cath_dagster.core.maintenance.tables import sent_notice
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.outbox.forgetting import Asking, is_older
from cath_dagster.core.outbox.notices import SETTLED, Notice, not_settled
from cath_dagster.core.ports.mail import Content, Message
from cath_dagster.core.run.job_run import NEXT_RUN, JobRun

TEMPLATE = "deletion_warning"
IDS_SHOWN = 50
KEPT_FOR_REPORTS = timedelta(days=365)
AT_ONCE = 500
"""Notices that are looked up together, whether an earlier run is done with them."""


@dataclass(frozen=True, kw_only=True)
class DueWarning:
    """A survey whose owner is to be warned, at the nearest of the tiers that have come."""

    survey_id: int
    tier: int
    days: int
    deletion_date: datetime
    slug: str
    survey_name: str = field(repr=False)
    owner_name: str = field(repr=False)
    email: str = field(repr=False)


def find_due(connection: sa.Connection, settings: DataGovernanceSettings, as_of: datetime) -> list[DueWarning]:
    """Return the warnings that no earlier run is done with, the first tier first."""
    day = as_of.date()
    days_left = deletion_day() - sa.literal(day, sa.Date)
    # Compared as days: of a date that never comes the server can tell no distance.
    is_near = deletion_day() <= day + timedelta(days=settings.first_warning_days)
    query = (
        sa.select(
            survey.c.id,
            days_left.label("days"),
            survey.c.deletion_date,
            survey.c.slug,
            survey.c.name,
            sa.func.coalesce(sa.func.nullif(user.c.first_name, ""), user.c.username).label("owner_name"),
            user.c.email,
        )
        .join(user, user.c.id == survey.c.owner_id)
        .where(is_doomed(), survey.c.deletion_date > as_of, is_near)
        .order_by(survey.c.id)
    )
    due = [
        DueWarning(
            survey_id=row.id,
            tier=min(tier for tier in settings.tiers if row.days <= tier),
            days=row.days,
            deletion_date=as_utc(row.deletion_date),
            slug=row.slug,
            survey_name=row.name,
            owner_name=row.owner_name,
            email=row.email,
        )
        for row in connection.execute(query)
    ]
    due.sort(key=lambda warning: (-warning.tier, warning.survey_id))
    return [warning for some in _chunks(due) for warning in _pending(connection, some)]


def has_warning() -> sa.ColumnElement[bool]:
    """Return whether the owner was warned of the survey's present date of deletion."""
    return sa.exists().where(
        sent_notice.c.job == JOB,
        sent_notice.c.subject_id == sa.cast(survey.c.id, sa.Text),
        sent_notice.c.kind.startswith(WARNING),
        sent_notice.c.period_start == deletion_day(),
        sent_notice.c.status.in_(SETTLED),
    )


def no_longer_matters(run: Asking, settings: DataGovernanceSettings) -> sa.ColumnElement[bool]:
    """Return which warnings matter no more: of surveys deleted for good, whose record tells of them, a year ago.

    For so long the report of any day counts the warnings of that day.
    """
    del settings
    stays = sa.not_(is_hard_deletable(run.as_of)) if run.dry_run else sa.true()
    is_there = sa.exists().where(sa.cast(survey.c.id, sa.Text) == sent_notice.c.subject_id, stays)
    return sa.and_(is_older(run.as_of, KEPT_FOR_REPORTS), sa.not_(is_there))


def send_warnings(run: JobRun, settings: DataGovernanceSettings) -> None:
    """Send every warning that is due; one that fails does not stop the others."""
    due = run.database.transaction(partial(find_due, settings=settings, as_of=run.as_of))
    site_url = check_mail(run, due)
    if due:
        run.account.previews[TEMPLATE] = deletion_warning(masked(_words(due[0], settings, site_url)))
    notices = [_notice(warning, partial(deletion_warning, _words(warning, settings, site_url))) for warning in due]
    run.send(notices, then=f"{NEXT_RUN}, for every survey whose date of deletion has not come by then")
    sent = {} if run.dry_run else run.database.transaction(partial(_sent_by, run_id=run.run_id))
    details: dict[str, Scalar] = {}
    for tier in settings.tiers:
        of_tier = [warning for warning in due if warning.tier == tier]
        details[f"warnings_{tier}_days"] = len(of_tier) if run.dry_run else sent.get(f"{WARNING}{tier}", 0)
        if of_tier:
            shown = [f"{warning.survey_id}: {warning.deletion_date:%Y-%m-%d %H:%M}" for warning in of_tier[:IDS_SHOWN]]
            details[f"surveys_{tier}_days"] = shown
    run.record(Outcome(target="mail", details=details))


def check_mail(run: JobRun, due: Sequence[DueWarning]) -> str:
    """Return what links begin with; raise `ConfigurationError` where mail is due and cannot be written or sent."""
    if not due or not run.has_mail:
        return (run.optional("SITE_URL") or "").rstrip("/")
    return run.require_mail(TEMPLATE, "SITE_URL")["SITE_URL"].rstrip("/")


def _words(warning: DueWarning, settings: DataGovernanceSettings, site_url: str) -> UpcomingDeletion:
    return UpcomingDeletion(
        survey_name=warning.survey_name,
        slug=warning.slug,
        owner_name=warning.owner_name,
        days=warning.days,
        tier=warning.tier,
        deletion_date=warning.deletion_date,
        grace_days=settings.grace_days,
        site_url=site_url,
    )


def _notice(warning: DueWarning, render: "partial[Content] | None" = None) -> Notice:
    day = warning.deletion_date.date()
    kind = f"{WARNING}{warning.tier}"
    return Notice(
        subject_ids=(str(warning.survey_id),),
        kind=kind,
        period_start=day,
        message=Message(
            recipient=warning.email,
            template=TEMPLATE,
            render=render,
            reference=f"{JOB}/{kind}/{warning.survey_id}/{day}",
        ),
    )


def _pending(connection: sa.Connection, due: Sequence[DueWarning]) -> list[DueWarning]:
    pending = not_settled(connection, JOB, [_notice(warning) for warning in due])
    ids = {int(notice.subject_ids[0]) for notice in pending}
    return [warning for warning in due if warning.survey_id in ids]


def _chunks(due: Sequence[DueWarning]) -> list[Sequence[DueWarning]]:
    return [due[start : start + AT_ONCE] for start in range(0, len(due), AT_ONCE)]


def _sent_by(connection: sa.Connection, run_id: str) -> dict[str, int]:
    """Return by kind how many warnings a run sent."""
    query = (
        sa.select(sent_notice.c.kind, sa.func.count())
        .where(sent_notice.c.job == JOB, sent_notice.c.run_id == run_id, sent_notice.c.status == "sent")
        .group_by(sent_notice.c.kind)
    )
    return dict(connection.execute(query).tuples().all())
