"""Behind a pooler: one that keeps sessions serves like a direct connection, any other is refused before it is changed."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.cli.doctor import examine_location
from cath_dagster.core.errors import PreflightError
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.outcome import Status
from tests.support.servers import Pooler, await_true, pooling
from tests.support.service import Service

pytestmark = pytest.mark.stack

SESSION_STATE = "SELECT name, setting FROM pg_settings WHERE name NOT IN ('application_name', 'transaction_isolation')"
WAITS = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
ADVISORY = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND datname = current_database()
"""


@pytest.fixture
def pooled(service: Service, request: pytest.FixtureRequest) -> Service:
    """CaTH whose jobs go through a pooler, with a log entry to purge."""
    pooler: Pooler = request.getfixturevalue(request.param)
    service.environ["CATH_DATABASE_URL"] = pooler.url(service.url)
    add_entry(service)
    return service


def add_entry(service: Service) -> None:
    row = {"id": uuid.uuid4(), "timestamp": service.days_ago(200), "source_system": "A", "court_id": "1"}
    service.insert("ingestion_log", **row, status="SUCCESS")


in_session_mode = pytest.mark.parametrize("pooled", ["session_pooler"], indirect=True)
in_transaction_mode = pytest.mark.parametrize("pooled", ["transaction_pooler"], indirect=True)


def doctor(service: Service, monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    for name, value in service.environ.items():
        monkeypatch.setenv(name, value)
    return examine_location(CATH)


def connection_found(service: Service, monkeypatch: pytest.MonkeyPatch) -> tuple[Level, str]:
    found = [finding for finding in doctor(service, monkeypatch) if finding.subject == "connection"]
    return found[0].level, f"{found[0].message}; {found[0].remedy}"


@in_session_mode
def test_a_pooler_in_session_mode_serves_a_run(pooled: Service) -> None:
    assert pooled.run("clear_audit").error is None
    assert pooled.count("ingestion_log") == 0
    # The pooler gives back a session when it has reset it.
    await_true(pooled.url, f"SELECT ({ADVISORY}) = 0")


@in_session_mode
def test_behind_session_mode_one_of_two_runs_at_once_is_refused(pooled: Service) -> None:
    with ThreadPoolExecutor(1) as pool, psycopg.connect(pooled.url) as other:
        other.execute("LOCK TABLE ingestion_log IN SHARE MODE")
        first = pool.submit(pooled.run, "clear_audit")
        await_true(pooled.url, WAITS)
        second = pooled.run("clear_audit")
        other.commit()

    assert (first.result().error, second.status) == (None, Status.REFUSED)
    assert "is at work already" in (second.error or "")


@in_session_mode
def test_doctor_says_that_session_mode_keeps_its_session(pooled: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    level, says = connection_found(pooled, monkeypatch)

    assert level is Level.OK
    assert "pooler" in says


@in_transaction_mode
def test_a_pooler_in_transaction_mode_is_refused(pooled: Service) -> None:
    results = [pooled.run("clear_audit"), pooled.run("clear_audit", dry_run=True)]

    assert [result.status for result in results] == [Status.REFUSED] * 2
    assert "session mode" in (results[0].error or "")
    assert pooled.count("ingestion_log") == 1


@in_transaction_mode
def test_behind_transaction_mode_no_setting_reaches_the_clients_of_the_service(pooled: Service) -> None:
    with psycopg.connect(pooled.environ["CATH_DATABASE_URL"], autocommit=True) as client:
        before = client.execute(SESSION_STATE).fetchall()
        pid = client.execute("SELECT pg_backend_pid()").fetchone()
        pooled.run("clear_audit")

        assert client.execute("SELECT pg_backend_pid()").fetchone() == pid
        assert client.execute(SESSION_STATE).fetchall() == before


@in_transaction_mode
def test_behind_transaction_mode_no_lock_stays(pooled: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    pooled.run("clear_audit")
    doctor(pooled, monkeypatch)

    assert pooled.value(ADVISORY) == 0
    pooled.environ["CATH_DATABASE_URL"] = pooled.url
    assert pooled.run("clear_audit").error is None


@in_transaction_mode
def test_doctor_names_transaction_mode_on_an_idle_pool(pooled: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    level, says = connection_found(pooled, monkeypatch)

    assert level is Level.PROBLEM
    assert "session mode" in says


def attempt(url: str) -> None:
    engine = open_engine(url, variable="CATH_DATABASE_URL", application_name="tidy")
    try:
        engine.connect().close()
    finally:
        engine.dispose()


@pytest.fixture
def busy() -> Iterator[Callable[[str, int], None]]:
    """Make a pool open so many connections to the server, all of them idle afterwards."""
    clients: list[psycopg.Connection[Any]] = []

    def occupy(url: str, count: int) -> None:
        for _ in range(count):
            clients.append(psycopg.connect(url))
            clients[-1].execute("SELECT 1")
        for client in clients:
            client.rollback()

    yield occupy
    for client in clients:
        client.close()


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_transaction_mode_is_seen_however_the_pool_chooses(
    cath_url: str, suite_server: str, busy: Callable[[str, int], None], size: int
) -> None:
    with pooling(suite_server, "transaction", server_round_robin=1) as pooler:
        url = pooler.url(cath_url)
        busy(url, size)
        for _ in range(5):
            with pytest.raises(PreflightError, match="session mode"):
                attempt(url)


def test_statement_mode_is_refused_too(cath_url: str, suite_server: str) -> None:
    with pooling(suite_server, "statement") as pooler, pytest.raises(PreflightError, match="session mode"):
        attempt(pooler.url(cath_url))


def test_a_pool_that_gives_no_second_connection_is_refused_and_named(
    cath_url: str, suite_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cath_dagster.adapters.pooling.SECOND_CONNECTION_SECONDS", 1.0)
    with (
        pooling(suite_server, "session", default_pool_size=1) as pooler,
        pytest.raises(PreflightError, match="second connection"),
    ):
        attempt(pooler.url(cath_url))


def test_a_direct_connection_is_asked_nothing_more(service: Service) -> None:
    before = service.value("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")
    backends = EnvironmentBackends("CATH", service.environ)
    backends.engine("tidy").connect().close()
    service.connection.execute("SELECT pg_stat_clear_snapshot()")

    assert service.value("SELECT sessions FROM pg_stat_database WHERE datname = current_database()") <= before + 1
