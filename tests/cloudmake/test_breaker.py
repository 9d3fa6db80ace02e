"""The breakers' two functions in the database: they do what the model says, for any number of callers at once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cloudmake.breaker_model import BreakerModel
from tests.cloudmake.cloudmake import CloudMake
from tests.support.roles import role_in

EPOCH = datetime(2026, 11, 18, 6, 0, tzinfo=UTC)
LIMITS = {"failure_limit": 3, "window_seconds": 60, "half_open_seconds": 30, "success_limit": 2}
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 14, 29, 30, 31, 60, 61]),
        st.sampled_from(["allow", "allow", "ok", "ok", "timeout", "timeout", "timeout", "unauthorized", "HTTP 403"]),
    ),
    max_size=30,
)
CALLERS = 6


def instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else EPOCH + timedelta(seconds=seconds)


def add_breaker(cloudmake: CloudMake, name: str = "github", **values: Any) -> None:
    cloudmake.insert("maintenance.circuit_breaker", **{"name": name, **LIMITS, **values})


def add_open(cloudmake: CloudMake, name: str = "github", **values: Any) -> None:
    row = {"state": "OPEN", "opened_at": EPOCH, "last_failure_at": EPOCH}
    add_breaker(cloudmake, name, **{**row, **values})


def breaker(cloudmake: CloudMake, columns: str, name: str = "github") -> tuple[Any, ...]:
    (row,) = cloudmake.rows(f"SELECT {columns} FROM maintenance.circuit_breaker WHERE name = %s", name)
    return row


def allow(cloudmake: CloudMake, at: float | None = None, name: str = "github") -> bool:
    return bool(cloudmake.value("SELECT maintenance.breaker_allow(%s, %s)", name, instant(at)))


def record(cloudmake: CloudMake, word: str, at: float | None = None, name: str = "github") -> str:
    ok, detail = word == "ok", None if word == "ok" else word
    query = "SELECT maintenance.breaker_record(%s, %s, %s, %s)"
    return str(cloudmake.value(query, name, ok, detail, instant(at)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_functions_do_what_the_model_does(cloudmake: CloudMake, steps: list[tuple[int, str]]) -> None:
    cloudmake.connection.execute("TRUNCATE maintenance.circuit_breaker")
    add_breaker(cloudmake)
    model = BreakerModel(failure_limit=3, success_limit=2)
    at = 0.0
    for seconds, word in steps:
        at += seconds
        was_open_since = model.opened_at
        if word == "allow":
            assert allow(cloudmake, at) == model.allow(at)
        else:
            assert record(cloudmake, word, at) == model.record(word, at)
        found = breaker(
            cloudmake, "state, successes, failures, opened_at, last_failure_at, probe_until, misconfigured_since"
        )
        assert found == (
            model.state,
            model.successes,
            [instant(failure) for failure in model.failures],
            instant(model.opened_at),
            instant(model.last_failure_at),
            instant(model.probe_until),
            instant(model.misconfigured_since),
        )
        # While it is not closed, when it first opened stays what it was.
        assert was_open_since in (None, model.opened_at) or model.state == "CLOSED"


def test_a_server_that_nobody_knows_yet_may_be_asked_and_has_the_limits_that_are_decided(cloudmake: CloudMake) -> None:
    assert allow(cloudmake)
    assert cloudmake.count("maintenance.circuit_breaker") == 0

    assert [record(cloudmake, "timeout", second) for second in range(10)] == ["CLOSED"] * 9 + ["OPEN"]
    assert breaker(cloudmake, "failure_limit, window_seconds, half_open_seconds, success_limit") == (10, 60, 30, 3)
    assert breaker(cloudmake, "opened_at, detail") == (instant(9), "timeout")


def test_failures_further_apart_than_the_window_open_nothing(cloudmake: CloudMake) -> None:
    add_breaker(cloudmake)

    assert {record(cloudmake, "timeout", 31 * number) for number in range(8)} == {"CLOSED"}


def test_a_server_that_refuses_credentials_is_no_outage_and_is_told_as_misconfigured(cloudmake: CloudMake) -> None:
    add_breaker(cloudmake)

    words = ["unauthorized", "forbidden: no", "HTTP 401", "401", "403 Forbidden", "http 403"]
    assert {record(cloudmake, word, at) for at, word in enumerate(words)} == {"CLOSED"}
    assert breaker(cloudmake, "misconfigured_since, failures, detail") == (EPOCH, [], "http 403")
    assert record(cloudmake, "HTTP 4010", 7) == "CLOSED"
    assert len(breaker(cloudmake, "failures")[0]) == 1

    record(cloudmake, "ok", 8)

    assert breaker(cloudmake, "misconfigured_since, detail") == (None, None)


def test_a_breakers_time_never_runs_backwards(cloudmake: CloudMake) -> None:
    add_open(cloudmake, last_failure_at=instant(100))

    record(cloudmake, "timeout", 5)

    assert breaker(cloudmake, "last_failure_at, opened_at") == (instant(100), EPOCH)
    assert not allow(cloudmake, 40)
    assert allow(cloudmake, 130)


def test_a_caller_that_dies_with_its_probe_keeps_the_others_out_for_a_while_only(cloudmake: CloudMake) -> None:
    add_open(cloudmake)

    assert [allow(cloudmake, at) for at in (29.9, 30, 30, 59.9, 60, 61)] == [False, True, False, False, True, False]


def test_what_is_said_of_a_failure_is_kept_in_part(cloudmake: CloudMake) -> None:
    record(cloudmake, "x" * 1000)

    assert breaker(cloudmake, "length(detail)") == (200,)


def test_successes_within_a_second_are_written_once(cloudmake: CloudMake) -> None:
    for at in (0, 0.5, 0.9, 1.0):
        record(cloudmake, "ok", at)

    assert breaker(cloudmake, "last_success_at") == (instant(1.0),)
    record(cloudmake, "timeout", 1.1)
    record(cloudmake, "ok", 1.2)
    assert breaker(cloudmake, "last_success_at, cardinality(failures)") == (instant(1.0), 1)


@pytest.mark.parametrize("arguments", ["'', true", "NULL, true", "'github', NULL"])
def test_a_record_of_nothing_is_refused(cloudmake: CloudMake, arguments: str) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="needs a name, and true or false"):
        cloudmake.value(f"SELECT maintenance.breaker_record({arguments})")


def test_a_service_needs_the_schema_and_can_set_no_instant_itself(cloudmake: CloudMake) -> None:
    with role_in(cloudmake.url, cloudmake.connection) as role:
        cloudmake.connection.execute(f'GRANT USAGE ON SCHEMA maintenance TO "{role.name}"')

        assert role.attempt("SELECT maintenance.breaker_record('github', false, 'timeout')") is None
        assert role.attempt("SELECT maintenance.breaker_allow('github')") is None
        assert role.attempt("UPDATE maintenance.circuit_breaker SET opened_at = NULL") == "42501"
    assert breaker(cloudmake, "cardinality(failures)") == (1,)


@pytest.fixture
def sessions(cloudmake: CloudMake) -> Iterator[list[psycopg.Connection[Any]]]:
    opened = [psycopg.connect(cloudmake.url, autocommit=True) for _ in range(CALLERS)]
    try:
        yield opened
    finally:
        for session in opened:
            session.close()


class Callers:
    """Callers of one server, each in a session and a thread of its own, who do as the functions say."""

    def __init__(self, sessions: list[psycopg.Connection[Any]], *, ok: bool) -> None:
        self._sessions = sessions
        self._ok = ok
        self._lock = threading.Lock()
        self._asking = 0
        self.most_at_once = 0
        self.asked = 0
        self.states: list[str] = []

    def all_call(self, times: int) -> None:
        start = threading.Barrier(len(self._sessions))
        with ThreadPoolExecutor(len(self._sessions)) as pool:
            futures = [pool.submit(self._call, session, start, times) for session in self._sessions]
        for future in futures:
            future.result()

    def _call(self, session: psycopg.Connection[Any], start: threading.Barrier, times: int) -> None:
        start.wait()
        for _ in range(times):
            row = session.execute("SELECT maintenance.breaker_allow('github')").fetchone()
            if row is not None and row[0]:
                self._ask(session)

    def _ask(self, session: psycopg.Connection[Any]) -> None:
        with self._lock:
            self._asking += 1
            self.most_at_once = max(self.most_at_once, self._asking)
            self.asked += 1
        # The others get their turn, and must be told to wait.
        session.execute("SELECT count(*) FROM maintenance.circuit_breaker")
        with self._lock:
            # Counted down before it is recorded: from then on another may rightly ask.
            self._asking -= 1
        row = session.execute("SELECT maintenance.breaker_record('github', %s, 'timeout')", (self._ok,)).fetchone()
        assert row is not None
        self.states.append(row[0])


def test_many_at_once_send_one_prober_at_a_time(cloudmake: CloudMake, sessions: list[psycopg.Connection[Any]]) -> None:
    opened_at = datetime(2026, 1, 1, tzinfo=UTC)
    add_open(cloudmake, opened_at=opened_at, last_failure_at=opened_at, success_limit=10_000, half_open_seconds=3600)
    callers = Callers(sessions, ok=True)

    callers.all_call(times=30)

    assert callers.most_at_once == 1
    assert callers.asked > 1
    assert set(callers.states) == {"HALF_OPEN"}
    assert breaker(cloudmake, "successes, opened_at") == (callers.asked, opened_at)


def test_many_failures_at_once_open_it_once_and_none_is_lost(
    cloudmake: CloudMake, sessions: list[psycopg.Connection[Any]]
) -> None:
    add_breaker(cloudmake, failure_limit=20, half_open_seconds=3600)
    callers = Callers(sessions, ok=False)

    callers.all_call(times=30)

    assert callers.states.count("CLOSED") == 19
    assert callers.asked >= 20
    assert breaker(cloudmake, "state, cardinality(failures), opened_at = failures[20]") == ("OPEN", 20, True)


def test_many_first_records_at_once_make_one_breaker(
    cloudmake: CloudMake, sessions: list[psycopg.Connection[Any]]
) -> None:
    callers = Callers(sessions, ok=False)

    callers.all_call(times=1)

    assert breaker(cloudmake, "cardinality(failures)") == (CALLERS,)
