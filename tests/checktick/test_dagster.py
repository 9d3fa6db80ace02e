"""The code location `checktick`, and data governance as a Dagster run: three ops, one after the other."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cath_dagster.checktick import CHECKTICK
from cath_dagster.checktick.assets import DECISION_CHECK, OVERDUE_CHECK, POLICY_CHECK, REPORT_KEY, TABLES
from cath_dagster.checktick.definitions import defs
from cath_dagster.core.run.spec import load_specs
from tests.checktick.checktick import CheckTick
from tests.support.fresh import declared, load_afresh
from tests.support.inventory import inventory

pytestmark = pytest.mark.stack

REPOSITORY = Path(__file__).parents[2]
OVERDUE = {"deletion_date": datetime(2026, 1, 1, tzinfo=UTC)}
REFUSE = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON surveys_survey FOR EACH ROW EXECUTE FUNCTION refuse();
"""
NEW_TABLE = "CREATE TABLE surveys_reminder (id bigint PRIMARY KEY, survey_id bigint REFERENCES surveys_survey)"


@pytest.fixture
def exported(checktick: CheckTick, monkeypatch: pytest.MonkeyPatch) -> CheckTick:
    """Give this process CheckTick's environment, as a run's worker has it."""
    for name, value in checktick.environ.items():
        monkeypatch.setenv(name, value)
    # What is done now is of the day that a run reports on.
    checktick.as_of = datetime.now(UTC)
    return checktick


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def governance_job() -> dg.JobDefinition:
    return defs.resolve_job_def("data_governance")


def launch(
    instance: dg.DagsterInstance, *, again: dg.ReexecutionOptions | None = None, **config: Any
) -> dg.JobExecutionResult:
    """Run data governance by its own executor, as a launched run does."""
    return dg.execute_job(
        dg.reconstructable(governance_job),
        instance=instance,
        run_config=config,
        raise_on_error=False,
        reexecution_options=again,
    )


def ended(result: dg.JobExecutionResult) -> dict[str, str]:
    """Return how each step ended; one that never began is not there."""
    ends = {"STEP_SUCCESS": "success", "STEP_FAILURE": "failure"}
    events = [event for event in result.all_events if event.event_type_value in ends]
    return {str(event.step_key): ends[event.event_type_value] for event in events}


def checks(instance: dg.DagsterInstance, result: dg.JobExecutionResult) -> dict[str, tuple[bool, str]]:
    """Return by name whether each check of a run passed, and its severity."""
    evaluations = result.get_asset_check_evaluations()
    return {each.check_name: (each.passed, each.severity.value) for each in evaluations}


def test_loads_in_a_fresh_interpreter_without_variables_network_or_warnings() -> None:
    loaded = load_afresh("checktick")

    assert loaded["jobs"] == sorted(inventory("checktick"))
    assert set(loaded["schedules"].values()) == {"RUNNING"}
    assert {"obstore", "jinja2.environment", "alembic", "smtplib", "psycopg2"} & set(loaded["modules"]) <= {"smtplib"}


def test_schedules_are_stopped_by_default_where_the_environment_says_so() -> None:
    assert set(declared("checktick", {"CHECKTICK_SCHEDULES": "stopped"})["schedules"].values()) == {"STOPPED"}


def test_schedules_tick_in_utc_as_specified() -> None:
    schedules = defs.get_repository_def().schedule_defs

    assert {one.name: (one.cron_schedule, one.execution_timezone) for one in schedules} == {
        f"{job}_cron": (cron, "UTC") for job, cron in inventory("checktick").items()
    }


def test_is_loadable_as_dagster_judges() -> None:
    dg.Definitions.validate_loadable(defs)


def test_data_governance_has_its_three_ops_in_order() -> None:
    graph = governance_job().graph

    names = [node.name for node in graph.nodes_in_topological_order]
    assert names == ["send_warnings", "soft_delete", "hard_delete"]
    assert [len(graph.dependency_structure.all_upstream_outputs_from_node(name)) for name in names] == [0, 1, 1]


def test_jobs_carry_the_queues_key_and_their_owner() -> None:
    for name in ("data_governance", "progress_cleanup"):
        tags = defs.resolve_job_def(name).tags
        assert (tags["cath_dagster/job"], tags["owner"]) == (f"checktick/{name}", "team:checktick")


def test_every_table_that_a_job_reports_on_is_an_asset_with_a_description() -> None:
    assert {target for spec in load_specs(CHECKTICK) for target in spec.targets} == set(TABLES)


