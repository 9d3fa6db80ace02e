"""The monthly partitions of the service's events: an event of a month that has none goes nowhere, and fails."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from cath_dagster.core.postgres.identifiers import quote

TABLE = "secret_sync_events"
_PARTITIONS = sa.text(
    """
    SELECT part.relid::oid, pg_get_partition_constraintdef(part.relid) FROM pg_partition_tree('public.secret_sync_events') AS part
    WHERE part.isleaf AND part.level > 0
    """
)
_MAY_CREATE = sa.text(
    """
    SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE')
    FROM pg_class WHERE oid = 'public.secret_sync_events'::regclass
    """
)


@dataclass(frozen=True)
class Month:
    """A month in UTC."""

    begins_at: datetime

    @classmethod
    def of(cls, instant: datetime) -> "Month":
        return cls(instant.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0))

    @property
    def next(self) -> "Month":
        year, month = divmod(self.begins_at.year * 12 + self.begins_at.month, 12)
        return Month(self.begins_at.replace(year=year, month=month + 1))

    @property
    def statement(self) -> str:
        """What makes its partition."""
        name = f"{TABLE}_{self.begins_at:%Y_%m}"
        return (
            f"CREATE TABLE public.{quote(name)} PARTITION OF public.{TABLE} "
            f"FOR VALUES FROM ('{self.begins_at:%Y-%m-%d} 00:00+00') TO ('{self.next.begins_at:%Y-%m-%d} 00:00+00');"
        )


def missing(connection: sa.Connection, as_of: datetime) -> list[Month]:
    """Return the months, this one and the next, that have no partition; none where the table is not partitioned."""
    if connection.scalar(
        sa.text("SELECT relkind <> 'p' FROM pg_class WHERE oid = 'public.secret_sync_events'::regclass")
    ):
        return []
    this = Month.of(as_of)
    bounds = [bound for _, bound in connection.execute(_PARTITIONS)]
    return [month for month in (this, this.next) if not any(_covered(connection, month, bounds))]


def _covered(connection: sa.Connection, month: Month, bounds: list[str | None]) -> Iterator[bool]:
    """Yield for each partition whether the month's first instant is in it, by the server's own reading of its bounds."""
    for bound in bounds:
        # Without a constraint it is a default partition that is alone.
        condition = sa.text(f"SELECT {bound} FROM (SELECT CAST(:at AS timestamptz) AS created_at) AS event")  # noqa: S608
        yield bound is None or bool(connection.scalar(condition, {"at": month.begins_at}))


def may_create(connection: sa.Connection) -> bool:
    """Return whether the role that is logged in may make a partition."""
    return bool(connection.scalar(_MAY_CREATE))


def create(connection: sa.Connection, months: list[Month]) -> None:
    """Make the months' partitions, in the caller's transaction."""
    for month in months:
        connection.exec_driver_sql(month.statement)
