"""What a tenant's conversations of a UTC day came to, counted where the messages are still there."""

import datetime as dt
from dataclasses import dataclass
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.instants import as_utc, midnight, naive_utc
from cath_dagster.hay.tables import MESSAGE_TYPES, SENTIMENTS, conversations, daily_analytics, messages, organizations

DAYS_AT_ONCE = 3
"""Yesterday and the two days before: conversations of a day go on to be answered and resolved."""


@dataclass(frozen=True)
class Day:
    """A calendar day in UTC, by which the service counts whatever a tenant's own zone is."""

    date: dt.date

    @classmethod
    def of(cls, partition: str) -> Self:
        """Return the day of a partition; raise `ConfigurationError` for what is none."""
        try:
            day = dt.date.fromisoformat(partition)
        except ValueError:
            day = None
        if day is None or day.isoformat() != partition:
            raise ConfigurationError(f"{partition!r} is no day; write one like 2026-11-27")
        return cls(day)

    @classmethod
    def ended_before(cls, as_of: dt.datetime) -> Self:
        """Return the last day that had ended at an instant."""
        return cls(as_utc(as_of).date() - dt.timedelta(days=1))

    @property
    def end(self) -> dt.datetime:
        return midnight(self.date + dt.timedelta(days=1))

    def earlier(self, count: int) -> list["Day"]:
        """Return so many days, this one first and then those before it."""
        return [Day(self.date - dt.timedelta(days=back)) for back in range(count)]

    def has(self, created_at: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Return whether a naive instant in UTC is of the day."""
        return sa.and_(created_at >= naive_utc(midnight(self.date)), created_at < naive_utc(self.end))

    def __str__(self) -> str:
        return self.date.isoformat()


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What came of a day: rows that are new or otherwise than before, those that are as they were, and those left alone."""

    tenants: int
    changed: int
    frozen: int
    """Tenants of whose conversations of the day some were anonymised: what was counted before holds."""


def count_day(connection: sa.Connection, day: Day, *, run_id: str, dry_run: bool) -> Counted:
    """Count a day for each tenant that was there, in the caller's transaction; in a dry run only say what would change."""
    found = _counted(day).subquery("counted")
    tenants, frozen = connection.execute(_tenants(day)).one()
    names = [column.name for column in found.c]
    is_same = sa.and_(*(daily_analytics.c[name].is_not_distinct_from(found.c[name]) for name in names))
    if dry_run:
        known = sa.exists().where(is_same).correlate(found)
        changed = connection.scalar(sa.select(sa.func.count()).select_from(found).where(~known)) or 0
        return Counted(tenants=tenants, changed=changed, frozen=frozen)
    values = {**{name: found.c[name] for name in names}, "computed_at": sa.func.now(), "run_id": sa.literal(run_id)}
    statement = insert(daily_analytics).from_select(list(values), sa.select(*values.values()))
    new = {name: statement.excluded[name] for name in values if name not in ("organization_id", "day")}
    differs = sa.or_(
        *(daily_analytics.c[name].is_distinct_from(statement.excluded[name]) for name in names if name in new)
    )
    statement = statement.on_conflict_do_update(index_elements=["organization_id", "day"], set_=new, where=differs)
    changed = connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
    return Counted(tenants=tenants, changed=changed, frozen=frozen)


def _was_there(day: Day) -> sa.ColumnElement[bool]:
    return organizations.c.created_at < day.end


def _is_frozen(day: Day) -> sa.ColumnElement[bool]:
    """Return whether conversations of a tenant's day were anonymised: their messages are gone, and would be missed."""
    c = conversations.c
    return sa.exists().where(c.organization_id == organizations.c.id, day.has(c.created_at), c.deleted_at.is_not(None))


def _tenants(day: Day) -> sa.Select[tuple[int, int]]:
    count = sa.func.count()
    return sa.select(count, count.filter(_is_frozen(day))).select_from(organizations).where(_was_there(day))


def _counted(day: Day) -> sa.Select[Any]:
    c, m, count = conversations.c, messages.c, sa.func.count()
    of_day = (
        sa.select(
            c.organization_id,
            count.label("conversations"),
            count.filter(c.status == "resolved").label("resolved"),
        )
        .where(day.has(c.created_at))
        .group_by(c.organization_id)
        .subquery("of_day")
    )
    is_of_customer = m.type == "Customer"
    said = (
        sa.select(
            c.organization_id,
            count.label("messages"),
            *(count.filter(m.type == kind).label(f"type_{kind}") for kind in MESSAGE_TYPES),
            *(count.filter(is_of_customer, m.sentiment == each).label(f"sentiment_{each}") for each in SENTIMENTS),
        )
        .select_from(messages.join(conversations, c.id == m.conversation_id))
        .where(day.has(c.created_at))
        .group_by(c.organization_id)
        .subquery("said")
    )

    def number(column: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
        return sa.func.coalesce(column, 0, type_=sa.Integer)

    def by_name(names: tuple[str, ...], prefix: str) -> sa.ColumnElement[Any]:
        pairs = [part for name in names for part in (name, number(said.c[f"{prefix}_{name}"]))]
        return sa.func.jsonb_build_object(*pairs, type_=daily_analytics.c.sentiment.type)

    total = number(of_day.c.conversations)
    share = sa.cast(100 * number(of_day.c.resolved), sa.Double) / sa.func.nullif(total, 0)
    return (
        sa.select(
            organizations.c.id.label("organization_id"),
            sa.literal(day.date, sa.Date).label("day"),
            sa.cast(total, sa.Integer).label("conversations"),
            sa.cast(number(of_day.c.resolved), sa.Integer).label("resolved"),
            share.label("resolution_rate"),
            sa.cast(number(said.c.messages), sa.Integer).label("messages"),
            by_name(MESSAGE_TYPES, "type").label("messages_by_type"),
            by_name(SENTIMENTS, "sentiment").label("sentiment"),
        )
        .select_from(
            organizations.outerjoin(of_day, of_day.c.organization_id == organizations.c.id).outerjoin(
                said, said.c.organization_id == organizations.c.id
            )
        )
        .where(_was_there(day), ~_is_frozen(day))
    )