def test_does_all_three_parts_in_one_run(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    exported.add_survey(deletion_date=exported.ahead(days=7))
    due, doomed = exported.add_due(), exported.add_doomed()

    result = launch(instance, as_of=exported.as_of.isoformat())

    assert result.success
    assert len(exported.smtp.sent) == 1
    assert exported.survey(due, "deleted_at") != (None,)
    assert doomed not in exported.survey_ids()


def test_a_failed_warning_is_shown_and_the_deletions_are_done_all_the_same(
    exported: CheckTick, instance: dg.DagsterInstance
) -> None:
    warned = exported.add_survey(deletion_date=exported.ahead(days=7))
    due, doomed = exported.add_due(), exported.add_doomed()
    exported.smtp.answer_next("RCPT", "554 5.7.1 suspected spam", times=10)

    result = launch(instance, as_of=exported.as_of.isoformat())

    assert not result.success
    assert ended(result) == {"send_warnings": "failure", "soft_delete": "success", "hard_delete": "success"}
    assert exported.survey_ids() == [warned, due]
    assert doomed not in exported.survey_ids()
    assert exported.survey(due, "deleted_at") != (None,)


def test_a_refused_run_ends_with_its_first_op(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    exported.add_due()
    exported.connection.execute(NEW_TABLE)

    result = launch(instance, as_of=exported.as_of.isoformat())

    assert ended(result) == {"send_warnings": "failure"}
    (failure,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    assert "surveys_reminder.survey_id" in str(failure.step_failure_data.user_failure_data)
    assert exported.count("surveys_survey", "deleted_at IS NOT NULL") == 0


def test_a_re_execution_from_failure_begins_with_the_failed_op_and_looks_first(
    exported: CheckTick, instance: dg.DagsterInstance
) -> None:
    due = exported.add_due()
    exported.connection.execute(REFUSE)
    first = launch(instance, as_of=exported.as_of.isoformat())
    exported.connection.execute("DROP TRIGGER refuse ON surveys_survey")
    exported.connection.execute(NEW_TABLE)
    again = dg.ReexecutionOptions.from_failure(first.run_id, instance)

    refused = launch(instance, again=again)
    exported.connection.execute("DROP TABLE surveys_reminder")
    done = launch(instance, again=again)

    assert ended(refused) == {"soft_delete": "failure"}
    assert ended(done) == {"soft_delete": "success", "hard_delete": "success"}
    assert exported.survey(due, "deleted_at") != (None,)


def test_max_rows_counts_over_the_ops_of_a_run(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        exported.add_due()
        exported.add_doomed()

    assert launch(instance, as_of=exported.as_of.isoformat(), max_rows=4).success

    assert exported.count("surveys_survey") == 5


def test_a_dry_run_changes_nothing_and_reports_on_no_day(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    exported.add_due()
    exported.add_doomed()

    result = launch(instance, as_of=exported.as_of.isoformat(), dry_run=True)

    assert result.success
    assert exported.count("surveys_survey", "hard_deletion_date > now()") == 0
    assert exported.count("surveys_survey") == 2
    assert instance.get_latest_materialization_event(REPORT_KEY) is None


def test_a_run_leaves_the_report_of_its_day_and_its_checks(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    exported.add_due()
    held = exported.add_due()
    exported.add_hold(held)

    result = launch(instance, as_of=exported.as_of.isoformat())

    event = instance.get_latest_materialization_event(REPORT_KEY)
    assert event is not None
    materialization = event.asset_materialization
    assert materialization is not None
    assert materialization.partition == exported.as_of.date().isoformat()
    numbers = {name: materialization.metadata[name].value for name in ("due", "held", "overdue")}
    assert numbers == {"due": 2, "held": 1, "overdue": 0}
    assert "High Court" not in str(materialization.metadata)
    assert checks(instance, result) == {
        OVERDUE_CHECK: (True, "ERROR"),
        DECISION_CHECK: (True, "WARN"),
        POLICY_CHECK: (True, "ERROR"),
    }


def test_a_deletion_that_failed_is_an_alert_of_the_same_run(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    exported.add_due()
    exported.connection.execute(REFUSE)

    result = launch(instance, as_of=exported.as_of.isoformat())

    assert ended(result)["soft_delete"] == "failure"
    assert checks(instance, result)[OVERDUE_CHECK] == (False, "ERROR")


def test_a_survey_published_again_is_a_warning(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    exported.add_due(status="published")

    result = launch(instance, as_of=exported.as_of.isoformat())

    assert result.success
    found = checks(instance, result)
    assert (found[OVERDUE_CHECK], found[DECISION_CHECK]) == ((True, "ERROR"), (False, "WARN"))


def test_any_day_can_be_materialised(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    exported.add_survey(**OVERDUE)

    result = dg.materialize(
        [defs.get_assets_def(REPORT_KEY)], instance=instance, partition_key="2026-02-01", raise_on_error=False
    )

    assert result.success
    (event,) = result.asset_materializations_for_node("checktick__retention_report")
    assert (event.partition, event.metadata["overdue"].value) == ("2026-02-01", 1)


def test_a_closed_survey_without_a_date_waits_for_a_decision(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    survey_id = exported.add_survey(closed_at=None, deletion_date=None)

    result = launch(instance, as_of=exported.as_of.isoformat())

    event = instance.get_latest_materialization_event(REPORT_KEY)
    assert event is not None
    assert event.asset_materialization is not None
    metadata = event.asset_materialization.metadata
    assert (metadata["undated"].value, metadata["undated_surveys"].value) == (1, [survey_id])
    assert checks(instance, result)[DECISION_CHECK] == (False, "WARN")


def test_the_checks_can_be_asked_at_any_time(exported: CheckTick, instance: dg.DagsterInstance) -> None:
    exported.add_survey(**OVERDUE)

    whole = defs.resolve_implicit_global_asset_job_def()
    keys = {dg.AssetCheckKey(REPORT_KEY, name) for name in (OVERDUE_CHECK, DECISION_CHECK, POLICY_CHECK)}
    subset = whole.get_subset(asset_selection=set(), asset_check_selection=keys)
    done = subset.execute_in_process(instance=instance)

    found = {each.check_name: each.passed for each in done.get_asset_check_evaluations()}
    assert found == {OVERDUE_CHECK: False, DECISION_CHECK: True, POLICY_CHECK: True}
