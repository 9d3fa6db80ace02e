"""The instance as production has it: a code server, the daemon and the UI, driven as a person drives them."""

import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.postgres.database import Database
from cath_dagster.development.winding_down import wind_down
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.scheduler.closing import close_lost
from cath_dagster.operations.scheduler.registration import mirror
from cath_dagster.registry import find_spec
from tests.operations.instance import opened
from tests.support.command import Done, call
from tests.support.stack import ROWS, RUN, TERMINATE, Dagster, add_entries, cath_stack, weeks_reported

pytestmark = [pytest.mark.daemon, pytest.mark.stack, pytest.mark.xdist_group("daemon")]

COUNT = "query { runsOrError { ... on Runs { count } } }"
STATE = """
query { scheduleOrError(scheduleSelector: {
  repositoryLocationName: "cath", repositoryName: "__repository__", scheduleName: "clear_audit_cron"
}) { ... on Schedule { scheduleState { status } } } }
"""
BACKFILL = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""


@contextlib.contextmanager
def disposed(engine: sa.Engine) -> Iterator[sa.Engine]:
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    with cath_stack(tmp_path_factory.mktemp("stack")) as running:
        # No code location of this stack makes the history's tables.
        with disposed(open_engine(storage(running), variable="V", application_name="test")) as engine:
            migrate(engine, OPERATIONS)
        yield running


def storage(dagster: Dagster) -> str:
    return dagster.stack.environ["DAGSTER_POSTGRES_URL"]


def history(dagster: Dagster, run_id: str = "%") -> list[tuple[str, str, str]]:
    """Return trigger, status and partition of what is recorded."""
    query = (
        "SELECT trigger, status, coalesce(parameters ->> 'partition', '') FROM operations.scheduled_job_history"
        " WHERE run_id LIKE %s ORDER BY started_at"
    )
    with psycopg.connect(storage(dagster)) as connection:
        return connection.execute(query, [run_id]).fetchall()


@pytest.fixture
def dagster(running: Dagster) -> Iterator[Dagster]:
    """Yield the stack with no rows in the log that its tests purge."""
    running.let_go()
    running.service.connection.execute("TRUNCATE ingestion_log")
    yield running
    running.let_go()
    running.wait(lambda: running.sessions() == 0, "a run did not end")


def test_a_launched_job_does_its_work(dagster: Dagster) -> None:
    add_entries(dagster.service, 100)

    assert dagster.ended(dagster.launch()) == "SUCCESS"
    assert dagster.service.count("ingestion_log") == 0


def test_the_command_line_runs_switches_and_ends_jobs_and_the_history_has_it(dagster: Dagster) -> None:
    with (
        disposed(open_engine(storage(dagster), variable="V", application_name="test")) as engine,
        engine.begin() as registry,
    ):
        mirror(registry, [find_spec("cath/clear_audit")], {}, now=datetime.now(UTC))

    def scheduler(*arguments: str) -> Done:
        where = {"DAGSTER_POSTGRES_URL": storage(dagster), "CONSOLE_DAGSTER_URL": f"http://127.0.0.1:{dagster.port}"}
        return call({**dagster.service.environ, **where}, "scheduler", *arguments)

    def told(run_id: str) -> tuple[str, str]:
        (run,) = json.loads(scheduler("history", "--run", run_id, "--json").stdout)["items"]
        return run["trigger"], run["status"]

    add_entries(dagster.service, 100)
    ran = scheduler("run", "cath/clear_audit", "--max-rows", "30", "--wait", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["outcomes"][-1]["deleted"]) == (0, 30)
    assert dagster.service.count("ingestion_log") == 70

    dagster.service.connection.execute("TRUNCATE ingestion_log")
    run_id = dagster.purge_underway()
    assert told(run_id) == ("manual", "running")
    assert scheduler("cancel", run_id).returncode == 0
    assert dagster.ended(run_id) == "CANCELED"
    assert told(run_id) == ("manual", "canceled")
    assert scheduler("cancel", run_id).returncode == 1

    for word, running in (("enable", True), ("disable", False)):
        assert scheduler(word, "cath/clear_audit").returncode == 0
        assert (dagster.ask(STATE)["scheduleState"]["status"] == "RUNNING") is running


def test_flat_run_config_is_taken_from_the_launchpad(dagster: Dagster) -> None:
    add_entries(dagster.service, 100)

    assert dagster.ended(dagster.launch(max_rows=30)) == "SUCCESS"
    assert dagster.service.count("ingestion_log") == 70


def test_bad_config_is_refused_by_the_launchpad_and_leaves_no_run(dagster: Dagster) -> None:
    before = dagster.ask(COUNT)

    with pytest.raises(AssertionError, match="max_rows"):
        dagster.launch(max_rows=-1)

    assert dagster.ask(COUNT) == before


def test_a_second_launch_of_a_job_waits_in_the_queue_for_the_first_to_end(dagster: Dagster) -> None:
    first = dagster.purge_underway()
    second, other = dagster.launch(), dagster.launch("subscriptions")

    # The queue has been looked through once the other job, launched later, has run.
    assert dagster.ended(other) == "SUCCESS"
    assert (dagster.status(first), dagster.status(second)) == ("STARTED", "QUEUED")

    dagster.let_go()
    assert (dagster.ended(first), dagster.ended(second)) == ("SUCCESS", "SUCCESS")


