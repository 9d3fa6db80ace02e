"""The MCP client: what a server has, asked anew each time, and why it did not answer, in words that are the same for all."""

import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from cath_dagster.adapters.mcp_client import connect, read_tools
from cath_dagster.core.ports.mcp import McpAddress, McpEndpoint, McpError, McpFault, McpProcess
from cath_dagster.development.simulators.mcp import (
    BROKEN,
    FORBIDDEN,
    JSON,
    PAGE,
    SILENCE,
    UNAUTHORIZED,
    McpReply,
    McpSimulator,
    too_many,
)


@pytest.fixture(scope="module")
def started() -> Iterator[McpSimulator]:
    with McpSimulator() as simulator:
        yield simulator


@pytest.fixture
def simulator(started: McpSimulator) -> McpSimulator:
    started.recover()
    return started


def fault_of(endpoint: McpEndpoint, *, seconds: float = 30) -> tuple[McpFault, int | None, float | None]:
    with pytest.raises(McpError) as raised:
        read_tools(endpoint, connect_seconds=seconds, call_seconds=seconds)
    assert "planted" not in str(raised.value)
    return raised.value.fault, raised.value.status, raised.value.retry_after


def test_returns_the_tools_of_every_page_sorted_with_their_hints(simulator: McpSimulator) -> None:
    tools = read_tools(McpAddress(url=simulator.url))

    assert [(tool.name, tool.is_read_only, tool.is_destructive) for tool in tools] == [
        ("catalogue.fail", True, False),
        ("catalogue.get", True, False),
        ("catalogue.reveal", False, False),
        ("catalogue.search", True, False),
        ("catalogue.wipe", True, True),
    ]
    assert [tool.description for tool in tools][2:4] == [None, "Finds entries."]
    assert tools[3].input_schema["required"] == ["words"]


def test_asks_the_server_each_time_though_it_says_that_its_list_may_be_kept(simulator: McpSimulator) -> None:
    before = simulator.asked["tools/list"]

    async def ask() -> None:
        async with connect(McpAddress(url=simulator.url), connect_seconds=30, call_seconds=30) as connection:
            for _ in range(3):
                await connection.list_once()

    anyio.run(ask)

    assert simulator.asked["tools/list"] == before + 3


def test_sends_the_headers_that_are_configured(simulator: McpSimulator) -> None:
    read_tools(McpAddress(url=simulator.url, headers={"X-Key": "made-up"}))

    assert simulator.headers[-1]["x-key"] == "made-up"


@pytest.mark.parametrize("method", [None, "tools/list"], ids=["always", "once-connected"])
def test_says_in_words_why_a_server_did_not_answer(simulator: McpSimulator, method: str | None) -> None:
    says_the_truth = [
        (UNAUTHORIZED, (McpFault.UNAUTHORIZED, 401, None)),
        (FORBIDDEN, (McpFault.FORBIDDEN, 403, None)),
        (too_many(), (McpFault.RATE_LIMITED, 429, None)),
        (too_many("7"), (McpFault.RATE_LIMITED, 429, 7.0)),
        (too_many("Thu, 01 Jan 2026 00:00:00 GMT"), (McpFault.RATE_LIMITED, 429, 0.0)),
        (too_many("Fri, 31 Dec 9999 23:59:59 GMT"), (McpFault.RATE_LIMITED, 429, 86_400.0)),
        (too_many("9" * 400), (McpFault.RATE_LIMITED, 429, 86_400.0)),
        (too_many("soon"), (McpFault.RATE_LIMITED, 429, None)),
        (BROKEN, (McpFault.SERVER_ERROR, 500, None)),
        (McpReply(status=418), (McpFault.REFUSED, 418, None)),
        (McpReply(status=404), (McpFault.NOT_MCP, 404, None)),
        (McpReply(status=302, headers={"Location": "https://planted.example"}), (McpFault.REFUSED, 302, None)),
        (PAGE, (McpFault.NOT_MCP, None, None)),
        (McpReply(status=200, body="{planted", kind=JSON), (McpFault.NOT_MCP, None, None)),
        (McpReply(status=202), (McpFault.PROTOCOL_ERROR, None, None)),
    ]
    found = []
    for reply, _ in says_the_truth:
        simulator.reply = replace(reply, method=method)
        found.append((reply, fault_of(McpAddress(url=simulator.url))))

    assert found == says_the_truth


@pytest.mark.parametrize("method", [None, "tools/list"], ids=["always", "once-connected"])
def test_a_server_that_keeps_silent_is_not_waited_for_beyond_the_limit(
    simulator: McpSimulator, method: str | None
) -> None:
    simulator.reply = replace(SILENCE, method=method)

    assert fault_of(McpAddress(url=simulator.url), seconds=0.5) == (McpFault.TIMEOUT, None, None)


