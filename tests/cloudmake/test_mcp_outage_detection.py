"""mcp_outage_detection: a server that answers nobody is degraded by the first tick, told once, and told again when it is back."""

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cloudmake.servers import configuration, verdict
from cath_dagster.cloudmake.servers import outages as outages_module
from cath_dagster.cloudmake.servers.configuration import Server
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.ports.mcp import McpError, McpFault
from cath_dagster.core.postgres.database import Database
from cath_dagster.development.simulators.mcp import BROKEN, FORBIDDEN, McpSimulator, too_many
from tests.cloudmake.clock import SleptClock, run_by
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.servers import configure
from tests.support.maintained import outcome
from tests.support.waiting import PATIENCE_SECONDS

JOB = "mcp_outage_detection"
DEAD = {"command": "/nowhere/server"}


@pytest.fixture(scope="module")
def started() -> Iterator[McpSimulator]:
    with McpSimulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(started: McpSimulator) -> McpSimulator:
    started.recover()
    started.forget()
    return started


@pytest.fixture
def clock() -> SleptClock:
    return SleptClock()


def run(cloudmake: CloudMake, clock: SleptClock, **config: Any) -> RunResult:
    return run_by(clock, cloudmake, JOB, **config)


def later(cloudmake: CloudMake, seconds: float) -> datetime:
    """Return an instant so long after `as_of`."""
    return cloudmake.as_of + timedelta(seconds=seconds)


def breakers(cloudmake: CloudMake, columns: str = "state") -> dict[str, Any]:
    rows = cloudmake.rows(f"SELECT name, {columns} FROM maintenance.circuit_breaker")
    return {row[0]: row[1] if len(row) == 2 else row[1:] for row in rows}


def outages(cloudmake: CloudMake) -> list[tuple[Any, ...]]:
    return cloudmake.rows(
        "SELECT server_name, opened_at, degraded_at, closed_at FROM maintenance.mcp_outage ORDER BY outage_id"
    )


def add_open(cloudmake: CloudMake, name: str, *, opened: float, failed: float, **values: Any) -> None:
    """Add a breaker that opened and last failed so many seconds before `as_of`."""
    row = {"name": name, "state": "OPEN", "opened_at": cloudmake.ago(seconds=opened)}
    row |= {"last_failure_at": cloudmake.ago(seconds=failed), "probed_at": cloudmake.ago(seconds=300)}
    cloudmake.insert("maintenance.circuit_breaker", **{**row, **values})


def check(result: RunResult) -> tuple[bool, tuple[str, ...]]:
    (found,) = result.checks
    return found.passed, found.subjects


def evaluate(cloudmake: CloudMake, as_of: datetime) -> tuple[bool, str]:
    url = cloudmake.environ["CLOUDMAKE_DATABASE_URL"]
    engine = open_engine(url, variable="CLOUDMAKE_DATABASE_URL", application_name="check")
    with Database(engine) as database:
        found = verdict.evaluate(database, as_of)
    engine.dispose()
    return found.passed, found.message


def test_servers_that_answer_are_asked_once_and_are_well(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url, b=simulator.url)

    result = run(cloudmake, clock)

    assert (result.status, check(result), clock.slept) == ("success", (True, ()), [])
    assert breakers(cloudmake, "state, last_success_at, probed_at") == dict.fromkeys(
        ("a", "b"), ("CLOSED", cloudmake.as_of, cloudmake.as_of)
    )
    assert simulator.asked["tools/list"] == 2
    assert outcome(result, "circuit_breaker").details == {
        "open_breakers": 0,
        "degraded_servers": 0,
        "outages_begun": 0,
        "outages_ended": 0,
    }
    assert outages(cloudmake) == []


def test_a_server_that_answers_nobody_is_degraded_by_the_first_tick_and_told_once(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, github=DEAD, b=simulator.url)

    first = run(cloudmake, clock)
    second = run(cloudmake, clock, as_of=later(cloudmake, 300))

    assert clock.slept[:7] == [15, 15, 15, 15, 15, 15, 5]
    for result in (first, second):
        assert (result.status, check(result)) == ("success", (False, ("github",)))
        assert outcome(result, "circuit_breaker").details["unanswered"] == ["github: not_started"]
    assert "github: degraded since 2026-11-18 06:00:00 UTC, OPEN, not_started" in first.checks[0].message
    assert outages(cloudmake) == [("github", cloudmake.as_of, later(cloudmake, 95), None)]
    assert "api.github.com" in cloudmake.value("SELECT guidance FROM maintenance.mcp_outage")
    assert outcome(first, "circuit_breaker").details["transitions"] == ["github: CLOSED to OPEN"]
    assert "breaker server=github before=CLOSED state=OPEN failures=5 code=not_started" in cloudmake.reporter.lines
    # It stays counted from when it first opened, whatever failed since.
    assert breakers(cloudmake, "opened_at")["github"] == cloudmake.as_of
    assert breakers(cloudmake)["b"] == "CLOSED"


