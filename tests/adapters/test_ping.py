"""A dead-man's switch hears of every run, in Healthchecks' words, and holds none up."""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from cath_dagster.adapters.ping import ping_url
from cath_dagster.cath import CATH
from cath_dagster.cath.definitions import defs
from cath_dagster.cath.jobs.clear_audit import SPEC
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.run.job_parts import DatabaseWork, Step
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.jobs import build_step_job
from tests.operations.receivers import Receiver
from tests.support.command import call
from tests.support.service import Service

RUN = str(uuid.uuid4())


@pytest.fixture
def switch() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def cath(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return the service, with the environment of its jobs in this process."""
    service.as_of = min(service.as_of, datetime.now(UTC))
    for name, value in service.environ.items():
        monkeypatch.setenv(name, value)
    return service


def run(service: Service, **config: object) -> dg.ExecuteInProcessResult:
    """Run `clear_audit` as a worker does, with no daemon anywhere."""
    return defs.resolve_job_def("clear_audit").execute_in_process(
        run_config={"as_of": service.as_of.isoformat(), **config}, run_id=RUN, raise_on_error=False
    )


def heard(receiver: Receiver) -> list[str]:
    return [request.path for request in receiver.requests]


def test_a_run_that_succeeds_pings_its_start_and_its_success_with_its_id(
    cath: Service, switch: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATH_CLEAR_AUDIT_PING_URL", f"http://127.0.0.1:{switch.port}/check")

    assert run(cath).success

    assert heard(switch) == [f"/check/start?rid={RUN}", f"/check?rid={RUN}"]


def test_a_run_of_the_command_line_pings_the_same(
    cath: Service, switch: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATH_CLEAR_AUDIT_PING_URL", f"http://127.0.0.1:{switch.port}/check")

    done = call(os.environ, "run", "clear_audit", "--json")
    cath.connection.execute("DROP SCHEMA maintenance CASCADE")
    refused = call(os.environ, "run", "clear_audit", "--json")

    ids = [json.loads(each.stdout)["run_id"] for each in (done, refused)]
    assert heard(switch) == [
        f"/check{how}?rid={run_id}"
        for run_id, hows in zip(ids, (("/start", ""), ("/start", "/fail")), strict=True)
        for how in hows
    ]


def test_a_run_that_is_refused_pings_its_failure(
    cath: Service, switch: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATH_CLEAR_AUDIT_PING_URL", f"http://127.0.0.1:{switch.port}/check/")
    cath.connection.execute("DROP SCHEMA maintenance CASCADE")

    assert not run(cath).success

    assert heard(switch) == [f"/check/start?rid={RUN}", f"/check/fail?rid={RUN}"]


def test_a_dry_run_pings_nobody(cath: Service, switch: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATH_CLEAR_AUDIT_PING_URL", f"http://127.0.0.1:{switch.port}/check")

    assert run(cath, dry_run=True).success

    assert heard(switch) == []


def test_a_projects_address_gives_every_job_a_check_of_its_own(
    cath: Service, switch: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATH_PING_URL", f"http://127.0.0.1:{switch.port}/key")

    assert run(cath).success

    assert heard(switch)[1] == f"/key/cath-clear-audit?rid={RUN}"


def test_a_jobs_own_address_wins_over_the_projects() -> None:
    environ = {"CATH_PING_URL": "https://p.example.org", "CATH_CLEAR_AUDIT_PING_URL": "https://own.example.org"}

    assert ping_url(SPEC, environ) == "https://own.example.org"
    assert ping_url(SPEC, {}) is None


@pytest.mark.parametrize("fault", ["refuses", "answers with an error", "is no address"])
def test_a_switch_that_is_broken_fails_no_run(
    cath: Service, switch: Receiver, monkeypatch: pytest.MonkeyPatch, fault: str, capfd: pytest.CaptureFixture[str]
) -> None:
    switch.status = 500
    url = {
        "refuses": "http://127.0.0.1:9/secret",
        "answers with an error": f"http://127.0.0.1:{switch.port}/secret",
        "is no address": "secret",
    }[fault]
    monkeypatch.setenv("CATH_CLEAR_AUDIT_PING_URL", url)

    assert run(cath).success

    said = capfd.readouterr().err
    assert "the dead-man's switch was not told" in said
    assert "secret" not in said


def test_a_switch_that_hangs_is_not_waited_for(
    cath: Service, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("cath_dagster.adapters.ping.TIMEOUT_SECONDS", 0.1)
    with Receiver(hangs=2.0) as hanging:
        monkeypatch.setenv("CATH_CLEAR_AUDIT_PING_URL", f"http://127.0.0.1:{hanging.port}/check")

        assert run(cath).success

    assert capfd.readouterr().err.count("the dead-man's switch was not told: ReadTimeout") == 2


def test_a_run_that_is_interrupted_pings_its_failure(
    cath: Service, switch: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATH_CLEAR_AUDIT_PING_URL", f"http://127.0.0.1:{switch.port}/check")

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cath_dagster.adapters.envelope.execute", interrupt)

    assert not run(cath).success

    assert heard(switch)[-1] == f"/check/fail?rid={RUN}"


def steps(*outcomes: bool) -> dg.JobDefinition:
    """Return a job whose steps end well or not."""

    def work(ends_well: bool) -> Callable[[JobRun, JobSettings], None]:
        return lambda run, _: None if ends_well else run.fail("something is left undone")

    made = tuple(
        Step(
            name=f"step_{number}",
            run=work(ends_well),
            summary="A step",
        )
        for number, ends_well in enumerate(outcomes)
    )
    spec = JobSpec(
        location=CATH,
        name="stepwise",
        schedule=Cron("0 1 * * *"),
        owner="team:cath",
        summary="A job of steps",
        description="Does nothing, step by step, for a test of the dead-man's switch.",
        settings=JobSettings,
        steps=made,
        database=DatabaseWork(
            targets=(),
        ),
    )
    return build_step_job(spec)


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [((True, True), ["/start", ""]), ((False, True), ["/start", "/fail"]), ((True, False), ["/start", "/fail"])],
)
def test_a_run_of_several_steps_is_told_as_one(
    cath: Service, switch: Receiver, monkeypatch: pytest.MonkeyPatch, outcomes: tuple[bool, ...], told: list[str]
) -> None:
    monkeypatch.setenv("CATH_STEPWISE_PING_URL", f"http://127.0.0.1:{switch.port}/check")

    done = steps(*outcomes).execute_in_process(
        run_config={"as_of": cath.as_of.isoformat()}, run_id=RUN, raise_on_error=False
    )

    assert done.success is all(outcomes)
    assert heard(switch) == [f"/check{how}?rid={RUN}" for how in told]
