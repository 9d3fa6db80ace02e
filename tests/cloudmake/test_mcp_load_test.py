"""mcp_load_test: every server is measured by itself, only what is named and only reads is called, and limits are judged."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from cath_dagster.cloudmake.servers.console import report
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.development.simulators.mcp import BROKEN, UNAUTHORIZED, McpReply, McpSimulator, too_many
from tests.cloudmake.clock import SleptClock, run_by
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.servers import configure
from tests.support.maintained import outcome

JOB = "mcp_load_test"
TABLE = "mcp_server_metrics"
QUICK: dict[str, Any] = {"samples": 4, "concurrency": 2, "alert_p95_ms": 60_000}
# However busy the machine is: what is judged here is not how fast it is.
PATIENT = {"alerting": {"criticalThreshold": {"p95LatencyMs": 60_000}}}
DAY = date(2026, 11, 18)


@pytest.fixture(scope="module")
def started() -> Iterator[McpSimulator]:
    with McpSimulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(started: McpSimulator) -> McpSimulator:
    started.recover()
    started.forget()
    return started


@pytest.fixture(autouse=True)
def thresholds(cloudmake: CloudMake, tmp_path: Path) -> Path:
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps(PATIENT))
    cloudmake.environ["CLOUDMAKE_MCP_THRESHOLDS"] = str(path)
    return path


def metrics(cloudmake: CloudMake) -> list[tuple[Any, ...]]:
    columns = "server_name, date, error_rate_pct, seq_latency_ms IS NULL, parallel_latency_ms IS NULL"
    return cloudmake.rows(f"SELECT {columns} FROM {TABLE} ORDER BY server_name")


def calls(cloudmake: CloudMake) -> dict[tuple[str, bool, str | None], int]:
    query = "SELECT tool_name, success, error_code, count(*) FROM mcp_tool_invocations GROUP BY 1, 2, 3"
    return {row[:3]: row[3] for row in cloudmake.rows(query)}


def verdicts(result: RunResult) -> dict[str, bool]:
    return {check.check: check.passed for check in result.checks}


def test_writes_a_row_a_server_and_one_for_every_call(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url, b=simulator.url)

    result = cloudmake.run(JOB, **QUICK)

    assert result.status == "success"
    assert metrics(cloudmake) == [(name, DAY, Decimal("0.00"), False, False) for name in ("a", "b")]
    # One to warm up, four in turn, four two at a time.
    assert calls(cloudmake) == {("tools/list", True, None): 18}
    assert cloudmake.rows(
        "SELECT DISTINCT actor_type, actor_id, correlation_id::text, rate_limit_applied FROM mcp_tool_invocations"
    ) == [("system", None, result.run_id, False)]
    assert verdicts(result) == {"sc_021_list_p95": ANY, "within_alert_limits": True}
    assert outcome(result, TABLE).updated == 2
    assert outcome(result, TABLE).details["a_error_percent"] == 0
    assert outcome(result, "mcp_tool_invocations").updated == 18
    # Both pages to warm up.
    assert simulator.asked["tools/list"] == 20


def test_a_second_run_of_the_same_day_changes_the_row(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    cloudmake.connection.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS {TABLE}_server_name_date_key")
    cloudmake.run(JOB, **QUICK)
    simulator.reply = BROKEN

    cloudmake.run(JOB, **QUICK)
    cloudmake.run(JOB, **QUICK, as_of=datetime(2026, 11, 18, 23, 59, tzinfo=UTC))
    cloudmake.run(JOB, **QUICK, as_of=datetime(2026, 11, 19, tzinfo=UTC))

    assert [row[1:3] for row in metrics(cloudmake)] == [
        (DAY, Decimal("100.00")),
        (date(2026, 11, 19), Decimal("100.00")),
    ]


def test_only_a_tool_that_is_named_and_only_reads_is_called_and_the_others_fail_the_run(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    names = ("catalogue.search", "catalogue.wipe", "catalogue.reveal", "catalogue.nowhere")
    refused: dict[tuple[str, bool, str | None], int] = {(name, False, "refused"): 1 for name in names[1:]}
    named = {name: {"words": "x"} for name in names}
    configure(cloudmake, tmp_path, a={"url": simulator.url, "loadTools": named})

    result = cloudmake.run(JOB, **QUICK)

    assert {name: count for name, count in simulator.asked.items() if name.startswith("catalogue")} == {
        "catalogue.search": 20
    }
    assert result.status == "failed"
    assert result.error is not None
    assert [name for name in names if name in result.error] == list(names[1:])
    assert calls(cloudmake) == {
        ("tools/list", True, None): 9,
        ("catalogue.search", True, None): 20,
        **refused,
    }
    assert outcome(result, TABLE).details["tools"] == ["a: catalogue.search"]
    assert metrics(cloudmake)[0][2] == 0


def test_read_only_may_be_switched_off_where_it_is_not_production(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a={"url": simulator.url, "loadTools": {"catalogue.wipe": {}}})

    refused = cloudmake.run(JOB, **QUICK, read_only=False)
    asked = dict(simulator.asked)
    cloudmake.environ["CLOUDMAKE_ENVIRONMENT"] = "staging"
    allowed = cloudmake.run(JOB, **QUICK, read_only=False)

    assert (refused.status, allowed.status) == ("failed", "success")
    assert "cannot be switched off" in str(refused.error)
    assert asked == {}
    assert simulator.asked["catalogue.wipe"] == 20


def test_a_tool_whose_result_is_an_error_has_failed_and_is_no_latency(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a={"url": simulator.url, "loadTools": {"catalogue.fail": {}}})

    result = cloudmake.run(JOB, **QUICK)

    # 20 of 28 calls, and the day's p95 is that of the lists.
    assert metrics(cloudmake)[0][2] == Decimal("71.43")
    assert calls(cloudmake)["catalogue.fail", False, "tool_error"] == 20
    assert result.status == "success"
    assert verdicts(result)["within_alert_limits"] is False
    assert "a: failed calls 71.43 % > 10 % (severe)" in outcome(result, TABLE).details["limits_broken"]  # type: ignore[operator]


def test_a_dry_run_says_which_tools_would_be_called_and_calls_none(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(
        cloudmake,
        tmp_path,
        a={"url": simulator.url, "loadTools": {"catalogue.get": {}, "catalogue.wipe": {}}},
        b=simulator.url,
    )

    result = cloudmake.run(JOB, **QUICK, dry_run=True)

    details = outcome(result, TABLE).details
    assert details["tools"] == ["a: catalogue.get"]
    assert report(result, False)[0] == "tools that would be called: a: catalogue.get"  # noqa: FBT003 - as it is called
    assert details["refused_tools"] == ["a: catalogue.wipe, the server says that it may destroy"]
    assert outcome(result, TABLE).matched == 2
    assert set(simulator.asked) == {"server/discover", "tools/list"}
    assert (metrics(cloudmake), calls(cloudmake)) == ([], {})
    assert result.checks == ()


def test_a_server_that_cannot_start_has_failed_wholly_and_the_others_are_measured(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a={"command": "/nowhere/server"}, b=simulator.url)

    result = cloudmake.run(JOB, **QUICK)

    assert metrics(cloudmake) == [
        ("a", DAY, Decimal("100.00"), True, True),
        ("b", DAY, Decimal("0.00"), False, False),
    ]
    assert cloudmake.value(f"SELECT p95_latency_ms FROM {TABLE} WHERE server_name = 'a'") == 10_000
    assert result.status == "failed"
    assert "a could not be measured: not_started" in str(result.error)
    assert verdicts(result) == {"sc_021_list_p95": False, "within_alert_limits": False}
    assert all("a" in check.subjects for check in result.checks)


def test_a_call_that_timed_out_counts_with_its_time_out_and_a_dead_server_is_not_asked_a_hundred_times(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    silence = McpReply(is_silence=True, method="tools/list")
    simulator.reply = silence

    result = cloudmake.run(JOB, **QUICK | {"samples": 40}, timeout_seconds=0.05)

    assert metrics(cloudmake) == [("a", DAY, Decimal("100.00"), False, True)]
    assert cloudmake.value(f"SELECT p95_latency_ms FROM {TABLE}") == 50
    assert calls(cloudmake) == {("tools/list", False, "timeout"): 5}
    assert outcome(result, TABLE).details["cut_short"] == ["a: timeout"]
    assert result.status == "success"


@pytest.mark.parametrize(
    ("reply", "kind", "asked"),
    [(UNAUTHORIZED, "unauthorized", 5), (too_many("60"), "rate_limited", 5), (BROKEN, "server_error", 9)],
)
def test_who_refuses_is_asked_no_more_and_who_breaks_is_asked_on(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, reply: McpReply, kind: str, asked: int
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    simulator.reply = McpReply(status=reply.status, headers=reply.headers, method="tools/list")

    cloudmake.run(JOB, **QUICK)

    assert calls(cloudmake) == {("tools/list", False, kind): asked}
    assert cloudmake.count("mcp_tool_invocations", "rate_limit_applied") == (asked if kind == "rate_limited" else 0)


def test_a_server_that_ends_in_the_midst_is_measured_as_far_as_it_went(cloudmake: CloudMake, tmp_path: Path) -> None:
    with McpSimulator() as going:
        configure(cloudmake, tmp_path, a=going.url)
        going.on_request = lambda method: going.cut_off() if going.asked[method] == 5 else None

        result = cloudmake.run(JOB, **QUICK)

    assert calls(cloudmake) == {("tools/list", True, None): 3, ("tools/list", False, "unreachable"): 1}
    assert result.status == "success"
    assert verdicts(result)["within_alert_limits"] is False


def test_no_server_is_asked_more_often_than_a_minute_may_have(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)

    clock = SleptClock()

    run_by(clock, cloudmake, JOB, **QUICK, max_calls_per_minute=4)

    # Nine calls: four at once, four after a minute, of which the first was held, and one after another minute.
    assert clock() == 120
    query = "SELECT timestamp, count(*), bool_or(rate_limit_applied) FROM mcp_tool_invocations GROUP BY 1 ORDER BY 1"
    found = cloudmake.rows(query)
    assert [(row[0] - cloudmake.as_of).total_seconds() for row in found] == [0, 60, 120]
    assert [row[1:] for row in found] == [(4, False), (4, True), (1, True)]


def test_a_broken_limit_fails_the_run_where_it_gates(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)

    result = cloudmake.run(JOB, **{**QUICK, "alert_p95_ms": 0.001}, gate=True)

    assert result.status == "failed"
    assert "within_alert_limits: beyond the limits: a: p95 of tools/list" in str(result.error)
    assert "(alert)" in str(result.error)


def test_goes_by_the_thresholds_of_the_service(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, thresholds: Path
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url, b=simulator.url)
    servers = {"servers": {"a": {"p95LatencyMs": 0.001}, "b": {"p95LatencyMs": 60_000}}}
    thresholds.write_text(json.dumps({**PATIENT, **servers}))

    result = cloudmake.run(JOB, **QUICK)

    warned = [note for note in result.notes if note.endswith("(warning)")]
    assert [note.partition(":")[0] for note in warned] == ["a"]
    assert verdicts(result)["within_alert_limits"]


def test_max_rows_leaves_servers_out_and_says_so(cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator) -> None:
    configure(cloudmake, tmp_path, a=simulator.url, b=simulator.url)

    result = cloudmake.run(JOB, **QUICK, max_rows=1)

    assert [row[0] for row in metrics(cloudmake)] == ["a"]
    assert result.notes == ("max_rows reached: 1 servers are not measured",)


@pytest.mark.parametrize("name", ["CLOUDMAKE_ENVIRONMENT", "CLOUDMAKE_MCP_CONFIG"])
def test_without_a_variable_that_it_needs_no_server_is_asked(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator, name: str
) -> None:
    configure(cloudmake, tmp_path, a=simulator.url)
    del cloudmake.environ[name]

    result = cloudmake.run(JOB, **QUICK)

    assert (result.status, f"{name} not set" in str(result.error)) == ("failed", True)
    assert simulator.asked == {}


def test_neither_an_argument_nor_a_result_nor_a_header_is_kept(
    cloudmake: CloudMake, tmp_path: Path, simulator: McpSimulator
) -> None:
    cloudmake.environ["CLOUDMAKE_KEY"] = "made-up-key"
    entry = {
        "url": simulator.url,
        "headers": {"X-Key": "${KEY}"},
        "loadTools": {"catalogue.search": {"words": "my-words"}},
    }
    configure(cloudmake, tmp_path, a=entry)

    result = cloudmake.run(JOB, **QUICK)

    said = json.dumps(result.as_json()) + "".join(cloudmake.reporter.lines)
    kept = str(cloudmake.rows("SELECT i::text FROM mcp_tool_invocations AS i"))
    for secret in ("made-up-key", "my-words", "planted"):
        assert secret not in said + kept
    assert simulator.headers[-1]["x-key"] == "made-up-key"
