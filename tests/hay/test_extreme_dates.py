"""No date that the service may hold, however far off, stops a job."""

import pytest

from cath_dagster.core.run.spec import load_specs
from cath_dagster.hay.tables import METADATA
from tests.hay.hay import Hay
from tests.hay.work import leave_work
from tests.support.extremes import EXTREMES, date_columns, put_extremes

JOBS = {spec.name: set(spec.privileges) for spec in load_specs(Hay.location)}


@pytest.mark.parametrize("table", sorted({column.split(".")[-2] for column in date_columns(METADATA)}))
def test_every_job_does_its_work_beside_dates_that_cannot_be(hay: Hay, table: str) -> None:
    """All columns of a table at once: each is compared in SQL, whatever the others are."""
    leave_work(hay, times=len(EXTREMES))
    for column in date_columns(METADATA):
        if column.split(".")[-2] == table:
            assert put_extremes(hay, ".".join(column.split(".")[-2:])) > 0

    for name, tables in JOBS.items():
        if table in tables:
            assert hay.run(name).error is None, name
