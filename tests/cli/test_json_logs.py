"""Log lines as JSON, of the command as a machine collects them."""

import json
import signal
import subprocess
from datetime import datetime
from typing import Any

import pytest

from tests.support.cli import SLOW, add_entries, run
from tests.support.command import PROGRAM, Done, environment
from tests.support.command import call_process as call
from tests.support.peers import find_node, find_peer
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS

JSON = {"CATH_DAGSTER_LOG_FORMAT": "json"}


def lines(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines()]


def logged(service: Service, job: str, *arguments: str) -> tuple[Done, list[dict[str, Any]]]:
    service.environ |= JSON
    done = run(service, job, *arguments)
    return done, lines(done.stderr)


def test_every_line_is_an_object_with_the_run_its_job_location_and_trace(service: Service) -> None:
    done, said = logged(service, "clear_audit", "--json")

    run_id = json.loads(done.stdout)["run_id"]
    assert len(said) > 3
    for line in said:
        assert line["run_id"] == run_id
        assert (line["location"], line["job"]) == ("cath", "clear_audit")
        assert line["trace_id"] == run_id.replace("-", "")
        assert line["level"] == "info"
        assert datetime.fromisoformat(line["time"]).tzinfo is not None


@pytest.mark.stack
def test_a_viewer_of_pino_s_logs_shows_them(service: Service) -> None:
    done, said = logged(service, "clear_audit", "--set", "nonsense=1")
    viewer = find_peer("pino-pretty") / "bin.js"

    shown = subprocess.run(
        [find_node(), viewer, "--colorize=false"], input=done.stderr, capture_output=True, text=True, check=True
    ).stdout

    assert "ERROR" in shown.splitlines()[0]
    assert said[-1]["msg"] in shown
    assert "msg" not in shown.replace(said[-1]["msg"], "")


def test_the_last_line_has_the_numbers(service: Service) -> None:
    add_entries(service, 3)

    _, said = logged(service, "clear_audit")

    assert said[-1]["status"] == "success"
    deleted = {outcome["target"]: outcome["deleted"] for outcome in said[-1]["outcomes"]}
    assert deleted == {"notification_audit_log": 0, "audit_log": 0, "ingestion_log": 3}


def test_a_run_that_failed_ends_with_an_error_and_nothing_but_objects(service: Service) -> None:
    service.environ["CATH_DATABASE_URL"] = "postgresql://someone:hunter2@127.0.0.1:1/cath"

    done, said = logged(service, "clear_audit")

    assert done.returncode == 1
    assert (said[-1]["level"], said[-1]["status"]) == ("error", "failed")
    assert "cannot be reached" in said[-1]["msg"]
    assert "hunter2" not in done.stderr


def test_the_trace_of_whoever_starts_the_run_is_the_runs(service: Service) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    service.environ["TRACEPARENT"] = f"00-{trace}-b7ad6b7169203331-01"

    _, said = logged(service, "clear_audit")

    assert {line["trace_id"] for line in said} == {trace}


def test_quiet_leaves_the_end_only(service: Service) -> None:
    _, said = logged(service, "clear_audit", "--quiet")

    assert [line.get("status") for line in said] == ["success"]


def test_wrong_usage_is_an_object_too(service: Service) -> None:
    done, said = logged(service, "clear_audit", "--set", "nonsense=1")

    assert done.returncode == 2
    assert said[-1]["level"] == "error"
    assert "nonsense" in said[-1]["msg"]


@pytest.mark.stack
def test_a_run_that_is_terminated_says_so(service: Service) -> None:
    add_entries(service, 3_000)
    service.connection.execute(SLOW)
    with subprocess.Popen(
        [PROGRAM, "run", "clear_audit", "--as-of", service.as_of.isoformat()],
        env=environment(service.environ, JSON),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=PATIENCE_SECONDS)

    assert lines(first + rest)[-1]["status"] == "interrupted"


@pytest.mark.parametrize("arguments", [["run", "clear_audit"], ["plan", "clear_audit"]])
def test_a_format_that_is_not_known_is_wrong_usage(service: Service, arguments: list[str]) -> None:
    done = call({**service.environ, "CATH_DAGSTER_LOG_FORMAT": "jsn"}, *arguments)

    assert done.returncode == 2
    assert "CATH_DAGSTER_LOG_FORMAT is 'jsn'; it may be text or json" in done.stderr
