"""The instance as production has it: a code server, the daemon and the UI, driven as a person drives them."""

import contextlib
import json
import os
import re
import signal
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cath_dagster.development.local import Stack, answers, wait_until
from cath_dagster.development.notify import NotifySimulator
from cath_dagster.development.postgres import free_port
from tests.conftest import SERVER, TEMPLATE, database_url
from tests.service import Service

pytestmark = pytest.mark.daemon

REPOSITORY = Path(__file__).parents[2]
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
ROWS = 2_000
SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(0.02); RETURN OLD; END $$;
CREATE TRIGGER slow BEFORE DELETE ON ingestion_log FOR EACH ROW EXECUTE FUNCTION slow()
"""
LAUNCH = """
mutation ($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
TERMINATE = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"
RUN = """
query ($id: ID!) {
  runOrError(runId: $id) { ... on Run { status tags { key value } assetMaterializations { assetKey { path } } } }
}
"""
CHILDREN = """
query ($id: String!) {
  runsOrError(filter: {tags: [{key: "dagster/parent_run_id", value: $id}]}) { ... on Runs { results { runId } } }
}
"""
COUNT = "query { runsOrError { ... on Runs { count } } }"
LOG = """
query ($id: ID!) {
  logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } }
}
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
MATERIALISED = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode { assetMaterializations(limit: 100) { partition } }
  }
}
"""


@dataclass
class Dagster:
    """The running stack, its GraphQL and the CaTH that its jobs work on."""

    stack: Stack
    port: int
    service: Service

    def ask(self, query: str, **variables: Any) -> Any:
        """Return the answer's only field."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/graphql", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            # An error in the answer has a status of its own; what is wrong stands in the body.
            with error:
                answer = json.load(error)
        assert not answer.get("errors"), answer["errors"]
        (field,) = answer["data"].values()
        return field

    def launch(self, job: str = "clear_audit", *, selector: dict[str, Any] | None = None, **config: Any) -> str:
        """Launch a job as the launchpad does; return the run's id."""
        where = {"repositoryLocationName": "cath", "repositoryName": "__repository__", "jobName": job}
        params = {"selector": {**where, **(selector or {})}, "runConfigData": json.dumps(config), "mode": "default"}
        answer = self.ask(LAUNCH, params=params)
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def status(self, run_id: str) -> str:
        status: str = self.ask(RUN, id=run_id)["status"]
        return status

    def tags(self, run_id: str) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in self.ask(RUN, id=run_id)["tags"]}

    def ended(self, run_id: str) -> str:
        """Wait for a run's end; return how it ended."""
        self.wait(lambda: self.status(run_id) in ENDED, f"run {run_id} did not end")
        return self.status(run_id)

    def log(self, run_id: str) -> str:
        return "\n".join(event.get("message", "") for event in self.ask(LOG, id=run_id)["events"])

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 45) -> None:
        wait_until(condition, what, self.stack, seconds=seconds)

    def purge_underway(self) -> str:
        """Launch `clear_audit` on rows that go slowly; return its id once it has committed a batch."""
        add_entries(self.service, ROWS)
        self.service.connection.execute(SLOW)
        run_id = self.launch()
        self.wait(lambda: self.service.count("ingestion_log") < ROWS, "the purge never got under way")
        return run_id

    def hurry(self) -> None:
        """Let rows go fast again."""
        self.service.connection.execute("DROP FUNCTION IF EXISTS slow CASCADE")

    def sessions(self) -> int:
        return self.service.count(
            "pg_stat_activity", "datname = current_database() AND application_name LIKE 'clear_audit:%'"
        )


@contextlib.contextmanager
def database(template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(os.environ[SERVER], autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        try:
            yield database_url(name)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    folder = tmp_path_factory.mktemp("stack")
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
    with (
        database("template1") as storage,
        database(os.environ[TEMPLATE]) as cath,
        NotifySimulator() as notify,
        Service.open(cath, notify, folder, as_of=datetime.now(UTC)) as service,
    ):
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
        environ = {"DAGSTER_HOME": str(home), "DAGSTER_POSTGRES_URL": storage, "CATH_SCHEDULES": "stopped"}
        stack = Stack(plain | service.environ | environ, folder / "logs")
        with started(stack, folder) as port:
            yield Dagster(stack, port, service)


@contextlib.contextmanager
def started(stack: Stack, folder: Path) -> Iterator[int]:
    """Start the three processes; yield the UI's port."""
    code, web = free_port(), free_port()
    workspace = folder / "workspace.yaml"
    workspace.write_text(f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code}, location_name: cath}}\n")
    server = ["dagster", "api", "grpc", "-m", "cath_dagster.cath.definitions", "-h", "127.0.0.1", "-p", str(code)]
    try:
        stack.start("code-server", [*server, "--location-name", "cath"])
        wait_until(lambda: listens(code), "the code server does not listen", stack)
        stack.start("ui", ["dagster-webserver", "-w", str(workspace), "-h", "127.0.0.1", "-p", str(web)])
        # The UI makes Dagster's tables; a daemon that starts beside it would make them too.
        wait_until(lambda: answers(f"http://127.0.0.1:{web}/server_info"), "the UI does not answer", stack)
        stack.start("daemon", ["dagster-daemon", "run", "-w", str(workspace)])
        yield web
    finally:
        stack.stop()


def listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def dagster(running: Dagster) -> Iterator[Dagster]:
    """Yield the stack with no rows in the log that its tests purge."""
    running.hurry()
    running.service.connection.execute("TRUNCATE ingestion_log")
    yield running
    running.hurry()
    running.wait(lambda: running.sessions() == 0, "a run did not end")


def add_entries(service: Service, count: int) -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, %s)",
        (service.days_ago(91), count),
    )


def weeks_reported(dagster: Dagster) -> set[str]:
    key = {"path": ["cath", "media_application_report"]}
    return {made["partition"] for made in dagster.ask(MATERIALISED, key=key)["assetMaterializations"]}


def test_a_launched_job_does_its_work(dagster: Dagster) -> None:
    add_entries(dagster.service, 100)

    assert dagster.ended(dagster.launch()) == "SUCCESS"
    assert dagster.service.count("ingestion_log") == 0


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

    dagster.hurry()
    assert (dagster.ended(first), dagster.ended(second)) == ("SUCCESS", "SUCCESS")


def test_terminating_a_run_ends_its_query_and_the_next_run_finishes(dagster: Dagster) -> None:
    run_id = dagster.purge_underway()

    assert dagster.ask(TERMINATE, id=run_id)["__typename"] == "TerminateRunSuccess"

    dagster.wait(lambda: dagster.sessions() == 0, "the query runs on", seconds=5)
    assert dagster.ended(run_id) == "CANCELED"
    assert dagster.service.count("ingestion_log") > 0
    dagster.hurry()
    assert dagster.ended(dagster.launch()) == "SUCCESS"
    assert dagster.service.count("ingestion_log") == 0


def test_a_run_whose_worker_was_killed_fails_and_is_launched_again_and_finishes(dagster: Dagster) -> None:
    run_id = dagster.purge_underway()
    worker = re.search(r"in process \(pid: (\d+)\)", dagster.log(run_id))
    assert worker is not None

    os.kill(int(worker[1]), signal.SIGKILL)

    dagster.hurry()
    assert dagster.ended(run_id) == "FAILURE"
    dagster.wait(lambda: bool(dagster.ask(CHILDREN, id=run_id)["results"]), "the run was not launched again")
    (again,) = dagster.ask(CHILDREN, id=run_id)["results"]
    assert dagster.ended(again["runId"]) == "SUCCESS", dagster.log(again["runId"])
    assert dagster.service.count("ingestion_log") == 0
    ledger = "SELECT sum(deleted) FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log' AND run_id = ANY(%s)"
    assert dagster.service.value(ledger, [run_id, again["runId"]]) == ROWS


def test_a_purge_that_was_refused_is_not_launched_again(dagster: Dagster) -> None:
    add_entries(dagster.service, 10_001)

    run_id = dagster.launch()

    assert dagster.ended(run_id) == "FAILURE"
    # Dagster decides as the run fails, and says so.
    assert dagster.tags(run_id)["dagster/will_retry"] == "false"
    assert dagster.service.count("ingestion_log") == 10_001


def test_a_backfill_reports_each_of_its_weeks(dagster: Dagster) -> None:
    weeks = ["2026-02-02", "2026-02-09", "2026-02-16"]
    params = {"partitionNames": weeks, "assetSelection": [{"path": ["cath", "media_application_report"]}]}

    answer = dagster.ask(BACKFILL, params=params)

    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    dagster.wait(lambda: weeks_reported(dagster) >= set(weeks), "not every week was reported", seconds=75)
    folder = dagster.service.report_root / "media_application_report"
    assert {week: len(list((folder / week).glob("*.csv"))) for week in weeks} == dict.fromkeys(weeks, 1)


def test_a_week_is_reported_from_the_launchpad_with_flat_config(dagster: Dagster) -> None:
    where = {"repositoryLocationName": "cath", "repositoryName": "__repository__", "jobName": "media_reporting"}
    params = {
        "selector": where,
        "runConfigData": json.dumps({"max_rows": 5}),
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": "2026-03-02"}]},
    }
    answer = dagster.ask(LAUNCH, params=params)
    assert answer["__typename"] == "LaunchRunSuccess", answer
    run_id = answer["run"]["runId"]

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
