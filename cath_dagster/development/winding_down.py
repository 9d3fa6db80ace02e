"""End the local stack without tearing what it is at: nothing new begins, what goes on has its time, the rest is cancelled."""

import contextlib
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.terminal import err
from cath_dagster.core.errors import ConfigurationError

GRACEFUL = "SCHEDULER_GRACEFUL_SECONDS"
DEFAULT_SECONDS = 30
MOST_SECONDS = 3_600
CANCEL_SECONDS = 10.0
"""A run that is cancelled ends its statement and its ledger within seconds; after these it is only noted as cancelled."""
POLL_SECONDS = 0.2
GOING = ("NOT_STARTED", "STARTING", "STARTED", "CANCELING")
"""What has left the queue. What is queued stays so, and runs when the stack is started again."""
RUNS = "query ($filter: RunsFilter) { runsOrError(filter: $filter) { ... on Runs { results { runId jobName } } } }"
TERMINATE = """
mutation ($ids: [String!]!, $policy: TerminateRunPolicy!) {
  terminateRuns(runIds: $ids, terminatePolicy: $policy) { __typename }
}
"""


def graceful_seconds() -> float:
    """Return how long what goes on is waited for; raise `ConfigurationError` for what is no number of seconds."""
    given = MountedEnvironment().get(GRACEFUL) or str(DEFAULT_SECONDS)
    if not given.isdecimal() or int(given) > MOST_SECONDS:
        raise ConfigurationError(f"{GRACEFUL} is {given!r}; write whole seconds, 0 to {MOST_SECONDS}")
    return float(given)


def wind_down(port: int, *, seconds: float, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait for the runs that go on, then cancel those that are left, so that each is written down as cancelled.

    Whoever launches runs must have ended. A second Ctrl-C ends the waiting. A UI that answers no more leaves the runs
    to the end of their processes: what they committed stays.
    """
    with contextlib.suppress(OSError, ValueError):
        going = _going(port)
        if going and seconds:
            err.print(f"waiting {seconds:.0f} s at most for {_listed(going)}; Ctrl-C cancels at once")
        with contextlib.suppress(KeyboardInterrupt):
            _wait(port, seconds, sleep)
        if left := _going(port):
            err.print(f"cancelling {_listed(left)}")
            _ask(port, TERMINATE, ids=list(left), policy="SAFE_TERMINATE")
            _wait(port, CANCEL_SECONDS, sleep)
        if left := _going(port):
            _ask(port, TERMINATE, ids=list(left), policy="MARK_AS_CANCELED_IMMEDIATELY")


def _wait(port: int, seconds: float, sleep: Callable[[float], None]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and _going(port):
        sleep(POLL_SECONDS)


def _going(port: int) -> dict[str, str]:
    """Return the job of each run that goes on, by its id."""
    found = _ask(port, RUNS, filter={"statuses": list(GOING)})
    return {str(run["runId"]): str(run["jobName"]) for run in found.get("results", ())}


def _listed(runs: Mapping[str, str]) -> str:
    return ", ".join(sorted(runs.values()))


def _ask(port: int, query: str, **variables: object) -> dict[str, Any]:
    """Return the answer's only field; raise `OSError` or `ValueError` where there is none."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310 - loopback
        answer = json.load(response)
    if answer.get("errors"):
        raise ValueError("the UI does not know what it was asked")
    (found,) = answer["data"].values()
    return dict(found)