def test_terminating_a_run_ends_its_query_and_the_next_run_finishes(dagster: Dagster) -> None:
    run_id = dagster.purge_underway()

    assert dagster.ask(TERMINATE, id=run_id)["__typename"] == "TerminateRunSuccess"

    dagster.wait(lambda: dagster.sessions() == 0, "the query runs on")
    assert dagster.ended(run_id) == "CANCELED"
    assert dagster.service.count("ingestion_log") > 0
    dagster.let_go()
    assert dagster.ended(dagster.launch()) == "SUCCESS"
    assert dagster.service.count("ingestion_log") == 0


def test_winding_the_stack_down_cancels_what_goes_on_and_it_is_written_down(dagster: Dagster) -> None:
    run_id = dagster.purge_underway()

    wind_down(dagster.port, seconds=0)

    assert dagster.status(run_id) == "CANCELED"
    dagster.wait(lambda: dagster.sessions() == 0, "the query runs on")


def test_a_run_whose_worker_was_killed_fails_and_is_launched_again_and_finishes(dagster: Dagster) -> None:
    run_id = dagster.purge_underway()
    worker = re.search(r"in process \(pid: (\d+)\)", dagster.log(run_id))
    assert worker is not None

    os.kill(int(worker[1]), signal.SIGKILL)

    dagster.let_go()
    assert dagster.ended(run_id) == "FAILURE"
    again = dagster.relaunched(run_id)
    assert dagster.ended(again) == "SUCCESS", dagster.log(again)
    assert dagster.service.count("ingestion_log") == 0
    ledger = "SELECT sum(deleted) FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log' AND run_id = ANY(%s)"
    assert dagster.service.value(ledger, [run_id, again]) == ROWS
    # The killed one could not write its end; the monitor, which this stack has not, finds it in Dagster's.
    assert [row[:2] for row in history(dagster, run_id)] == [("manual", "running")]
    assert [row[:2] for row in history(dagster, again)] == [("manual", "success")]
    with (
        opened(Path(dagster.stack.environ["DAGSTER_HOME"]), storage(dagster)) as instance,
        disposed(open_engine(storage(dagster), variable="V", application_name="test")) as engine,
        Database(engine) as database,
    ):
        close_lost(instance, database, datetime.now(UTC))
    assert [row[:2] for row in history(dagster, run_id)] == [("manual", "failed")]


def test_a_purge_that_was_refused_is_not_launched_again(dagster: Dagster) -> None:
    add_entries(dagster.service, 10_001)

    run_id = dagster.launch()

    assert dagster.ended(run_id) == "FAILURE"
    assert not dagster.will_be_relaunched(run_id)
    assert dagster.service.count("ingestion_log") == 10_001


def test_a_backfill_reports_each_of_its_weeks(dagster: Dagster) -> None:
    weeks = ["2026-02-02", "2026-02-09", "2026-02-16"]
    params = {"partitionNames": weeks, "assetSelection": [{"path": ["cath", "media_application_report"]}]}

    answer = dagster.ask(BACKFILL, params=params)

    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    dagster.wait(lambda: dagster.weeks_kept() >= set(weeks), "not every week was reported")
    assert weeks_reported(dagster) >= set(weeks)
    folder = dagster.service.report_root / "media_application_report"
    assert {week: len(list((folder / week).glob("*.csv"))) for week in weeks} == dict.fromkeys(weeks, 1)


def test_a_week_is_reported_from_the_launchpad_with_flat_config(dagster: Dagster) -> None:
    run_id = dagster.launch("media_reporting", tags={"dagster/partition": "2026-03-02"}, max_rows=5)

    assert dagster.ended(run_id) == "SUCCESS", dagster.log(run_id)
    assert dagster.tags(run_id)["cath_dagster/job"] == "cath/media_reporting"
    assert "2026-03-02" in weeks_reported(dagster)


@pytest.mark.parametrize("job", ["__ASSET_JOB", "refresh_views"])
def test_one_view_is_materialised_from_its_page_with_its_checks(dagster: Dagster, job: str) -> None:
    key = {"path": ["cath", "sdp_mat_view_location"]}
    # The page of an asset asks for the checks of that asset too.
    checks = [{"assetKey": key, "name": name} for name in ("counts_equal_source", "verified_within_a_day")]

    run_id = dagster.launch(job, selector={"assetSelection": [key], "assetCheckSelection": checks})

    assert dagster.ended(run_id) == "SUCCESS", dagster.log(run_id)
    made = [one["assetKey"]["path"][-1] for one in dagster.ask(RUN, id=run_id)["assetMaterializations"]]
    assert made == ["sdp_mat_view_location"]


def test_one_view_is_materialised_without_its_checks(dagster: Dagster) -> None:
    key = {"path": ["cath", "sdp_mat_view_pi_user"]}

    run_id = dagster.launch("__ASSET_JOB", selector={"assetSelection": [key], "assetCheckSelection": []})

    assert dagster.ended(run_id) == "SUCCESS", dagster.log(run_id)
    made = [one["assetKey"]["path"][-1] for one in dagster.ask(RUN, id=run_id)["assetMaterializations"]]
    assert made == ["sdp_mat_view_pi_user"]
