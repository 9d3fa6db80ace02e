"""The history of runs as tests write it and read it back."""

from datetime import datetime, timedelta
from typing import Any

import psycopg

from cath_dagster.core.history.writing import Begun, Ended
from tests.operations.instance import NOW, Instance

BEGUN = Begun(location="cath", job="clear_audit", run_id="r1", trigger="schedule", started_at=NOW)


def ended(status: str = "success", seconds: float = 2, at: datetime = NOW, **more: Any) -> Ended:
    """Return how a run ended, so many seconds after it began at `at`."""
    return Ended(status=status, completed_at=at + timedelta(seconds=seconds), **more)


def job(instance: Instance, name: str = "clear_audit") -> dict[str, Any]:
    """Return what the registry has of a job of Cath's."""
    query = "SELECT * FROM operations.scheduled_job WHERE location = 'cath' AND name = %s"
    with instance.connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(query, [name]).fetchone()
    assert row is not None
    return row


def rows(instance: Instance, columns: str) -> list[tuple[Any, ...]]:
    """Return these columns of the history, the oldest run first."""
    return instance.connection.execute(
        f"SELECT {columns} FROM operations.scheduled_job_history ORDER BY started_at, id"
    ).fetchall()


def totals(instance: Instance) -> tuple[int, int, int]:
    """Return of `clear_audit` its runs, its failures and their average duration in milliseconds, 0 if it has none."""
    found = job(instance)
    return found["total_runs"], found["total_failures"], found["average_duration_ms"] or 0