def test_a_hiccup_opens_nothing(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    simulator.reply_next(BROKEN, BROKEN)

    result = run(cloudmake, clock)

    assert (result.status, check(result)[0], clock.slept) == ("success", True, [15])
    assert breakers(cloudmake) == {"a": "CLOSED"}


def test_recovery_closes_the_outage_with_how_long_it_lasted(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=DEAD)
    run(cloudmake, clock)
    configure(cloudmake, tmp_path, a=simulator.url)

    result = run(cloudmake, clock, as_of=later(cloudmake, 300))

    # Three successes, fifteen seconds apart.
    assert clock.slept[7:] == [15, 15]
    assert (result.status, check(result)[0]) == ("success", True)
    assert outages(cloudmake) == [("a", cloudmake.as_of, later(cloudmake, 95), later(cloudmake, 330))]
    assert outcome(result, "circuit_breaker").details["recovered"] == ["a after 330 s"]
    assert outcome(result, "circuit_breaker").details["transitions"] == [
        "a: OPEN to HALF_OPEN",
        "a: HALF_OPEN to CLOSED",
    ]
    assert "a has recovered after 330 s" in result.notes
    assert breakers(cloudmake, "state, opened_at") == {"a": ("CLOSED", None)}


def test_what_services_recorded_counts_and_degraded_is_more_than_ninety_seconds(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    for seconds in (89, 90, 90.001, 91):
        add_open(cloudmake, f"service-{seconds}", opened=seconds, failed=1, probed_at=None)

    result = run(cloudmake, clock, probe=False)

    assert check(result) == (False, ("service-90.001", "service-91"))
    assert [row[0] for row in outages(cloudmake)] == ["service-90.001", "service-91"]
    assert simulator.asked == {}
    assert outcome(result, "circuit_breaker").details["open_breakers"] == 4


def test_the_threshold_is_a_setting(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    add_open(cloudmake, "service", opened=100, failed=1)

    assert check(run(cloudmake, clock, probe=False, threshold_seconds=100))[0]
    assert not check(run(cloudmake, clock, probe=False, threshold_seconds=99))[0]


def test_the_limits_are_settings_by_which_every_caller_goes(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)

    run(cloudmake, clock, failures=2, window_seconds=50, half_open_seconds=20, successes=1)

    columns = "failure_limit, window_seconds, half_open_seconds, success_limit"
    assert breakers(cloudmake, columns) == {"a": (2, 50, 20, 1)}


def test_a_server_that_refuses_our_credentials_is_misconfigured_and_no_outage(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    simulator.reply = FORBIDDEN

    result = run(cloudmake, clock)

    assert (result.status, check(result)[0], clock.slept) == ("failed", True, [])
    assert "a is misconfigured: it answers, and refuses our credentials (forbidden)" in str(result.error)
    assert breakers(cloudmake, "state, misconfigured_since") == {"a": ("CLOSED", cloudmake.as_of)}
    assert outcome(result, "circuit_breaker").details["misconfigured"] == ["a"]


def test_a_server_that_asks_to_be_left_alone_is_neither_well_nor_out(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    simulator.reply = too_many("600")

    result = run(cloudmake, clock)

    assert clock.slept == []
    assert (result.status, check(result)[0]) == ("failed", True)
    assert "a did not answer when it was last asked (rate_limited)" in str(result.error)


def test_a_server_that_says_when_to_come_back_is_asked_then(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    simulator.reply_next(too_many("40"), too_many("40"))

    result = run(cloudmake, clock)

    assert (result.status, clock.slept) == ("success", [40])


def test_a_service_that_gets_answers_keeps_the_breaker_closed_and_the_run_says_what_it_saw(
    cloudmake: CloudMake, tmp_path: Path, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=DEAD)

    class Meanwhile(SleptClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            with psycopg.connect(cloudmake.url) as other:
                other.execute("SELECT maintenance.breaker_record('a', true, NULL, %s)", (later(cloudmake, self()),))

    result = run(cloudmake, Meanwhile())

    assert breakers(cloudmake) == {"a": "CLOSED"}
    assert (result.status, outages(cloudmake)) == ("failed", [])
    assert "a did not answer when it was last asked (not_started); its breaker is closed" in str(result.error)


def test_while_another_caller_asks_a_half_open_server_the_run_does_not(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    add_open(cloudmake, "a", opened=200, failed=40, state="HALF_OPEN", probe_until=later(cloudmake, 10_000))

    result = run(cloudmake, clock)

    assert simulator.asked == {}
    assert check(result) == (False, ("a",))
    assert breakers(cloudmake, "state, probe_until") == {"a": ("HALF_OPEN", later(cloudmake, 10_000))}


def test_after_a_missed_tick_it_is_told_since_when_nobody_looked(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url, b=simulator.url)
    run(cloudmake, clock)

    in_time, too_late = later(cloudmake, 450), later(cloudmake, 451)
    says = "not looked at since 2026-11-18 06:00:00 UTC"
    assert evaluate(cloudmake, in_time) == (True, "")
    assert evaluate(cloudmake, too_late) == (False, f"a: {says}; b: {says}")

    only_a = run(cloudmake, clock, as_of=too_late, servers="a")

    assert f"{says}, until this run: a" in only_a.notes
    assert check(only_a) == (False, ("b",))


def test_before_the_first_run_nobody_is_called_well(cloudmake: CloudMake) -> None:
    passed, message = evaluate(cloudmake, cloudmake.as_of)

    assert not passed
    assert "no server was ever looked at" in message


def test_a_server_that_is_no_longer_configured_is_waited_for_no_more_and_its_outage_ends_with_its_breaker(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=DEAD, b=simulator.url)
    run(cloudmake, clock)
    configure(cloudmake, tmp_path, b=simulator.url)
    run(cloudmake, clock, as_of=later(cloudmake, 300))
    assert breakers(cloudmake, "probed_at")["a"] is None

    cloudmake.connection.execute("DELETE FROM maintenance.circuit_breaker WHERE name = 'a'")
    result = run(cloudmake, clock, as_of=later(cloudmake, 600))

    assert check(result)[0]
    assert [row[3] for row in outages(cloudmake)] == [later(cloudmake, 600)]


def test_a_breaker_that_somebody_deletes_meanwhile_is_made_anew(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    add_open(cloudmake, "a", opened=200, failed=1)

    class Meanwhile(SleptClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            cloudmake.connection.execute("DELETE FROM maintenance.circuit_breaker")

    result = run(cloudmake, Meanwhile())

    assert (result.status, check(result)[0]) == ("success", True)
    assert breakers(cloudmake) == {"a": "CLOSED"}


def test_an_outage_that_ended_and_began_again_between_two_ticks_is_two(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, b=simulator.url)
    add_open(cloudmake, "a", opened=1000, failed=1)
    run(cloudmake, clock)
    opened = cloudmake.ago(seconds=200)
    cloudmake.connection.execute("UPDATE maintenance.circuit_breaker SET opened_at = %s WHERE name = 'a'", (opened,))

    run(cloudmake, clock)

    assert [row[1] for row in outages(cloudmake)] == [cloudmake.ago(seconds=1000), opened]
    assert [row[3] is None for row in outages(cloudmake)] == [False, True]


def test_a_dry_run_asks_once_and_records_nothing(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock
) -> None:
    configure(cloudmake, tmp_path, a=DEAD, b=simulator.url)
    add_open(cloudmake, "a", opened=200, failed=40)
    before = breakers(cloudmake, "c::text FROM maintenance.circuit_breaker AS c WHERE true --")

    result = run(cloudmake, clock, dry_run=True)

    details = outcome(result, "circuit_breaker").details
    assert details["unanswered"] == ["a: not_started"]
    assert details["degraded_servers"] == 1
    assert breakers(cloudmake, "c::text FROM maintenance.circuit_breaker AS c WHERE true --") == before
    assert (outages(cloudmake), result.checks, clock.slept) == ([], (), [])


def test_a_server_that_hangs_delays_only_itself(
    cloudmake: CloudMake, tmp_path: Path, clock: SleptClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("hangs", "a", "b", "z")
    configure(cloudmake, tmp_path, **dict.fromkeys(names, DEAD))
    others_are_done = threading.Barrier(len(names))

    def ask(server: Server, **limits: float) -> None:
        # One after the other, the first would wait for ever.
        others_are_done.wait(timeout=PATIENCE_SECONDS)
        if server.name == "hangs":
            raise McpError(McpFault.TIMEOUT)

    monkeypatch.setattr(configuration, "check_answers", ask)

    result = run(cloudmake, clock, dry_run=True)

    assert outcome(result, "circuit_breaker").details["unanswered"] == ["hangs: timeout"]


def test_a_run_that_is_killed_as_it_opens_an_outage_leaves_that_to_the_next(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, clock: SleptClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(server: str) -> str:
        raise Killed

    configure(cloudmake, tmp_path, b=simulator.url)
    add_open(cloudmake, "a", opened=1000, failed=1)
    with monkeypatch.context() as patched:
        patched.setattr(outages_module, "guidance", die)
        with pytest.raises(Killed):
            run(cloudmake, clock)
    assert outages(cloudmake) == []
    # Nobody is told that it was looked at.
    assert breakers(cloudmake, "probed_at") == {"a": cloudmake.ago(seconds=300), "b": None}

    run(cloudmake, clock)
    run(cloudmake, clock)

    assert [row[0] for row in outages(cloudmake)] == ["a"]


def test_a_run_without_the_configuration_says_so(cloudmake: CloudMake, clock: SleptClock) -> None:
    result = run(cloudmake, clock)

    assert (result.status, result.error) == (
        "failed",
        "CLOUDMAKE_MCP_CONFIG not set; set it in the environment of the run",
    )
    assert breakers(cloudmake) == {}
