"""Write down what was measured of MCP servers: a row a day and server, and a row for every call."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cath_dagster.cloudmake.rows import write_row
from cath_dagster.cloudmake.servers.measurement import Call, Measurement
from cath_dagster.cloudmake.tables import mcp_server_metrics as metrics
from cath_dagster.cloudmake.tables import mcp_tool_invocations as invocations
from cath_dagster.core.instants import as_utc
from cath_dagster.core.ports.mcp import McpFault

ACTOR = "system"
REFUSED = "refused"
"""The error code of a tool that was named and not called, because it may do more than read."""


def write_calls(
    connection: sa.Connection, server: str, calls: Iterable[Call], *, began_at: datetime, run_id: str
) -> None:
    """Write a row for every call: its name and how it went, neither what was asked nor what came.

    `began_at` is when the run's own seconds began.
    """
    rows = [
        {
            "tool_name": call.tool,
            "duration_ms": round(1000 * call.seconds),
            "success": call.fault is None,
            "error_code": None if call.fault is None else str(call.fault),
            "timestamp": began_at + timedelta(seconds=call.began),
            "rate_limit_applied": call.was_held or call.fault is McpFault.RATE_LIMITED,
        }
        for call in calls
    ]
    _write(connection, server, rows, run_id)


def write_refused(connection: sa.Connection, server: str, tools: Iterable[str], *, at: datetime, run_id: str) -> None:
    """Write a row for every tool that was named and not called."""
    nothing = {"duration_ms": 0, "success": False, "error_code": REFUSED, "rate_limit_applied": False}
    _write(connection, server, [{"tool_name": tool, "timestamp": at, **nothing} for tool in tools], run_id)


def _write(connection: sa.Connection, server: str, rows: Sequence[Mapping[str, Any]], run_id: str) -> None:
    """Write rows without reading them back: the role may insert here, and no more."""
    shared = {"server_name": server, "actor_type": ACTOR, "correlation_id": correlation(run_id)}
    if rows:
        connection.execute(sa.insert(invocations).inline(), [{**shared, **row} for row in rows])


def write_metrics(connection: sa.Connection, measured: Measurement, as_of: datetime) -> None:
    """Write the row of the server and the UTC date, or change the one that is there; the job's lock keeps others out."""
    day = as_utc(as_of).date()
    values = {
        "p95_latency_ms": round(measured.p95_ms),
        "error_rate_pct": round(measured.error_percent, 2),
        "seq_latency_ms": _whole(measured.p50_ms),
        "parallel_latency_ms": _whole(measured.parallel_ms),
    }
    write_row(connection, metrics, key={"server_name": measured.server, "date": day}, values=values)


def correlation(run_id: str) -> uuid.UUID:
    """Return the id that all rows of a run share: the run's own, where that is one."""
    try:
        return uuid.UUID(run_id)
    except ValueError:
        return uuid.uuid5(uuid.NAMESPACE_OID, run_id)


def _whole(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds)
