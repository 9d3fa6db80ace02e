"""What calls come to: percentiles by nearest rank, which failures are latencies, and which limits are broken."""

from typing import Any

import pytest

from cath_dagster.cloudmake.nearest_rank import nearest_rank
from cath_dagster.cloudmake.servers.limits import broken_limits
from cath_dagster.cloudmake.servers.measurement import LIST, Call, Measurement, Phase
from cath_dagster.cloudmake.servers.permission import permit
from cath_dagster.cloudmake.servers.thresholds import Limit, Thresholds
from cath_dagster.core.ports.mcp import McpError, McpFault, McpTool

ALERT = Limit(p95_ms=750, error_percent=5)


def call(milliseconds: float, fault: McpFault | None = None, **values: Any) -> Call:
    given = {"tool": LIST, "phase": Phase.IN_TURN, "began": 0.0, **values}
    return Call(seconds=milliseconds / 1000, fault=fault, **given)


def measured(*calls: Call, **values: Any) -> Measurement:
    return Measurement(server="a", timeout_seconds=10, calls=list(calls), **values)


@pytest.mark.parametrize(
    ("count", "rank"),
    [(1, 1), (5, 5), (10, 10), (19, 19), (20, 19), (21, 20), (39, 38), (40, 38), (100, 95), (101, 96)],
)
def test_the_p95_is_the_value_of_the_nearest_rank(count: int, rank: int) -> None:
    assert nearest_rank(range(count, 0, -1), 95) == rank


def test_of_no_values_there_is_no_rank() -> None:
    assert nearest_rank([], 95) is None


def test_failed_calls_are_no_latency_but_a_time_out_is_one() -> None:
    found = measured(call(10), call(1, McpFault.SERVER_ERROR), call(10_000, McpFault.TIMEOUT), call(20))

    assert (found.p95_ms, found.p50_ms, found.error_percent) == (10_000, 20, 50)


def test_without_a_sample_the_p95_is_the_time_out_and_all_failed() -> None:
    nothing = measured(not_started=McpError(McpFault.NOT_STARTED))
    errors = measured(call(1, McpFault.SERVER_ERROR))

    for found in (nothing, errors):
        assert (found.p95_ms, found.p50_ms, found.parallel_ms, found.error_percent) == (10_000, None, None, 100)
    assert (dict(nothing.errors), dict(errors.errors)) == ({"not_started": 1}, {"server_error": 1})


def test_the_calls_to_warm_up_count_nowhere_and_those_at_once_not_in_the_p95() -> None:
    found = measured(
        call(900, phase=Phase.WARM_UP),
        call(1, McpFault.SERVER_ERROR, phase=Phase.WARM_UP),
        call(10),
        call(300, phase=Phase.AT_ONCE),
        call(400, phase=Phase.AT_ONCE),
    )

    assert (found.p95_ms, found.parallel_ms, found.error_percent) == (10, 350, 0)


@pytest.mark.parametrize(
    ("p95_ms", "says"),
    [
        (600, None),
        (600.1, "a: p95 of tools/list 600.10 ms > 600 ms (warning)"),
        (750, "a: p95 of tools/list 750.00 ms > 600 ms (warning)"),
        (750.1, "a: p95 of tools/list 750.10 ms > 750 ms (alert)"),
        (1000, "a: p95 of tools/list 1000.00 ms > 750 ms (alert)"),
        (1000.1, "a: p95 of tools/list 1000.10 ms > 1000 ms (severe)"),
    ],
)
def test_a_limit_is_broken_beyond_it_and_the_worst_is_told(p95_ms: float, says: str | None) -> None:
    thresholds = Thresholds(servers={"a": Limit(p95_ms=400, error_percent=5)})

    assert [broken.says for broken in broken_limits(measured(call(p95_ms)), thresholds, ALERT)] == [says] * bool(says)


@pytest.mark.parametrize(
    ("failed", "level"), [(1, "warning"), (2, "warning"), (3, "alert"), (5, "alert"), (6, "severe")]
)
def test_errors_are_judged_by_their_share(failed: int, level: str) -> None:
    calls = [call(1, McpFault.SERVER_ERROR)] * failed + [call(1)] * (50 - failed)
    thresholds = Thresholds(servers={"a": Limit(p95_ms=400, error_percent=0.5)})

    # One of fifty is 2 %, where 1 % is warned of; 5 % is 2.5 of them.
    assert [broken.level.name.lower() for broken in broken_limits(measured(*calls), thresholds, ALERT)] == [level]


def test_a_slow_tool_breaks_a_limit_of_its_own() -> None:
    found = measured(call(1), call(800, tool="x", phase=Phase.TOOL), called=("x",))

    assert [broken.says for broken in broken_limits(found, Thresholds(), ALERT)] == [
        "a: p95 of x 800.00 ms > 750 ms (alert)"
    ]


def tool(name: str, **hints: bool) -> McpTool:
    return McpTool(name=name, description=None, input_schema={}, **hints)


def test_who_may_be_called_is_named_and_only_reads() -> None:
    tools = [
        tool("reads", is_read_only=True),
        tool("lies", is_read_only=True, is_destructive=True),
        tool("silent"),
        tool("unnamed", is_read_only=True),
    ]
    named = {"reads": {"x": 1}, "lies": {}, "silent": {}, "nowhere": {}}

    strictly, loosely, unknown = (
        permit(named, tools, read_only=True),
        permit(named, tools, read_only=False),
        permit(named, None, read_only=False),
    )

    assert (strictly.allowed, sorted(strictly.refused)) == ({"reads": {"x": 1}}, ["lies", "nowhere", "silent"])
    assert (sorted(loosely.allowed), sorted(loosely.refused)) == (["lies", "reads", "silent"], ["nowhere"])
    assert (unknown.allowed, len(unknown.refused)) == ({}, 4)
