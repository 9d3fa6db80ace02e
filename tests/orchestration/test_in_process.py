"""Dagster's own ways to run a job or an asset in a test, for every job of every location."""

import importlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from cath_dagster.cath.definitions import defs as cath
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.registry import all_specs, locations
from tests.support.service import Service

DEFINITIONS = {each.name: importlib.import_module(f"{each.package}.definitions").defs for each in locations()}
REPORT = dg.AssetKey(["cath", "media_application_report"])
WEEK = "2026-11-09"


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made


@pytest.fixture
def in_use(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return CaTH, with the environment of its jobs in this process."""
    service.as_of = min(service.as_of, datetime.now(UTC))
    for name, value in service.environ.items():
        monkeypatch.setenv(name, value)
    return service


@pytest.mark.parametrize("spec", all_specs(), ids=lambda spec: str(spec.key))
def test_every_job_gets_its_flat_config_and_says_what_it_lacks(
    spec: JobSpec, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(f"{spec.location.prefix}_DATABASE_URL", raising=False)
    job = DEFINITIONS[spec.location.name].resolve_job_def(spec.name)

    result = job.execute_in_process(
        {"dry_run": True, "max_rows": 1},
        instance=instance,
        partition_key=WEEK if spec.partitions else None,
        raise_on_error=False,
    )

    (failed, *_) = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_failure_data.error is not None
    said = failed.step_failure_data.error.to_string()
    # The instance of a test keeps its runs in SQLite.
    first = spec.variables[0] if spec.variables else r"\w+"
    assert re.search(
        "needs PostgreSQL" if spec.location.backends else f"{spec.location.prefix}_{first}.* not set", said
    )
    assert result.dagster_run.run_config == {"dry_run": True, "max_rows": 1}


@pytest.mark.parametrize("spec", all_specs(), ids=lambda spec: str(spec.key))
def test_a_key_that_no_job_has_is_refused_before_there_is_a_run(spec: JobSpec, instance: dg.DagsterInstance) -> None:
    job = DEFINITIONS[spec.location.name].resolve_job_def(spec.name)

    with pytest.raises(dg.DagsterInvalidConfigError):
        job.execute_in_process({"dry_runn": True}, instance=instance, partition_key=WEEK if spec.partitions else None)


def test_the_weekly_report_is_made(in_use: Service, instance: dg.DagsterInstance) -> None:
    in_use.add_application()

    result = cath.resolve_job_def("media_reporting").execute_in_process(
        {"as_of": in_use.as_of.isoformat()}, instance=instance, partition_key=WEEK
    )

    assert result.success
    assert [event.partition for event in result.get_asset_materialization_events()] == [WEEK]
    assert list(in_use.report_root.rglob("*.csv"))


def test_the_weekly_report_needs_no_config(in_use: Service, instance: dg.DagsterInstance) -> None:
    result = cath.resolve_job_def("media_reporting").execute_in_process(instance=instance, partition_key=WEEK)

    assert result.success


def test_a_partition_that_is_none_is_refused(in_use: Service, instance: dg.DagsterInstance) -> None:
    with pytest.raises(dg.DagsterUnknownPartitionError):
        cath.resolve_job_def("media_reporting").execute_in_process(instance=instance, partition_key="2026-11-10")


def test_a_job_of_the_location_is_done(in_use: Service, instance: dg.DagsterInstance) -> None:
    assert cath.resolve_job_def("clear_audit").execute_in_process({"dry_run": True}, instance=instance).success


def test_the_assets_are_materialised_by_themselves(in_use: Service, instance: dg.DagsterInstance) -> None:
    graph = cath.get_repository_def().assets_defs_by_key
    views = [graph[dg.AssetKey(["cath", f"sdp_mat_view_{name}"])] for name in ("location", "subscription")]

    made = dg.materialize(views, instance=instance)
    report = dg.materialize([graph[REPORT]], instance=instance, partition_key=WEEK)

    assert {event.asset_key for event in made.get_asset_materialization_events()} == {
        key for one in views for key in one.keys
    }
    assert [event.partition for event in report.get_asset_materialization_events()] == [WEEK]


def test_an_op_may_be_called_by_itself(in_use: Service, instance: dg.DagsterInstance) -> None:
    op = cath.resolve_job_def("clear_audit").graph.node_defs[0]
    assert isinstance(op, dg.OpDefinition)

    with dg.build_op_context(op_config={"dry_run": True}, instance=instance) as context:
        op(context)

    assert in_use.count("maintenance.ledger_event", "NOT dry_run") == 0


def test_an_op_that_is_called_by_itself_does_its_work(in_use: Service, instance: dg.DagsterInstance) -> None:
    in_use.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, 3)",
        [in_use.days_ago(91)],
    )
    op = cath.resolve_job_def("clear_audit").graph.node_defs[0]
    assert isinstance(op, dg.OpDefinition)

    with dg.build_op_context(op_config={"as_of": in_use.as_of.isoformat()}, instance=instance) as context:
        op(context)

    assert in_use.count("ingestion_log") == 0
