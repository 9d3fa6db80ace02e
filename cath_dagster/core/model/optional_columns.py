"""Columns of a service's table that its schema may have or not, so that a job runs before and after they are dropped.

They are read out of the row as a whole. A statement then names no column that may be gone: it is right on either schema,
also where the service's migration drops the column between a run's plan and its batches, and whoever asks by the same
predicate (a plan, a run, `explain`) agrees without having looked. A row is turned into JSON for it, which suits tables of
hundreds of rows, and a predicate that no index has to serve.
"""

from typing import Any

import sqlalchemy as sa

OPTIONAL = "optional"
"""In a column's `info`: why it may be missing, and what its absence means to the jobs, in words."""


def is_optional(column: sa.Column[Any]) -> bool:
    return OPTIONAL in column.info


def optional(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """Return the column's value, NULL where its table has no such column; raise `ValueError` unless marked `OPTIONAL`."""
    if not is_optional(column):
        raise ValueError(f"{column} is not marked as optional")
    row = sa.func.to_jsonb(column.table.table_valued())
    return sa.cast(row.op("->>")(sa.literal(column.name, sa.Text)), column.type)
