"""Dates that PostgreSQL holds and Python does not, put into every column by which a service's jobs go."""

import sqlalchemy as sa

from tests.support.maintained import Maintained
from tests.support.rows import add_row

EXTREMES = (
    *("-infinity", "4713-01-01 00:00:00 BC", "0044-03-15 12:00:00 BC", "0001-01-01 00:00:00"),
    *("infinity", "99999-01-01 00:00:00", "20265-01-01 00:00:00", "9999-12-31 23:59:59.999"),
)
REFUSED_BY_DRIVER = ("driver refused", "does not fit")


def date_columns(metadata: sa.MetaData) -> list[str]:
    """Return `table.column` of every date and instant that the jobs know of."""
    columns = [column for table in metadata.sorted_tables for column in table.c]
    return [str(column) for column in columns if isinstance(column.type, sa.DateTime | sa.Date)]


def put_extremes(service: Maintained, column: str) -> int:
    """Give the rows of a column's table the extremes in turn; return how many rows there are.

    A table of which no builder of the location's tests knows gets rows first.
    """
    table, name = column.split(".")
    for _ in range(0 if service.count(f'"{table}"') else len(EXTREMES)):
        add_row(service, table)
    values = ", ".join(f"'{value}'" for value in EXTREMES)
    statement = f"""
        WITH placed AS (SELECT ctid AS place, row_number() OVER () AS number FROM "{table}")
        UPDATE "{table}" AS t SET "{name}" = (ARRAY[{values}]::timestamp[])[1 + (number - 1) % {len(EXTREMES)}]
        FROM placed WHERE placed.place = t.ctid
    """
    return service.connection.execute(statement).rowcount


def said_of_dates(error: str | None) -> list[str]:
    """Return what a run's error says of values that could not be read."""
    return [words for words in REFUSED_BY_DRIVER if words in (error or "")]
