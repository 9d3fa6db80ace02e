"""Telemetry and JSON lines of Dagster's runs."""

import importlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from cath_dagster.orchestration.console import LOGGERS
from cath_dagster.registry import locations
from tests.support.collector import collecting, plain
from tests.support.dagster_command import add_entries, command, root
from tests.support.dagster_internals import ReconstructableRepository
from tests.support.service import Service
from tests.support.warm import run

CODE = ReconstructableRepository.for_module("cath_dagster.cath.definitions", "defs")
JSON = {"CATH_DAGSTER_LOG_FORMAT": "json"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made


@pytest.fixture
def cath(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return the service, with the environment of its jobs in this process."""
    service.as_of = min(service.as_of, datetime.now(UTC))
    for name, value in service.environ.items():
        monkeypatch.setenv(name, value)
    return service


def execute(service: Service, instance: dg.DagsterInstance, job: str) -> dg.JobExecutionResult:
    config = {"as_of": service.as_of.isoformat(), "dry_run": True}
    return dg.execute_job(CODE.get_reconstructable_job(job), instance, run_config=config)


def test_from_a_run_one_finds_its_trace(
    cath: Service, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        for name, value in collector.otlp.items():
            monkeypatch.setenv(name, value)
        result = execute(cath, instance, "clear_audit")

    trace = result.run_id.replace("-", "")
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["cath_dagster/trace_id"] == trace
    (output,) = [event for event in result.all_events if event.is_successful_output]
    assert output.step_output_data.metadata["trace_id"].value == trace
    (span,) = [span for span in collector.spans if span.name == "cath/clear_audit"]
    assert span.trace_id.hex() == trace
    assert plain(span.attributes)["run_id"] == result.run_id


def test_a_run_without_telemetry_has_no_trace(cath: Service, instance: dg.DagsterInstance) -> None:
    result = execute(cath, instance, "clear_audit")

    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert "cath_dagster/trace_id" not in run.tags


@pytest.mark.parametrize("job", ["clear_audit", "refresh_views"])
def test_a_run_prints_one_object_a_line(
    cath: Service,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    job: str,
) -> None:
    monkeypatch.setenv(*next(iter(JSON.items())))

    result = execute(cath, instance, job)

    said = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert {line["run_id"] for line in said} == {result.run_id}
    assert {line["trace_id"] for line in said} == {result.run_id.replace("-", "")}
    assert {(line["location"], line["job"]) for line in said} == {("cath", job)}
    assert {"RUN_START", "STEP_START", "RUN_SUCCESS"} <= {line.get("event") for line in said}
    assert f"cath/{job} started, run {result.run_id}" in {line["msg"] for line in said}


@pytest.mark.parametrize("package", [location.package for location in locations()])
def test_the_jobs_of_every_location_can_print_so(package: str) -> None:
    module = importlib.import_module(f"{package}.definitions")
    jobs = module.defs.resolve_all_job_defs()

    assert {job.name for job in jobs if job.loggers != LOGGERS} == set()


@pytest.mark.stack
def test_job_execute_prints_the_same_and_says_why_it_failed(service: Service, tmp_path: Path) -> None:
    add_entries(service, 3)
    service.environ["CATH_DATABASE_URL"] = "postgresql://someone@127.0.0.1:1/cath"
    arguments, environ = command(service, tmp_path, "", "-m", "cath_dagster.cath.definitions")
    # What Dagster copies a step's output with is killed at the step's end; this one has copied nothing by then.
    slow = tmp_path / "slow" / "tail"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)

    seen = environ | JSON | {"PATH": f"{slow.parent}:{environ['PATH']}"}
    done = run(arguments, environ=seen, folder=root(tmp_path))

    said = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    failures = [line for line in said if line.get("event") == "STEP_FAILURE"]
    assert len(failures) == 1, done.stderr
    failure = failures[0]
    assert failure["level"] == "error"
    assert "cannot be reached" in failure["error"]
    assert (failure["job"], failure["step"]) == ("clear_audit", "clear_audit_op")


def test_a_format_that_is_not_known_is_refused_before_there_is_a_run(
    cath: Service, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATH_DAGSTER_LOG_FORMAT", "jsn")

    with pytest.raises(dg.DagsterInvalidInvocationError, match="it may be text or json"):
        execute(cath, instance, "clear_audit")
    assert instance.get_runs_count() == 0
