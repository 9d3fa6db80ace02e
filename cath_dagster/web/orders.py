"""From what a client asks for to a run that can be launched: settings checked, reference time pinned, a plan's counts as limit."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import sqlalchemy as sa

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.run.execution import check_partition
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.web import reading, recorded
from cath_dagster.web.approvals import counts_of
from cath_dagster.web.control import Order
from cath_dagster.web.parameters import own_parameters, run_config
from cath_dagster.web.problems import conflict, not_found, unusable


class PlanAsked(Protocol):
    """A dry run, as the API or a form asks for it."""

    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def as_of(self) -> datetime | None: ...
    @property
    def max_rows(self) -> int | None: ...
    @property
    def partition(self) -> str | None: ...


class RunAsked(PlanAsked, Protocol):
    """A run, as the API or a form asks for it."""

    @property
    def dry_run(self) -> bool: ...
    @property
    def plan(self) -> str | None: ...
    @property
    def reason(self) -> str | None: ...


def plan_of(spec: JobSpec, asked: PlanAsked, *, now: datetime, key: str | None) -> Order:
    """Return a dry run; raise a `Problem` with 422 for what no run would take."""
    config = run_config(spec, asked.parameters, as_of=asked.as_of, dry_run=True, max_rows=asked.max_rows, now=now)
    partition, is_pinned = _partition(spec, asked.partition, now), asked.as_of is not None
    return Order(spec=spec, config=config, key=key, partition=partition, is_pinned=is_pinned)


def order_of(connection: sa.Connection, spec: JobSpec, asked: RunAsked, *, now: datetime, key: str | None) -> Order:
    """Return a run, or exactly the one that a dry run showed; raise a `Problem` with 404, 409 or 422."""
    if asked.plan is not None:
        return _as_planned(connection, spec, asked, now=now, key=key)
    config = run_config(
        spec, asked.parameters, as_of=asked.as_of, dry_run=asked.dry_run, max_rows=asked.max_rows, now=now
    )
    partition = _partition(spec, asked.partition, now)
    is_pinned = asked.as_of is not None
    return Order(spec=spec, config=config, key=key, partition=partition, reason=asked.reason, is_pinned=is_pinned)


def _as_planned(connection: sa.Connection, spec: JobSpec, asked: RunAsked, *, now: datetime, key: str | None) -> Order:
    """Return the run of a plan: its settings, its reference time, and no more rows than it counted."""
    if asked.parameters or asked.as_of is not None or asked.max_rows is not None or asked.dry_run:
        raise unusable("a plan has settings and a reference time already; give either a plan, or these")
    rows = reading.read_run(connection, str(asked.plan))
    if not rows or (rows[0].location, rows[0].job) != (spec.location.name, spec.name):
        raise not_found(f"there is no run {asked.plan} of {spec.key}")
    shown = rows[0]
    if not shown.dry_run or shown.status != "success":
        raise conflict(f"run {asked.plan} is no dry run that succeeded: nobody was shown what it would change")
    told = recorded.told(connection, shown)
    count = sum(counts_of(shown.outcomes).values())
    config = run_config(
        spec,
        own_parameters(spec, told),
        as_of=recorded.as_of(told, shown),
        dry_run=False,
        max_rows=_least(count, told.get("max_rows")),
        now=now,
    )
    partition = _partition(spec, told.get("partition") or asked.partition, now)
    return Order(spec=spec, config=config, key=key, partition=partition, reason=asked.reason, is_pinned=True)


def _least(count: int, said: Any) -> int:
    return min(count, said) if isinstance(said, int) else count


def _partition(spec: JobSpec, given: str | None, now: datetime) -> str | None:
    """Return the partition of a run; of a job that has some and was told none, the one that a run without would take."""
    if spec.partitions is not None and given is None:
        return spec.partitions.default(now)
    try:
        check_partition(spec, given)
    except ConfigurationError as error:
        raise unusable(str(error)) from None
    return given