def test_a_server_that_nobody_runs_is_unreachable() -> None:
    with McpSimulator() as stopped:
        endpoint = McpAddress(url=stopped.url)

    assert fault_of(endpoint)[0] is McpFault.UNREACHABLE


def test_an_address_that_is_none_though_it_looks_like_one_is_unreachable() -> None:
    assert fault_of(McpAddress(url="http://ä\u2028..x/", headers={}))[0] is McpFault.UNREACHABLE


def test_a_server_that_goes_in_the_midst_ends_the_connection_with_an_error_of_ours() -> None:
    async def ask() -> None:
        async with connect(McpAddress(url=going.url), connect_seconds=30, call_seconds=30) as connection:
            await connection.list_once()
            going.stop()
            await connection.list_once()

    with McpSimulator() as going, pytest.raises(McpError) as raised:
        anyio.run(ask)

    assert raised.value.fault is McpFault.UNREACHABLE


def test_each_of_several_questions_at_once_gets_the_reason_that_is_its_own(simulator: McpSimulator) -> None:
    found = []

    async def ask() -> None:
        async with connect(McpAddress(url=simulator.url), connect_seconds=30, call_seconds=30) as connection:

            async def call(name: str) -> None:
                try:
                    await connection.call(name, {})
                    found.append((name, "fine"))
                except McpError as error:
                    found.append((name, str(error.fault)))

            simulator.reply_next(
                McpReply(method="catalogue.get", status=403, seconds=0.05),
                McpReply(method="catalogue.reveal", status=429),
            )
            async with anyio.create_task_group() as group:
                for name in ("catalogue.get", "catalogue.reveal", "catalogue.fail", "catalogue.wipe"):
                    group.start_soon(call, name)

    anyio.run(ask)

    assert sorted(found) == [
        ("catalogue.fail", "tool_error"),
        ("catalogue.get", "forbidden"),
        ("catalogue.reveal", "rate_limited"),
        ("catalogue.wipe", "fine"),
    ]


def test_a_mistake_of_the_callers_own_comes_out_as_it_is(simulator: McpSimulator) -> None:
    async def ask() -> None:
        async with connect(McpAddress(url=simulator.url), connect_seconds=30, call_seconds=30):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        anyio.run(ask)


def test_nothing_that_a_server_says_reaches_the_logs(simulator: McpSimulator, caplog: pytest.LogCaptureFixture) -> None:
    simulator.reply_next(McpReply(status=200, body='{"planted": 1}', method="tools/list"))

    with caplog.at_level(logging.DEBUG):
        fault_of(McpAddress(url=simulator.url))

    assert "planted" not in caplog.text
    assert simulator.url not in caplog.text


@pytest.mark.parametrize(
    ("command", "args", "fault"),
    [
        ("/nowhere/planted", (), McpFault.NOT_STARTED),
        ("true", (), McpFault.NOT_STARTED),
        ("cat", (), McpFault.PROTOCOL_ERROR),
    ],
)
@pytest.mark.stack
def test_says_why_a_process_is_no_server(command: str, args: tuple[str, ...], fault: McpFault) -> None:
    assert fault_of(McpProcess(command=command, args=args))[0] is fault


@pytest.mark.stack
def test_a_process_that_never_answers_is_ended_and_its_children_with_it(tmp_path: Path) -> None:
    script = "echo $$ > pid; sleep 3600 & echo $! > child; wait"

    assert fault_of(McpProcess(command="sh", args=("-c", script), cwd=tmp_path), seconds=1)[0] is McpFault.TIMEOUT

    for name in ("pid", "child"):
        number = int((tmp_path / name).read_text())
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


@pytest.mark.stack
def test_a_process_sees_of_our_variables_those_that_are_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLOUDMAKE_MASTER_ENCRYPTION_KEY", "planted")

    fault_of(McpProcess(command="sh", args=("-c", "env > variables"), env={"GIVEN": "yes"}, cwd=tmp_path))

    names = {line.partition("=")[0] for line in (tmp_path / "variables").read_text().splitlines()}
    # Those that the shell sets for itself are no leak.
    assert names - {"PWD", "SHLVL", "_", "OLDPWD"} <= {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "GIVEN"}
    assert "GIVEN" in names


@pytest.mark.stack
def test_speaks_to_a_server_of_the_same_sdk_over_standard_input() -> None:
    endpoint = McpProcess(command=sys.executable, args=("-m", "cath_dagster.development.simulators.mcp", "stdio"))

    assert len(read_tools(endpoint)) == 5
