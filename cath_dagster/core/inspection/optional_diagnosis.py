"""Say which of the columns that may be missing are missing, and what that means to the jobs."""

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.optional_columns import OPTIONAL, is_optional
from cath_dagster.core.postgres.identifiers import quote


def diagnose_optional_columns(connection: sa.Connection, tables: Sequence[sa.Table]) -> Iterator[Finding]:
    """Yield a finding for each column marked as optional: with and without it the jobs are right, by other rules."""
    for column in (column for table in tables for column in table.c if is_optional(column)):
        says = "is there" if _exists(connection, column) else "is not there, and need not be"
        yield Finding(subject=f"column {column}", level=Level.OK, message=f"{says}: {column.info[OPTIONAL]}")


def _exists(connection: sa.Connection, column: sa.Column[object]) -> bool:
    query = sa.text(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(:table) AND attname = :name "
        "AND NOT attisdropped)"
    )
    return bool(connection.scalar(query, {"table": f"public.{quote(column.table.name)}", "name": column.name}))
