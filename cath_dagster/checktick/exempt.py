"""What is past its date and stays, and why: the same words for runs and for the report."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.checktick.retention import is_held, is_republished, is_undated
from cath_dagster.checktick.tables import survey
from cath_dagster.core.model.scalar import Scalar

IDS_SHOWN = 50


class Reason(enum.StrEnum):
    """Why a survey stays beyond its date, the first that applies."""

    HELD = "held"
    """A legal hold is on it."""
    NEVER_CLOSED = "never_closed"
    """It has a date of deletion and was never closed, so that no rule takes it."""
    REPUBLISHED = "republished"
    """It was published again after it was closed, with its old dates."""
    UNDATED = "undated"
    """It has no date of the deletion that is next: closed without one, or soft-deleted without the second."""


SAYS = {
    Reason.HELD: "a legal hold is on it",
    Reason.NEVER_CLOSED: "it was never closed (it has no closed_at), and only closed surveys are deleted",
    Reason.REPUBLISHED: "it was published again after it was closed; its owner must close it or give it new dates",
    Reason.UNDATED: "it is soft-deleted without a date of its hard deletion",
}


@dataclass(frozen=True)
class Exempt:
    """How many surveys stay for a reason, and which; not more than `IDS_SHOWN` of them are named."""

    reason: Reason
    count: int
    survey_ids: tuple[int, ...]


def why_not_soft_deleted() -> sa.ColumnElement[str | None]:
    """Return the reason why a survey may not be soft-deleted, NULL if it may."""
    return sa.case(
        (is_undated(), Reason.UNDATED.value),
        (is_held(), Reason.HELD.value),
        (survey.c.closed_at.is_(None), Reason.NEVER_CLOSED.value),
        (is_republished(), Reason.REPUBLISHED.value),
        else_=None,
    )


def why_not_hard_deleted() -> sa.ColumnElement[str | None]:
    """Return the reason why a survey may not be deleted for good, NULL if it may."""
    return sa.case(
        (is_held(), Reason.HELD.value),
        (is_republished(), Reason.REPUBLISHED.value),
        (survey.c.hard_deletion_date.is_(None), Reason.UNDATED.value),
        else_=None,
    )


def find_exempt(
    connection: sa.Connection, why: sa.ColumnElement[str | None], is_past: sa.ColumnElement[bool]
) -> list[Exempt]:
    """Return the surveys that are past their date and stay, by reason."""
    past = sa.select(survey.c.id, why.label("reason")).where(is_past).subquery()
    query = (
        sa.select(past.c.reason, sa.func.count(), sa.func.array_agg(past.c.id))
        .where(past.c.reason.is_not(None))
        .group_by(past.c.reason)
        .order_by(past.c.reason)
    )
    return [
        Exempt(Reason(reason), count, tuple(sorted(ids)[:IDS_SHOWN]))
        for reason, count, ids in connection.execute(query)
    ]


def as_details(phase: str, found: Iterable[Exempt]) -> dict[str, Scalar]:
    """Return the counts and ids as details of an outcome, named apart by phase."""
    details: dict[str, Scalar] = {}
    for exempt in found:
        details[f"{phase}_{exempt.reason}"] = exempt.count
        details[f"{phase}_{exempt.reason}_ids"] = [str(survey_id) for survey_id in exempt.survey_ids]
    return details
