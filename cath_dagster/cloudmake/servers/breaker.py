"""The breakers in the database as the job uses them: by the same two functions as every service, and as they stand."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.cloudmake.tables import circuit_breaker as breakers
from cath_dagster.core.maintenance.tables import SCHEMA

CLOSED, OPEN, HALF_OPEN = "CLOSED", "OPEN", "HALF_OPEN"
_FUNCTIONS = getattr(sa.func, SCHEMA)


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """One breaker as it stands."""

    name: str
    state: str = CLOSED
    failures: int = 0
    opened_at: datetime | None = None
    last_failure_at: datetime | None = None
    last_success_at: datetime | None = None
    misconfigured_since: datetime | None = None
    looked_at: datetime | None = None
    """When the job last looked at it; None for one that is the services' own."""
    detail: str | None = None

    def open_for(self, now: datetime) -> timedelta:
        """Return how long it has been open, nothing of a closed one. What it knows may be newer than a run's time."""
        if self.opened_at is None:
            return timedelta(0)
        known = [instant for instant in (self.last_failure_at, self.last_success_at) if instant is not None]
        return max([now, *known]) - self.opened_at

    def is_degraded(self, now: datetime, threshold: timedelta) -> bool:
        """Return whether it has been open for longer than that, counted from when it first opened."""
        return self.state != CLOSED and self.open_for(now) > threshold


def allow(connection: sa.Connection, name: str, at: datetime) -> bool:
    """Return whether the server may be asked now; of a half-open one, one caller at a time."""
    return bool(connection.scalar(sa.select(_FUNCTIONS.breaker_allow(name, at))))


def record(connection: sa.Connection, name: str, at: datetime, *, fault: str | None) -> Breaker:
    """Record how a question ended, and return the breaker as it stands then."""
    detail = sa.literal(fault, sa.Text)
    connection.execute(sa.select(_FUNCTIONS.breaker_record(name, fault is None, detail, at)))
    return read_one(connection, name)


def open_since(connection: sa.Connection, name: str, since: datetime) -> None:
    """Open a closed breaker of a server that has answered nobody since then: the job asks too seldom to fill the window."""
    is_silent = sa.or_(breakers.c.last_success_at.is_(None), breakers.c.last_success_at < since)
    connection.execute(
        sa.update(breakers)
        .where(breakers.c.name == name, breakers.c.state == CLOSED, is_silent)
        .values(state=OPEN, opened_at=since, successes=0, probe_until=None)
    )


def set_limits(connection: sa.Connection, names: Iterable[str], limits: Mapping[str, int]) -> None:
    """Give breakers the limits by which all callers go, and make those that there are not yet."""
    for name in names:
        # The table is ours in every database; a service may make the same row at this very moment.
        made = insert(breakers).values(name=name, state=CLOSED, failures=[], successes=0, **limits)
        connection.execute(made.on_conflict_do_update(index_elements=[breakers.c.name], set_=limits))


def mark_looked_at(connection: sa.Connection, names: Collection[str], at: datetime, *, are_all: bool) -> None:
    """Write down when these were looked at; where they are all that there are, the others are no longer the job's."""
    connection.execute(sa.update(breakers).where(breakers.c.name.in_(names)).values(probed_at=at))
    if are_all:
        others = sa.and_(breakers.c.name.not_in(names), breakers.c.probed_at.is_not(None))
        connection.execute(sa.update(breakers).where(others).values(probed_at=None))


def read_one(connection: sa.Connection, name: str) -> Breaker:
    """Return a breaker; one that somebody has deleted meanwhile is closed, as for every caller."""
    return read(connection, [name]).get(name) or Breaker(name=name)


def read(connection: sa.Connection, names: Sequence[str] | None = None) -> dict[str, Breaker]:
    """Return breakers by name, all of them unless some are named."""
    query = sa.select(
        breakers.c.name,
        breakers.c.state,
        sa.func.cardinality(breakers.c.failures).label("failures"),
        breakers.c.opened_at,
        breakers.c.last_failure_at,
        breakers.c.last_success_at,
        breakers.c.misconfigured_since,
        breakers.c.probed_at.label("looked_at"),
        breakers.c.detail,
    ).order_by(breakers.c.name)
    if names is not None:
        query = query.where(breakers.c.name.in_(names))
    return {row.name: Breaker(**row._asdict()) for row in connection.execute(query)}
