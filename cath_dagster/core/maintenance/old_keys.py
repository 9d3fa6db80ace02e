"""Forget the keys of rows that were deleted long ago."""

from datetime import timedelta

import sqlalchemy as sa

from cath_dagster.core.maintenance.tables import deleted_key

KEYS_KEPT = timedelta(days=730)
"""For so long the keys of deleted rows prove which run deleted them."""


def forget_old_keys(connection: sa.Connection) -> int:
    """Delete the keys of rows that were deleted long ago, in the caller's transaction; return how many.

    It takes the tables' owner: no job's role may change what it once wrote down.
    """
    return connection.execute(
        sa.delete(deleted_key).where(deleted_key.c.deleted_at < sa.func.now() - KEYS_KEPT)
    ).rowcount
