"""The running stack as tests drive it: code server, daemon and UI, through the UI's own interface."""

import contextlib
import json
import os
import socket
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from cath_dagster.development.local import REPOSITORY, Stack, answers, wait_until
from cath_dagster.development.postgres import free_port
from cath_dagster.development.simulators.notify import NotifySimulator
from tests.conftest import SERVER, TEMPLATE, database_url
from tests.support.held import hold, let_go
from tests.support.parts import installed
from tests.support.servers import pooling
from tests.support.service import Service
from tests.support.warm import WarmStack

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}
ROWS = 2_000
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
LOG = """
query ($id: ID!) {
  logsForRun(runId: $id) { ... on EventConnection { events { ... on MessageEvent { message } } } }
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
    runs: psycopg.Connection[Any]
    """To Dagster's own database. Whoever waits for a run looks there: the UI takes a hundred times as long to say it."""

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

    def launch(
        self,
        job: str = "clear_audit",
        *,
        selector: dict[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        **config: Any,
    ) -> str:
        """Launch a job as the launchpad does; return the run's id."""
        where = {"repositoryLocationName": "cath", "repositoryName": "__repository__", "jobName": job}
        params = {"selector": {**where, **(selector or {})}, "runConfigData": json.dumps(config), "mode": "default"}
        if tags:
            params["executionMetadata"] = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
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
        self.wait(lambda: self.status_kept(run_id) in ENDED, f"run {run_id} did not end")
        return self.status(run_id)

    def status_kept(self, run_id: str) -> str | None:
        """Return the status that Dagster's database has of a run."""
        row = self.runs.execute("SELECT status FROM runs WHERE run_id = %s", [run_id]).fetchone()
        return None if row is None else str(row[0])

    def tags_kept(self, run_id: str) -> dict[str, str]:
        """Return the tags that Dagster's database has of a run."""
        return dict(self.runs.execute("SELECT key, value FROM run_tags WHERE run_id = %s", [run_id]).fetchall())

    def children(self, run_id: str) -> list[str]:
        """Return the runs that were launched again for a run."""
        return [run["runId"] for run in self.ask(CHILDREN, id=run_id)["results"]]

    def weeks_kept(self) -> set[str]:
        """Return the weeks that Dagster's database has a materialised report of."""
        made = "SELECT partition FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key = %s"
        return {week for (week,) in self.runs.execute(made, ['["cath", "media_application_report"]'])}

    def active(self) -> int:
        """Return how many runs have not ended."""
        return sum(status not in ENDED for (status,) in self.runs.execute("SELECT status FROM runs"))

    def will_be_relaunched(self, run_id: str) -> bool:
        """Wait until Dagster has decided whether it launches a failed run again; return what it decided."""
        self.wait(lambda: "dagster/will_retry" in self.tags_kept(run_id), f"nothing was decided about run {run_id}")
        return self.tags(run_id)["dagster/will_retry"] == "true"

    def relaunched(self, run_id: str) -> str:
        """Wait until a run was launched again; return the new run."""
        launched = "SELECT count(*) FROM run_tags WHERE key = 'dagster/parent_run_id' AND value = %s"
        self.wait(
            lambda: self.runs.execute(launched, [run_id]).fetchone() != (0,), f"run {run_id} was not launched again"
        )
        (again,) = self.children(run_id)
        return again

    def log(self, run_id: str) -> str:
        return "\n".join(event.get("message", "") for event in self.ask(LOG, id=run_id)["events"])

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 300) -> None:
        wait_until(condition, what, self.stack, seconds=seconds)

    def purge_underway(self) -> str:
        """Launch `clear_audit` on rows that are held after the first; return its id once it has committed a batch."""
        self.add_held_entries()
        run_id = self.launch()
        self.wait(lambda: self.service.count("ingestion_log") < ROWS, "the purge never got under way")
        return run_id

    def add_held_entries(self) -> None:
        """Add rows of which all but the first are held."""
        add_entries(self.service, ROWS)
        hold(self.service.connection, "ingestion_log")

    def let_go(self) -> None:
        """Let go all rows that are held."""
        let_go(self.service.connection)

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


@contextlib.contextmanager
def pooled_storage() -> Iterator[str]:
    """Yield the URL of an empty database for Dagster, through a pooler where there is one.

    Dagster logs in for all that it asks, many times a second, and a login is a new process of the server's.
    """
    with database("template1") as direct:
        if installed("pgbouncer") is None:
            yield direct
        else:
            with pooling(direct, "session", default_pool_size=100) as pooler:
                yield pooler.url(direct)


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


@contextlib.contextmanager
def cath_stack(folder: Path) -> Iterator[Dagster]:
    """Start the stack on a CaTH with no rows, its schedules stopped."""
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").symlink_to(REPOSITORY / "dagster.yaml")
    with (
        pooled_storage() as storage,
        database(os.environ[TEMPLATE]) as cath,
        NotifySimulator() as notify,
        Service.open(cath, notify, folder, as_of=datetime.now(UTC)) as service,
    ):
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
        environ = {"DAGSTER_HOME": str(home), "DAGSTER_POSTGRES_URL": storage, "CATH_SCHEDULES": "stopped"}
        stack = WarmStack(plain | service.environ | environ, folder / "logs")
        with started(stack, folder) as port, psycopg.connect(storage, autocommit=True) as runs:
            yield Dagster(stack, port, service, runs)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def add_entries(service: Service, count: int) -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, %s)",
        (service.days_ago(91), count),
    )


def weeks_reported(dagster: Dagster) -> set[str]:
    key = {"path": ["cath", "media_application_report"]}
    return {made["partition"] for made in dagster.ask(MATERIALISED, key=key)["assetMaterializations"]}
