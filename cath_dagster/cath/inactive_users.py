"""When a user is idle, warned and deletable: one rule, shared by the jobs that warn, delete and tidy up after."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any, Self

import sqlalchemy as sa
from pydantic import Field, model_validator

from cath_dagster.cath.tables import user
from cath_dagster.core.extremes import is_on_calendar
from cath_dagster.core.instants import as_utc, midnight, naive_utc
from cath_dagster.core.maintenance.tables import sent_notice
from cath_dagster.core.model.settings import Days, PurgeSettings
from cath_dagster.core.outbox.forgetting import Asking
from cath_dagster.core.outbox.notices import SETTLED

JOB = "inactive_verification"
MEDIA = ("B2C_IDAM", "PI_AAD")
"""Two provenances of one population: a person may have a row in each, with one e-mail address."""
PROTECTED_ROLE = "SYSTEM_ADMIN"
MOMENTS_KEPT = 4
"""A run asks several times who is due at its own moment, and builds that once; another moment is seldom asked beside it."""


class InactiveUserSettings(PurgeSettings):
    """After how many whole days without activity users are warned and deleted."""

    media_warn_days: Days = Field(default=350, description="Media users (B2C_IDAM, PI_AAD) idle so long are warned.")
    media_delete_days: Days = Field(default=365, description="Media users idle so long, and warned, are deleted.")
    cft_warn_days: Days = Field(default=118, description="CFT_IDAM users idle so long are warned.")
    cft_delete_days: Days = Field(default=132, description="CFT_IDAM users idle so long, and warned, are deleted.")
    crime_warn_days: Days = Field(default=180, description="CRIME_IDAM users idle so long are warned.")
    crime_delete_days: Days = Field(default=208, description="CRIME_IDAM users idle so long, and warned, are deleted.")
    sso_delete_days: Days = Field(default=90, description="SSO users (staff) idle so long are deleted, unwarned.")

    @model_validator(mode="after")
    def _warn_before_delete(self) -> Self:
        for population in ("media", "cft", "crime"):
            warn, delete = getattr(self, f"{population}_warn_days"), getattr(self, f"{population}_delete_days")
            if warn >= delete:
                raise ValueError(
                    f"{population}_warn_days is {warn}, {population}_delete_days {delete}: "
                    "the warning must come at least a day before the deletion"
                )
        return self


@dataclass(frozen=True)
class Rule:
    """When users of some provenances are warned and deleted. Without `kind` there is no warning."""

    provenances: tuple[str, ...]
    delete_days: int
    kind: str | None = None
    warn_days: int = 0

    @property
    def notice_days(self) -> int:
        """How many whole days lie between a warning and the deletion."""
        return self.delete_days - self.warn_days


def rules(settings: InactiveUserSettings) -> tuple[Rule, ...]:
    """Return the rules; a provenance that none names is never touched."""
    return (
        Rule(MEDIA, settings.media_delete_days, "media_warning", settings.media_warn_days),
        Rule(("CFT_IDAM",), settings.cft_delete_days, "cft_warning", settings.cft_warn_days),
        Rule(("CRIME_IDAM",), settings.crime_delete_days, "crime_warning", settings.crime_warn_days),
        Rule(("SSO",), settings.sso_delete_days),
    )


def activity() -> sa.Subquery:
    """Return every user's `last_activity`, for media users the newest over all rows with the same address.

    `person` groups the rows of one person. The service sets `last_signed_in_date` from the second sign-in on,
    so that NULL means "never, or once": the creation counts then. Each is one of its own, so that none is taken for another.
    """
    return _activity().subquery("activity")


@cache
def _activity() -> sa.Select[Any]:
    row = user.alias("member")
    is_media = row.c.user_provenance.in_(MEDIA)
    person = sa.case((is_media, sa.func.lower(row.c.email)), else_=sa.cast(row.c.user_id, sa.Text))
    last = sa.func.coalesce(row.c.last_signed_in_date, row.c.created_date)
    return sa.select(
        row.c.user_id,
        row.c.user_provenance,
        row.c.role,
        person.label("person"),
        sa.func.max(last).over(partition_by=[is_media, person]).label("last_activity"),
    )


def is_idle(seen: sa.Subquery, rule: Rule, days: int, as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether the rule's users have been idle for so many whole days, by the calendar date of `as_of`.

    Nobody is idle since before the calendar: such a date is a mistake, and no ground for a deletion.
    """
    return sa.and_(
        seen.c.user_provenance.in_(rule.provenances),
        is_on_calendar(seen.c.last_activity),
        seen.c.last_activity < naive_utc(_day_start(as_of, days)),
    )


