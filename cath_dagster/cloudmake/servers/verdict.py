"""Whether every MCP server is well: none degraded, and none that nobody has looked at lately."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from cath_dagster.cloudmake.servers import breaker
from cath_dagster.cloudmake.servers.breaker import CLOSED, HALF_OPEN, OPEN, Breaker
from cath_dagster.core.model.check import Check, Verdict
from cath_dagster.core.postgres.database import Database

THRESHOLD = timedelta(seconds=90)
"""The specification's: from then on a server is degraded."""
LOOKED_AT_WITHIN = timedelta(seconds=450)
"""More than a slow run takes from one tick to the next, and less than a missed tick leaves."""
NEVER = "no server was ever looked at: run mcp_outage_detection"


def judge(breakers: Iterable[Breaker], now: datetime, threshold: timedelta) -> Verdict:
    """Return how the servers are by their breakers; one that nobody looked at is never well."""
    known = list(breakers)
    if not known:
        return Verdict(passed=False, message=NEVER)
    found = {each.name: says for each in known if (says := _trouble(each, now, threshold))}
    details = {
        "open": sum(1 for each in known if each.state == OPEN),
        "half_open": sum(1 for each in known if each.state == HALF_OPEN),
        "degraded": sum(1 for each in known if each.is_degraded(now, threshold)),
    }
    return Verdict(
        passed=not found,
        message="; ".join(f"{name}: {says}" for name, says in found.items()),
        details=details,
        subjects=tuple(found),
    )


def not_looked_at(each: Breaker, now: datetime) -> bool:
    """Return whether a tick was missed; of a breaker of the services' own, nobody is waited for."""
    return each.looked_at is not None and now - each.looked_at > LOOKED_AT_WITHIN


def _trouble(each: Breaker, now: datetime, threshold: timedelta) -> str | None:
    if each.is_degraded(now, threshold):
        why = f", {each.detail}" if each.detail else ""
        return f"degraded since {each.opened_at:%Y-%m-%d %H:%M:%S %Z}, {each.state}{why}"
    if not_looked_at(each, now):
        state = "" if each.state == CLOSED else f", {each.state} then"
        return f"not looked at since {each.looked_at:%Y-%m-%d %H:%M:%S %Z}{state}"
    return None


def evaluate(database: Database, as_of: datetime) -> Verdict:
    """Answer the check from the database alone."""
    return judge(database.transaction(breaker.read).values(), as_of, THRESHOLD)


CHECK: Check[Database] = Check(
    name="no_degraded_server",
    asset="circuit_breaker",
    description="No MCP server's breaker has been open for more than 90 s, and all were looked at by the last ticks.",
    evaluate=evaluate,
)
