"""When a survey is warned about, soft-deleted and hard-deleted: the rules that warnings, deletions and reports share."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Self

import sqlalchemy as sa
from pydantic import Field, model_validator

from cath_dagster.checktick.tables import data_subject_request, legal_hold, survey
from cath_dagster.core.model.purge import Keys
from cath_dagster.core.model.settings import Days, JobSettings
from cath_dagster.core.postgres.expressions import is_any

JOB = "data_governance"
PUBLISHED, CLOSED = "published", "closed"
SETTLED_REQUESTS = ("resolved", "rejected")
"""The statuses of a data subject request that asks for nothing any more; a rejected one is never marked as resolved."""
WARNING = "deletion_warning_"
"""How the kind of a warning's notice begins; the tier's days follow."""


class DataGovernanceSettings(JobSettings):
    """How long before a deletion its owner is warned, and how long after it a survey can be brought back."""

    first_warning_days: Days = Field(
        default=30, description="So many days before the deletion the owner is first warned."
    )
    second_warning_days: Days = Field(default=7, description="So many days before it the owner is warned again.")
    last_warning_days: Days = Field(
        default=1, description="So many days before it the owner is warned for the last time."
    )
    grace_days: Days = Field(
        default=30,
        description="Days between soft and hard deletion. Written into a survey when it is soft-deleted: those that are "
        "already keep their date.",
    )
    surveys_per_transaction: int = Field(
        default=50,
        ge=1,
        le=50,
        description="Surveys that are deleted together at most. A group that fails is tried again one by one.",
    )

    @model_validator(mode="after")
    def _warn_in_order(self) -> Self:
        if not self.first_warning_days > self.second_warning_days > self.last_warning_days:
            raise ValueError(
                f"first_warning_days is {self.first_warning_days}, second_warning_days {self.second_warning_days}, "
                f"last_warning_days {self.last_warning_days}: each must come later than the one before"
            )
        return self

    @property
    def tiers(self) -> tuple[int, ...]:
        """Days before the deletion on which the owner is warned, the first warning first."""
        return (self.first_warning_days, self.second_warning_days, self.last_warning_days)


def is_held() -> sa.ColumnElement[bool]:
    """Return whether a legal hold is active: placed and not removed."""
    return sa.exists().where(legal_hold.c.survey_id == survey.c.id, legal_hold.c.removed_at.is_(None))


def is_republished() -> sa.ColumnElement[bool]:
    """Return whether a survey was published again after it was closed.

    The service leaves the dates of the closing as they are; a survey in use is not deleted by them.
    """
    again = sa.and_(survey.c.closed_at.is_not(None), survey.c.published_at > survey.c.closed_at)
    return sa.or_(survey.c.status == PUBLISHED, sa.func.coalesce(again, sa.false()))


def is_open_request() -> sa.ColumnElement[bool]:
    """Return whether a data subject request still asks for something."""
    return data_subject_request.c.status.not_in(SETTLED_REQUESTS)


def has_open_request() -> sa.ColumnElement[bool]:
    """Return whether a respondent of the survey has an open request.

    By the requests themselves: nothing in the service keeps `surveys_survey.has_pending_dsr`.
    """
    return sa.exists().where(data_subject_request.c.survey_id == survey.c.id, is_open_request())


def deletion_day() -> sa.ColumnElement[date]:
    """Return the calendar day, in UTC, of a survey's deletion."""
    return sa.cast(sa.func.timezone("UTC", survey.c.deletion_date), sa.Date)


def is_doomed() -> sa.ColumnElement[bool]:
    """Return whether a survey will be soft-deleted on its date, as things stand."""
    return sa.and_(survey.c.deleted_at.is_(None), survey.c.closed_at.is_not(None), ~is_republished(), ~is_held())


def is_past_soft_deletion(as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether a survey's date of deletion has come, whatever stands in the way."""
    return sa.and_(survey.c.deletion_date <= as_of, survey.c.deleted_at.is_(None))


def is_undated() -> sa.ColumnElement[bool]:
    """Return whether a survey is closed and has no date of deletion, so that no rule will ever take it.

    The service closes so by the status alone: after a downgrade of its owner, and through its publishing interface.
    """
    is_closed = sa.or_(survey.c.status == CLOSED, survey.c.closed_at.is_not(None))
    return sa.and_(survey.c.deletion_date.is_(None), survey.c.deleted_at.is_(None), is_closed, ~is_republished())


def is_past_hard_deletion(as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether the time in which a survey could be brought back is over, whatever stands in the way."""
    return sa.and_(survey.c.hard_deletion_date <= as_of, survey.c.deleted_at.is_not(None))


def is_soft_deletable(as_of: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(survey.c.deletion_date <= as_of, is_doomed())


def is_hard_deletable(as_of: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(is_past_hard_deletion(as_of), ~is_republished(), ~is_held())


def hard_deletion_conditions(as_of: datetime) -> dict[str, sa.ColumnElement[bool]]:
    """Return in words what a survey must fulfil to be hard-deleted."""
    return {
        "it is soft-deleted": survey.c.deleted_at.is_not(None),
        f"its hard deletion date is {as_of:%Y-%m-%d %H:%M} UTC or earlier": survey.c.hard_deletion_date <= as_of,
        "it was not published again": ~is_republished(),
        "no legal hold is on it": ~is_held(),
    }


def soft_deletion_conditions(as_of: datetime) -> dict[str, sa.ColumnElement[bool]]:
    """Return in words what a survey must fulfil to be soft-deleted."""
    return {
        "it is not soft-deleted yet": survey.c.deleted_at.is_(None),
        f"its date of deletion is {as_of:%Y-%m-%d %H:%M} UTC or earlier": survey.c.deletion_date <= as_of,
        "it is closed (closed_at)": survey.c.closed_at.is_not(None),
        "it was not published again": ~is_republished(),
        "no legal hold is on it": ~is_held(),
    }


def soft_deletion_values(deleted_at: datetime, grace: timedelta) -> dict[str, sa.ColumnElement[datetime]]:
    """Return what a soft deletion writes into a survey, and nothing else of it."""
    return {
        "deleted_at": sa.literal(deleted_at, survey.c.deleted_at.type),
        "hard_deletion_date": sa.literal(deleted_at + grace, survey.c.hard_deletion_date.type),
    }


def soft_deleted_at(as_of: datetime, now: datetime) -> datetime:
    """Return from when the days until the hard deletion count.

    A scheduled run's tick. Of a run whose reference time lies back, the moment itself: nobody's time to bring a survey
    back is shortened by an `as_of`.
    """
    return as_of if now - as_of <= timedelta(days=1) else now


def lock_for_decision(connection: sa.Connection, survey_ids: Keys, where: sa.ColumnElement[bool]) -> Sequence[Any]:
    """Lock those of the surveys that match, and their holds; return their keys.

    Whether they may be deleted is decided by a statement after this one. A hold that is being placed refers to the
    survey's row, which is locked: it is either there before the decision, or comes to a survey that is gone.
    """
    locked = connection.scalars(
        sa.select(survey.c.id)
        .where(is_any(survey.c.id, survey_ids), where)
        .order_by(survey.c.id)
        .with_for_update(of=survey)
    ).all()
    connection.execute(
        sa.select(legal_hold.c.id)
        .where(is_any(legal_hold.c.survey_id, locked))
        .order_by(legal_hold.c.id)
        .with_for_update()
    )
    return locked
