"""Open drift, as the service's table keeps it: one open row a server or source, since when it was first seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cath_dagster.cloudmake.drift.source import Reading
from cath_dagster.cloudmake.tables import mcp_drift_snapshots as table
from cath_dagster.core.extremes import on_calendar

RESOLVED, DETECTED = "resolved", "detected"
_IS_OPEN = table.c.resolved_at.is_(None)


@dataclass(frozen=True)
class OpenSnapshot:
    """Drift that is not resolved."""

    server_name: str
    detected_at: datetime
    source: str


def read_open(connection: sa.Connection) -> list[OpenSnapshot]:
    """Return all that is open, the oldest first, whoever wrote it."""
    source = table.c.diff_json["source"].as_string()
    at = on_calendar(table.c.detected_at)
    query = sa.select(table.c.server_name, at, source).where(_IS_OPEN).order_by(table.c.detected_at)
    return [OpenSnapshot(name, at, source or "another writer") for name, at, source in connection.execute(query)]


def store(connection: sa.Connection, readings: Sequence[Reading], *, complete: Sequence[str], as_of: datetime) -> int:
    """Bring the open rows up to date with what was read; return how many rows were written. The caller owns the transaction.

    What was not read keeps its row. Of a source that was read completely, the row of a server that is configured no more
    is resolved.
    """
    written = sum(_store_one(connection, reading, as_of) for reading in readings)
    source = table.c.diff_json["source"].as_string()
    for name in complete:
        known = [reading.server_name for reading in readings if reading.source == name]
        written += _resolve(connection, as_of, source == name, table.c.server_name.not_in(known))
    return written


def _store_one(connection: sa.Connection, reading: Reading, as_of: datetime) -> int:
    of_server = table.c.server_name == reading.server_name
    if not reading.difference:
        return _resolve(connection, as_of, of_server)
    diff: dict[str, Any] = {"source": reading.source, **reading.difference.as_json()}
    query = (
        sa.select(table.c.id, table.c.diff_json).where(of_server, _IS_OPEN).order_by(table.c.detected_at, table.c.id)
    )
    found = connection.execute(query).first()
    if found is None:
        connection.execute(
            sa.insert(table).values(server_name=reading.server_name, diff_json=diff, detected_at=as_of, status=DETECTED)
        )
        return 1
    written = _resolve(connection, as_of, of_server, table.c.id != found.id)
    if found.diff_json == diff:
        return written
    connection.execute(sa.update(table).where(table.c.id == found.id).values(diff_json=diff))
    return written + 1


def _resolve(connection: sa.Connection, as_of: datetime, *which: sa.ColumnElement[bool]) -> int:
    # An instant that comes before the detection would make it take less than no time.
    at = sa.func.greatest(table.c.detected_at, as_of)
    statement = sa.update(table).where(_IS_OPEN, *which).values(resolved_at=at, status=RESOLVED)
    return connection.execute(statement).rowcount
