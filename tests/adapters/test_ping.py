"""A dead-man's switch hears of every run, in Healthchecks' words, and holds none up."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg
import pytest

from cath_dagster.adapters.ping import ping_url
from cath_dagster.cath.definitions import defs
from cath_dagster.cath.jobs.clear_audit import SPEC
from tests.operations.receivers import Receiver
from tests.service import Service

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

    monkeypatch.setattr("cath_dagster.orchestration.runs.execute", interrupt)

    assert not run(cath).success

    assert heard(switch)[-1] == f"/check/fail?rid={RUN}"
