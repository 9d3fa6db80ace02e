"""The instance's own tables are those that Dagster finds, or nothing is cleaned."""

from collections.abc import Iterator

import pytest

from cath_dagster.core.inspection.diagnosis import diagnose
from cath_dagster.core.model.finding import Level
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.run.spec import load_specs
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.backends import open_backends
from tests.operations.instance import Instance, run_job


@pytest.fixture
def another(instance: Instance) -> Iterator[Instance]:
    """Yield an instance beside whose tables lie those of another, first on its role's search path."""
    open_backends(instance.dagster).prepare()
    instance.connection.execute("CREATE SCHEMA postgres; CREATE TABLE postgres.runs (LIKE public.runs INCLUDING ALL)")
    yield instance
    instance.connection.execute("DROP SCHEMA postgres CASCADE")


def test_tables_that_dagster_finds_elsewhere_are_not_cleaned_in_public(another: Instance) -> None:
    done, plan = run_job(another, "clean_instance"), run_job(another, "clean_instance", dry_run=True)

    assert done.status is Status.REFUSED
    assert "table runs: the role's search path finds it in the schema postgres" in (done.error or "")
    assert plan.would_refuse == done.error


def test_doctor_names_them(another: Instance) -> None:
    engine = open_backends(another.dagster).engine("doctor")
    with engine.connect() as connection:
        found = list(diagnose(connection, OPERATIONS, load_specs(OPERATIONS)))
    engine.dispose()

    assert [each.subject for each in found if each.level is Level.PROBLEM] == ["table runs"]
