"""Outages of MCP servers: one is opened when a breaker has been open for too long, and closed when it closes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from cath_dagster.cloudmake.servers.breaker import CLOSED, Breaker
from cath_dagster.cloudmake.servers.guidance import guidance
from cath_dagster.cloudmake.tables import mcp_outage as outages


@dataclass(frozen=True, kw_only=True)
class Ended:
    """An outage that is over."""

    server: str
    lasted: timedelta


def settle(
    connection: sa.Connection, breakers: Mapping[str, Breaker], degraded: Iterable[str], *, now: datetime, run_id: str
) -> tuple[list[str], list[Ended]]:
    """Close the outages that are over and open those that are not known yet; return the servers, and what has ended."""
    known = connection.execute(
        sa.select(outages.c.outage_id, outages.c.server_name, outages.c.opened_at).where(outages.c.closed_at.is_(None))
    ).all()
    ended = []
    lasting = set()
    for row in known:
        breaker = breakers.get(row.server_name)
        if breaker is not None and breaker.state != CLOSED and breaker.opened_at == row.opened_at:
            lasting.add(row.server_name)
            continue
        closed_at = _end(breaker, row.opened_at, now)
        connection.execute(
            sa.update(outages).where(outages.c.outage_id == row.outage_id).values(closed_at=closed_at, closed_by=run_id)
        )
        ended.append(Ended(server=row.server_name, lasted=closed_at - row.opened_at))
    begun = [name for name in degraded if name not in lasting]
    for name in begun:
        connection.execute(
            sa.insert(outages).values(
                server_name=name,
                opened_at=breakers[name].opened_at,
                degraded_at=now,
                guidance=guidance(name),
                opened_by=run_id,
            )
        )
    return begun, ended


def _end(breaker: Breaker | None, opened_at: datetime, now: datetime) -> datetime:
    """Return when an outage ended: with the success that closed the breaker, or now where nobody knows."""
    last = breaker.last_success_at if breaker is not None and breaker.state == CLOSED else None
    return last if last is not None and last > opened_at else max(now, opened_at)
