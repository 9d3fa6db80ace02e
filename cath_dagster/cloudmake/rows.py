"""Write one row of a key, in databases that need not have the constraint that ON CONFLICT would want."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa


def write_row(connection: sa.Connection, table: sa.Table, *, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Change the row of a key, or insert it, in the caller's transaction; the job's lock keeps others out."""
    is_row = [table.c[name] == value for name, value in key.items()]
    if not connection.execute(sa.update(table).where(*is_row).values(**values)).rowcount:
        connection.execute(sa.insert(table).values(**key, **values))
