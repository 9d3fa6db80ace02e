"""The code location `checktick`, and data governance as a Dagster run: three ops, one after the other."""

from collections.abc import Iterator

import dagster as dg
import pytest

from cath_dagster.checktick.assets import REPORT_KEY, TABLES
from cath_dagster.checktick.definitions import defs
from cath_dagster.checktick.jobs import data_governance, progress_cleanup
from tests.checktick.checktick import CheckTick

STEPS = ["send_warnings", "soft_delete", "hard_delete"]


@pytest.fixture
def exported(checktick: CheckTick, monkeypatch: pytest.MonkeyPatch) -> CheckTick:
    """Give this process CheckTick's environment, as a run's worker has it."""
    for name, value in checktick.environ.items():
        monkeypatch.setenv(name, value)
    return checktick


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def launch(instance: dg.DagsterInstance, **config: object) -> dg.ExecuteInProcessResult:
    """Run data governance by its own executor, as a launched run does."""
    job = defs.resolve_job_def("data_governance")
    return dg.execute_job(dg.reconstructable(_job), instance=instance, run_config=config, raise_on_error=False)  # type: ignore[return-value]


def _job() -> dg.JobDefinition:
    return defs.resolve_job_def("data_governance")


def ended(result: dg.JobExecutionResult) -> dict[str, str]:
    """Return how each step ended."""
    ends = {"STEP_SUCCESS": "success", "STEP_FAILURE": "failure", "STEP_SKIPPED": "skipped"}
    return {
        str(event.step_key): ends[event.event_type_value]
        for event in result.all_events
        if event.event_type_value in ends
    }


def test_the_location_has_two_jobs_with_their_schedules() -> None:
    repository = defs.get_repository_def()

    assert sorted(name for name in repository.job_names if not name.startswith("__")) == [
        "data_governance",
        "progress_cleanup",
    ]
    assert {one.name: (one.cron_schedule, one.execution_timezone) for one in repository.schedule_defs} == {
        "data_governance_cron": ("0 2 * * *", "UTC"),
        "progress_cleanup_cron": ("0 3 * * *", "UTC"),
    }


def test_a_failed_warning_is_shown_and_the_deletions_are_done_all_the_same(
    exported: CheckTick, instance: dg.DagsterInstance
) -> None:
    warned = exported.add_survey(deletion_date=exported.ahead(days=7))
    due, doomed = exported.add_due(), exported.add_doomed()
    exported.smtp.answer_next("RCPT", "451 4.3.0 try again later", times=10)

    result = launch(instance, as_of=exported.as_of.isoformat())

    assert not result.success
    assert ended(result) == {"send_warnings": "failure", "soft_delete": "success", "hard_delete": "success"}
    assert exported.survey_ids() == [warned, due]
    assert exported.survey(due, "deleted_at") != (None,)