def is_undated(seen: sa.Subquery, settings: InactiveUserSettings, as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether nobody can tell since when a user of a known provenance is idle."""
    provenances = [name for rule in rules(settings) for name in rule.provenances]
    return sa.and_(
        seen.c.user_provenance.in_(provenances),
        sa.not_(is_on_calendar(seen.c.last_activity)),
        seen.c.last_activity < naive_utc(as_of),
    )


def has_notice(seen: sa.Subquery, rule: Rule, *, sent_before: datetime | None = None) -> sa.ColumnElement[bool]:
    """Return whether the person was warned in the present idle period: activity after the warning cancels it.

    A notice to any row of a person counts for all of them, also for one that joined later.
    """
    warned = activity()
    conditions = [
        sent_notice.c.job == JOB,
        sent_notice.c.kind == rule.kind,
        sent_notice.c.status.in_(SETTLED),
        sent_notice.c.period_start >= sa.cast(warned.c.last_activity, sa.Date),
    ]
    if sent_before is not None:
        conditions.append(sent_notice.c.sent_at < sent_before)
    return seen.c.person.in_(
        sa.select(warned.c.person)
        .join(sent_notice, sent_notice.c.subject_id == sa.cast(warned.c.user_id, sa.Text))
        .where(*conditions)
    )


def no_longer_matters(run: Asking, settings: InactiveUserSettings) -> sa.ColumnElement[bool]:
    """Return which warnings matter no more: the user is gone, whoever deleted them, or was active after the warning."""
    seen = activity()
    stays = seen.c.user_id.not_in(sa.select(user.c.user_id).where(is_deletable(settings, run.as_of)))
    matters = sa.exists().where(
        sa.cast(seen.c.user_id, sa.Text) == sent_notice.c.subject_id,
        stays if run.dry_run else sa.true(),
        sent_notice.c.period_start >= sa.cast(seen.c.last_activity, sa.Date),
    )
    return sa.not_(matters)


def past_deletion(seen: sa.Subquery, settings: InactiveUserSettings, as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether a user is idle long enough to be deleted, warned or not."""
    return _past_deletion(seen, rules(settings), as_of)


def _past_deletion(seen: sa.Subquery, its_rules: tuple[Rule, ...], as_of: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(*(is_idle(seen, rule, rule.delete_days, as_of) for rule in its_rules))


def is_deletable(settings: InactiveUserSettings, as_of: datetime) -> sa.ColumnElement[bool]:
    """Return the predicate over `user` that decides who may be deleted at `as_of`."""
    return sa.and_(_is_due(rules(settings), as_of), _is_not_protected())


def deletion_conditions(settings: InactiveUserSettings, as_of: datetime) -> dict[str, sa.ColumnElement[bool]]:
    """Return in words what must hold for a user to be deletable at `as_of`."""
    return {
        "a rule names the user's provenance": is_known_provenance(settings),
        "idle for as long as the rule of that provenance asks": _is_idle_enough(rules(settings), as_of),
        "idle so long, and warned in time where a warning is due, which the job does first": _is_due(
            rules(settings), as_of
        ),
        "not the administrator who was active last": _is_not_protected(),
    }


@lru_cache(maxsize=MOMENTS_KEPT)
def _is_idle_enough(its_rules: tuple[Rule, ...], as_of: datetime) -> sa.ColumnElement[bool]:
    seen = activity()
    return user.c.user_id.in_(sa.select(seen.c.user_id).where(_past_deletion(seen, its_rules, as_of)))


@lru_cache(maxsize=MOMENTS_KEPT)
def _is_due(its_rules: tuple[Rule, ...], as_of: datetime) -> sa.ColumnElement[bool]:
    seen = activity()
    due = [
        sa.and_(
            is_idle(seen, rule, rule.delete_days, as_of),
            *([has_notice(seen, rule, sent_before=_day_start(as_of, rule.notice_days))] if rule.kind else []),
        )
        for rule in its_rules
    ]
    return user.c.user_id.in_(sa.select(seen.c.user_id).where(sa.or_(*due)))


@cache
def _is_not_protected() -> sa.ColumnElement[bool]:
    return sa.func.coalesce(user.c.user_id != _protected_user(), sa.true())


def lock_people(user_ids: sa.Select[Any]) -> list[sa.Select[Any]]:
    """Return the statements that lock what the decision about these users looks at: them, twins, administrators."""
    given, person = user.alias("given"), user.alias("person")
    addresses = sa.select(sa.func.lower(given.c.email)).where(
        given.c.user_id.in_(user_ids), given.c.user_provenance.in_(MEDIA)
    )
    is_twin = sa.and_(person.c.user_provenance.in_(MEDIA), sa.func.lower(person.c.email).in_(addresses))
    looked_at = sa.or_(person.c.user_id.in_(user_ids), is_twin, person.c.role == PROTECTED_ROLE)
    return [sa.select(person.c.user_id).where(looked_at).order_by(person.c.user_id).with_for_update(read=True)]


def is_known_provenance(settings: InactiveUserSettings) -> sa.ColumnElement[bool]:
    """Return whether any rule names the user's provenance."""
    return user.c.user_provenance.in_([name for rule in rules(settings) for name in rule.provenances])


def _protected_user() -> sa.ScalarSelect[Any]:
    seen = activity()
    return (
        sa.select(seen.c.user_id)
        .where(seen.c.role == PROTECTED_ROLE)
        .order_by(seen.c.last_activity.desc(), seen.c.user_id)
        .limit(1)
        .scalar_subquery()
    )


def _day_start(as_of: datetime, days: int) -> datetime:
    """Return the instant before which something is at least so many whole days old, by calendar dates."""
    return midnight(as_utc(as_of).date() - timedelta(days=days - 1))
