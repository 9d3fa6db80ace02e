"""The upkeep of the instance under a role that has of our own tables only what it needs, and all of Dagster's."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest
from psycopg import sql

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cli.roles import Roles, give_roles
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.alerts import Alert, Kind
from cath_dagster.operations.backends import open_backends
from cath_dagster.operations.store import AlertStore
from tests.operations.instance import NOW, Instance
from tests.support.roles import Role, role_in
from tests.support.service import SilentReporter

NOT_ENTITLED = "42501"


@pytest.fixture
def role(instance: Instance) -> Iterator[Role]:
    """Yield a role as Dagster's own is: it may do anything with Dagster's tables."""
    open_backends(instance.dagster).prepare()
    with role_in(instance.url, instance.connection) as made:
        name = sql.Identifier(made.name)
        for what in ("TABLES", "SEQUENCES"):
            instance.connection.execute(
                sql.SQL("GRANT ALL ON ALL {} IN SCHEMA public TO {}").format(sql.SQL(what), name)
            )
        give_roles(OPERATIONS, Roles(jobs=made.name, restore=None), now=datetime.now(UTC))
        yield made


def test_the_clean_up_does_its_work_and_dagster_keeps_its_tables(
    instance: Instance, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance.add_run(ended_at=datetime(2020, 1, 1, tzinfo=UTC))
    newest = instance.add_run()
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", role.url)
    with dg.DagsterInstance.get() as limited:
        backends = open_backends(limited)
        backends.prepare()
        (spec,) = [spec for spec in load_specs(OPERATIONS) if spec.name == "clean_instance"]

        result = execute(
            spec, {"as_of": NOW}, run_id="limited", now=datetime(2030, 1, 1, tzinfo=UTC), backends=backends,
            reporter=SilentReporter(),
        )  # fmt: skip

        assert result.error is None
        assert {run.run_id for run in limited.get_runs()} == {newest}
    assert role.attempt("SELECT count(*) FROM secondary_indexes") is None
    for statement in ("DELETE FROM maintenance.ledger_event", "TRUNCATE maintenance.deleted_key"):
        assert role.attempt(statement) == NOT_ENTITLED


def test_alerts_are_recorded_under_the_role(instance: Instance, role: Role) -> None:
    alert = Alert(
        kind=Kind.RUN_FAILED, subject="cath/clear_audit", occurrence="1", title="failed", says=("why",), at=NOW
    )
    engine = open_engine(role.url, variable="URL", application_name="test")
    with Database(engine) as opened:
        assert AlertStore(opened).record([alert]) == 1
        assert AlertStore(opened).record([alert]) == 0
    engine.dispose()
    assert instance.count("maintenance.alert") == 1
