"""Know that a run lives of which nobody else would know that it was killed: its session holds a lock."""

import sqlalchemy as sa

from cath_dagster.core.postgres.database import lock_holder


def hold_alive(connection: sa.Connection, run_id: str) -> None:
    """Say that a run lives for as long as this session does; an older session of the run says it as well."""
    connection.execute(sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtextextended(_name(run_id), 0))))


def is_alive(connection: sa.Connection, run_id: str) -> bool:
    """Return whether a session says that a run lives."""
    return lock_holder(connection, _name(run_id)) is not None


def _name(run_id: str) -> str:
    return f"operations/run/{run_id}"
