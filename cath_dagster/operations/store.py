"""Remember alerts: what happened, what was told to which channel, and what is to be tried again.

Watching and telling are two steps with this table between them. An alert that was recorded is told, whatever is killed;
one that was told is told again only if the kill came between a channel's answer and the next statement.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.alerts import Alert, Kind
from cath_dagster.operations.tables import alert

KEPT_TRYING = timedelta(days=7)
"""Older news would surprise: whoever sets up channels on an old instance does not want its history."""
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(minutes=30)


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A message that is to be told: its newest alert, and for how many more it stands."""

    message_id: int
    kind: str
    title: str
    says: list[str]
    path: str | None
    is_over: bool
    others: int
    delivered: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What is not told yet. `oldest_at` is None where nothing waits."""

    waiting: int
    oldest_at: datetime | None
    attempts: int
    last_error: str | None


@dataclass(frozen=True, kw_only=True)
class GivenUp:
    """Messages that are tried no more and did not reach every channel."""

    count: int
    newest_at: datetime


_TOLD = alert.alias("told")


class AlertStore:
    """The table of alerts; every method is a transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, alerts: Iterable[Alert]) -> int:
        """Remember alerts that are not known yet; return how many were new."""
        rows = [
            {
                "fingerprint": each.fingerprint,
                "occurrence": each.occurrence,
                "kind": each.kind.value,
                "title": each.title,
                "says": list(each.says),
                "path": each.path,
                "is_over": each.is_over,
                "raised_at": each.at,
            }
            for each in alerts
        ]
        if not rows:
            return 0
        statement = insert(alert).values(rows).on_conflict_do_nothing().returning(alert.c.alert_id)
        return self._database.transaction(lambda connection: len(connection.scalars(statement).all()))

    def open_problems(self, kind: Kind) -> dict[str, datetime]:
        """Return the subjects of a kind whose newest alert is no end, with the instant of that alert."""
        newest = (
            sa.select(alert.c.fingerprint, alert.c.is_over, alert.c.raised_at)
            .distinct(alert.c.fingerprint)
            .where(alert.c.kind == kind.value)
            .order_by(alert.c.fingerprint, alert.c.alert_id.desc())
        )
        rows = self._database.transaction(lambda connection: connection.execute(newest).all())
        start = f"{kind.value}:"
        return {row.fingerprint.removeprefix(start): row.raised_at for row in rows if not row.is_over}

    def ended_problems(self, kind: Kind) -> dict[str, datetime]:
        """Return the subjects of a kind of which an end was told, with the instant of the newest."""
        query = (
            sa.select(alert.c.fingerprint, sa.func.max(alert.c.raised_at))
            .where(alert.c.kind == kind.value, alert.c.is_over)
            .group_by(alert.c.fingerprint)
        )
        rows = self._database.transaction(lambda connection: connection.execute(query).all())
        return {row[0].removeprefix(f"{kind.value}:"): row[1] for row in rows}

    def seal(self, *, now: datetime, interval: timedelta) -> None:
        """Decide which messages go now; what comes later is a message of its own."""
        self._database.transaction(lambda connection: _seal(connection, now, interval))

    def due(self, *, now: datetime) -> list[Sealed]:
        """Return the messages that are to be tried now, oldest first."""
        others = sa.select(sa.func.count()).where(_TOLD.c.message_id == alert.c.alert_id).scalar_subquery() - 1
        query = (
            sa.select(alert, others.label("others"))
            .where(alert.c.message_id == alert.c.alert_id, alert.c.settled_at.is_(None))
            .where(alert.c.raised_at > now - KEPT_TRYING)
            .where(sa.or_(alert.c.next_attempt_at.is_(None), alert.c.next_attempt_at <= now))
            .order_by(alert.c.alert_id)
        )
        rows = self._database.transaction(lambda connection: connection.execute(query).all())
        return [
            Sealed(
                message_id=row.alert_id,
                kind=row.kind,
                title=row.title,
                says=row.says,
                path=row.path,
                is_over=row.is_over,
                others=row.others,
                delivered=row.delivered,
            )
            for row in rows
        ]

    def delivered(self, message_id: int, channel: str, *, now: datetime) -> None:
        """Remember that a channel has taken a message."""
        taken = sa.cast({channel: now.isoformat()}, JSONB)
        self._update(message_id, delivered=alert.c.delivered.op("||")(taken))

    def settle(self, message_id: int, *, now: datetime) -> None:
        """Remember that every channel has a message."""
        told = sa.update(alert).where(alert.c.message_id == message_id).values(settled_at=now, last_error=None)
        self._database.transaction(lambda connection: connection.execute(told))

    def failed(self, message_id: int, error: str, *, now: datetime) -> None:
        """Remember that a message is to be tried again, later from time to time."""
        pause = sa.func.least(
            sa.literal(FIRST_PAUSE, sa.Interval) * sa.func.power(2, sa.func.least(alert.c.attempts, 10)),
            sa.literal(LONGEST_PAUSE, sa.Interval),
        )
        self._update(
            message_id,
            attempts=alert.c.attempts + 1,
            last_error=error,
            next_attempt_at=sa.literal(now, sa.DateTime(timezone=True)) + pause,
        )

    def backlog(self, *, now: datetime) -> Backlog:
        """Return which messages were tried, or are about to be, and did not reach every channel."""
        query = sa.select(
            sa.func.count(),
            sa.func.min(alert.c.raised_at),
            sa.func.max(alert.c.attempts),
            sa.func.max(alert.c.last_error),
        ).where(
            alert.c.message_id == alert.c.alert_id, alert.c.settled_at.is_(None), alert.c.raised_at > now - KEPT_TRYING
        )
        count, oldest_at, attempts, error = self._database.transaction(
            lambda connection: connection.execute(query).one()
        )
        return Backlog(waiting=count, oldest_at=oldest_at, attempts=attempts or 0, last_error=error)

    def oldest_unsealed(self, *, now: datetime) -> datetime | None:
        """Return when the oldest alert was raised that no message stands for yet: nobody has tried to tell it."""
        query = sa.select(sa.func.min(alert.c.raised_at)).where(
            alert.c.message_id.is_(None), alert.c.raised_at > now - KEPT_TRYING
        )
        oldest: datetime | None = self._database.transaction(lambda connection: connection.scalar(query))
        return oldest

    def given_up(self, *, now: datetime) -> GivenUp | None:
        """Return the messages that some channel never took, while they are not acknowledged and their rows are kept."""
        query = sa.select(sa.func.count(), sa.func.max(alert.c.raised_at)).where(_is_given_up(now))
        count, newest_at = self._database.transaction(lambda connection: connection.execute(query).one())
        return GivenUp(count=count, newest_at=newest_at) if count else None

    def acknowledge(self, *, now: datetime) -> int:
        """Settle what was given up, as somebody has read it elsewhere; return how many messages that were."""
        settled = sa.update(alert).where(_is_given_up(now)).values(settled_at=now).returning(alert.c.alert_id)
        return self._database.transaction(lambda connection: len(connection.scalars(settled).all()))

    def _update(self, message_id: int, **values: object) -> None:
        statement = sa.update(alert).where(alert.c.alert_id == message_id).values(**values)
        self._database.transaction(lambda connection: connection.execute(statement))


