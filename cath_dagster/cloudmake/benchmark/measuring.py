"""Measure each query in the role and as the session's own, and look why it takes so long; in one transaction or several."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.cloudmake.benchmark.plans import PerRow, find_per_row
from cath_dagster.cloudmake.benchmark.queries import TABLES, WARM_UPS, Query
from cath_dagster.cloudmake.benchmark.role import Guise, disguised
from cath_dagster.cloudmake.nearest_rank import nearest_rank
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.postgres.database import sqlstate

_CANCELLED = "57014"


class MeaninglessError(MaintenanceError):
    """Whatever was measured would say nothing."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How each query is measured."""

    administrator: Guise
    user: Guise
    functions: tuple[str, ...]
    iterations: int
    timeout_ms: int
    as_of: datetime
    clock: Callable[[], float]


@dataclass(frozen=True)
class Times:
    """What one query takes, round trip included, in milliseconds."""

    p50_ms: float
    p95_ms: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is known of one query."""

    query: str
    administrator: Times | None
    """None where it took longer than a statement may."""
    owner: Times | None
    per_row: tuple[PerRow, ...] = field(default=())

    @property
    def times(self) -> dict[str, Times]:
        """By whom it was measured as."""
        both = {"administrator": self.administrator, "owner": self.owner}
        return {name: times for name, times in both.items() if times is not None}


def count_rows(connection: sa.Connection) -> dict[str, int]:
    """Return how many rows each table has, as the session's own role sees it."""
    counts = {name: connection.scalar(sa.text(f"SELECT count(*) FROM public.{name}")) for name in TABLES}  # noqa: S608 - ours
    return {name: int(count or 0) for name, count in counts.items()}


def check_claims(connection: sa.Connection, plan: Plan, rows: Mapping[str, int]) -> None:
    """Raise `MeaninglessError` unless a user's claim sees no audit row, and an administrator's every one."""
    count = sa.text("SELECT count(*) FROM public.admin_audit_logs")
    with disguised(connection, plan.user):
        seen = connection.scalar(count)
    if seen:
        raise MeaninglessError(
            f"a user's claim sees {seen:,} rows of admin_audit_logs, which policies should hide: nothing was measured; see "
            f"whether row-level security there reads {plan.user.claims_setting}"
        )
    with disguised(connection, plan.administrator):
        seen = connection.scalar(count)
    if seen != rows["admin_audit_logs"]:
        raise MeaninglessError(
            f"the administrator's claim sees {seen:,} of {rows['admin_audit_logs']:,} rows of admin_audit_logs: nothing was "
            "measured; set claims_setting and admin_claims to what the policies read"
        )


def measure(connection: sa.Connection, query: Query, plan: Plan) -> Measured:
    """Measure one query both ways; what takes longer than a statement may is not measured."""
    given = {"as_of": plan.as_of} if "%(as_of)s" in query.statement else {}
    with disguised(connection, plan.administrator):
        per_row = find_per_row(connection, query.statement, given, plan.functions)
    return Measured(
        query=query.name,
        administrator=_time(connection, query.statement, given, plan, plan.administrator),
        owner=_time(connection, query.statement, given, plan, None),
        per_row=tuple(per_row),
    )


def _time(
    connection: sa.Connection, statement: str, given: dict[str, Any], plan: Plan, guise: Guise | None
) -> Times | None:
    samples = []
    # A plan that the driver has prepared is not what a service gets that asks once a request.
    driver: Any = connection.connection.driver_connection
    driver.prepare_threshold = None
    try:
        with disguised(connection, guise, timeout_ms=plan.timeout_ms):
            for _ in range(WARM_UPS + plan.iterations):
                started = plan.clock()
                # The rows are here by then. To make Python's values of them is the client's own time, and of a date beyond the
                # calendar there is none.
                connection.exec_driver_sql(statement, given).close()
                samples.append(1_000 * (plan.clock() - started))
    except DBAPIError as error:
        if sqlstate(error) != _CANCELLED:
            raise
        return None
    measured = samples[WARM_UPS:]
    # There is one iteration at least, and so a rank.
    p50, p95 = (round(cast(float, nearest_rank(measured, percent)), 3) for percent in (50, 95))
    return Times(p50, p95)
