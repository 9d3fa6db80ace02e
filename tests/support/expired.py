"""Rows that a job's rule takes, made from what its specification says: for a job whose rows no builder of a test makes."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.model.purge import Child, Purge
from cath_dagster.core.model.settings import read_settings
from cath_dagster.core.roles.required_privileges import Moment
from cath_dagster.core.run.spec import JobSpec, load_specs
from tests.support.maintained import Maintained
from tests.support.rows import add_row

A_CENTURY = timedelta(days=36_501)
"""Longer than anything may be kept."""


def leave_work(service: Maintained, *, times: int = 1) -> None:
    """Leave expired rows for every job of the service which purges by age and would find none."""
    for spec in load_specs(service.location):
        add_expired(service, spec, times=times)


def add_expired(service: Maintained, spec: JobSpec, *, times: int = 1) -> None:
    """Add rows past any retention, with what goes along, to each table that a job purges by age and has none to purge."""
    settings = read_settings(
        spec.settings, {}, location=spec.location.name, job=spec.name, environ=service.environ
    )  # fmt: skip
    ages = spec.database.age_columns if spec.database is not None else {}
    for purge in spec.purges_at(Moment(service.as_of, service.environ), settings) or ():
        name = purge.table.name
        if name not in ages or purge.table.schema == SCHEMA or _count_due(service, purge):
            continue
        for _ in range(times):
            key = add_row(service, name, **{ages[name]: service.as_of - A_CENTURY})
            _add_children(service, purge.children, key)


def _count_due(service: Maintained, purge: Purge) -> int:
    engine = open_engine(service.url, variable="URL", application_name="expired")
    with engine.connect() as connection:
        found = connection.scalar(sa.select(sa.func.count()).select_from(purge.table).where(purge.predicate))
    engine.dispose()
    return found or 0


def _add_children(service: Maintained, children: Sequence[Child], key: Any) -> None:
    for child in children:
        its_key = add_row(service, child.table.name, **{child.column.name: key})
        _add_children(service, child.children, its_key)