def _is_given_up(now: datetime) -> sa.ColumnElement[bool]:
    """A message that was tried and did not reach every channel in time. What nobody ever tried has no channel to miss."""
    return sa.and_(
        alert.c.message_id == alert.c.alert_id,
        alert.c.settled_at.is_(None),
        alert.c.attempts > 0,
        alert.c.raised_at <= now - KEPT_TRYING,
    )


def _seal(connection: sa.Connection, now: datetime, interval: timedelta) -> None:
    """Seal what no message stands for yet, a message per fingerprint.

    A problem waits until its fingerprint's last message of a problem is old enough. Its end goes at once; where the
    last word was an end already, the next has no more news than a problem and waits as well.
    """
    unsealed = sa.and_(alert.c.message_id.is_(None), alert.c.raised_at > now - KEPT_TRYING)
    newest = (
        sa.select(alert.c.fingerprint, alert.c.alert_id, alert.c.is_over)
        .distinct(alert.c.fingerprint)
        .where(unsealed)
        .order_by(alert.c.fingerprint, alert.c.alert_id.desc())
        .subquery()
    )
    is_told = sa.and_(_TOLD.c.fingerprint == newest.c.fingerprint, _TOLD.c.message_id == _TOLD.c.alert_id)
    last_was_over = sa.select(_TOLD.c.is_over).where(is_told).order_by(_TOLD.c.alert_id.desc()).limit(1)
    recently = sa.exists().where(is_told, sa.not_(_TOLD.c.is_over), _TOLD.c.sealed_at > now - interval)
    ends = sa.and_(newest.c.is_over, sa.not_(sa.func.coalesce(last_was_over.scalar_subquery(), sa.false())))
    due = sa.select(newest).where(sa.or_(ends, sa.not_(recently))).cte("due")
    statement = (
        sa.update(alert)
        .where(unsealed, alert.c.fingerprint == due.c.fingerprint, alert.c.alert_id <= due.c.alert_id)
        .values(message_id=due.c.alert_id, sealed_at=now)
    )
    connection.execute(statement)
