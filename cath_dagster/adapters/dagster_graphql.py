"""Dagster's web server by its GraphQL, for whoever controls it from outside.

Its answers may hold paths, values and stack traces of its own: what is passed on is the kind of an error, and of a run config
that does not fit what Dagster says of it.
"""

import json
from collections.abc import Mapping
from typing import Any

from cath_dagster.core.ports.orchestrator import WITHHELD, OrchestratorError, OrchestratorUnavailableError

TIMEOUT_SECONDS = 30.0
"""A launch loads the job from its code server first."""
ALIVE_SECONDS = 2.0
REPOSITORY = "__repository__"
"""What Dagster calls the definitions of a module."""

LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on RunConfigValidationInvalid { errors { message } }
} }
"""
CANCEL = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"
START_SCHEDULE = """
mutation ($selector: ScheduleSelector!) { startSchedule(scheduleSelector: $selector) {
  __typename ... on ScheduleStateResult { scheduleState { status } }
} }
"""
FIND_SCHEDULE = """
query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
  __typename ... on Schedule { scheduleState { id } metadataEntries { label ... on TextMetadataEntry { text } } }
} }
"""
STOP_SCHEDULE = "mutation ($id: String!) { stopRunningSchedule(id: $id) { __typename } }"
START_SENSOR = "mutation ($selector: SensorSelector!) { startSensor(sensorSelector: $selector) { __typename } }"
FIND_SENSOR = """
query ($selector: SensorSelector!) { sensorOrError(sensorSelector: $selector) {
  __typename ... on Sensor { sensorState { id } metadataEntries { label ... on TextMetadataEntry { text } } }
} }
"""
STOP_SENSOR = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"


class DagsterGraphQL:
    """Dagster at an address; several threads may use it at once. See `core.ports.orchestrator.Orchestrator`."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def launch(self, location: str, job: str, *, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        params = {
            "selector": {"repositoryLocationName": location, "repositoryName": REPOSITORY, "jobName": job},
            "runConfigData": json.dumps(dict(config)),
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        answer = self._ask(LAUNCH, params=params)
        if answer["__typename"] != "LaunchRunSuccess":
            said = "; ".join(each["message"].splitlines()[0] for each in answer.get("errors", ()) if each["message"])
            raise OrchestratorError(f"Dagster does not launch {location}/{job}: {said or answer['__typename']}")
        run_id: str = answer["run"]["runId"]
        return run_id

    def cancel(self, run_id: str) -> None:
        kind = self._ask(CANCEL, id=run_id)["__typename"]
        if kind != "TerminateRunSuccess":
            raise OrchestratorError(f"Dagster does not cancel run {run_id}, which may have ended: {kind}")

    def set_enabled(self, location: str, ticker: str, *, is_sensor: bool, enabled: bool) -> None:
        where = {"repositoryLocationName": location, "repositoryName": REPOSITORY}
        selector = where | {"sensorName" if is_sensor else "scheduleName": ticker}
        found = self._ask(FIND_SENSOR if is_sensor else FIND_SCHEDULE, selector=selector)
        self._check(found, {"Sensor", "Schedule"}, f"find {location}/{ticker}")
        if enabled:
            for entry in found["metadataEntries"]:
                if entry["label"] == WITHHELD:
                    raise OrchestratorError(
                        f"{location}/{ticker} may not be started before {entry['text']}=true is set for its code location"
                    )
            answer = self._ask(START_SENSOR if is_sensor else START_SCHEDULE, selector=selector)
            self._check(answer, {"Sensor", "ScheduleStateResult"}, f"start {location}/{ticker}")
            return
        state = found["sensorState" if is_sensor else "scheduleState"]
        answer = self._ask(STOP_SENSOR if is_sensor else STOP_SCHEDULE, id=state["id"])
        self._check(answer, {"StopSensorMutationResult", "ScheduleStateResult"}, f"stop {location}/{ticker}")

    def is_alive(self) -> bool:
        import requests

        try:
            answer = requests.get(f"{self._url}/server_info", timeout=ALIVE_SECONDS, allow_redirects=False)
        except requests.RequestException:
            return False
        return answer.ok

    def _check(self, answer: Mapping[str, Any], good: set[str], what: str) -> None:
        if answer["__typename"] not in good:
            raise OrchestratorError(f"Dagster does not {what}: {answer['__typename']}")

    def _ask(self, query: str, **variables: Any) -> Any:
        """Return the answer's only field."""
        import requests

        try:
            answer = requests.post(
                f"{self._url}/graphql",
                json={"query": query, "variables": variables},
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
            )
            said = answer.json()
        except (requests.RequestException, ValueError) as error:
            raise OrchestratorUnavailableError(
                f"Dagster's web server does not answer: {type(error).__name__}"
            ) from None
        if not isinstance(said, dict) or said.get("errors") or not isinstance(said.get("data"), dict):
            raise OrchestratorError(f"Dagster's web server refuses the request (status {answer.status_code})")
        (field,) = said["data"].values()
        return field
