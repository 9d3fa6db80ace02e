"""The MCP client against another maker's server, the reference one of the TypeScript SDK, over both transports."""

import anyio
import pytest

from cath_dagster.adapters.mcp_client import connect, read_tools
from cath_dagster.core.ports.mcp import McpAddress, McpEndpoint, McpError, McpFault, McpProcess
from tests.support.reference_mcp import command, serving

pytestmark = pytest.mark.stack


def check_everything(endpoint: McpEndpoint) -> None:
    tools = {tool.name: tool for tool in read_tools(endpoint)}

    assert {"echo", "get-env", "get-sum"} <= set(tools)
    # A hint, and no more: this tool gives away the server's environment.
    assert tools["get-env"].is_read_only
    assert tools["get-sum"].input_schema["required"] == ["a", "b"]

    faults = []

    async def ask() -> None:
        async with connect(endpoint, connect_seconds=60, call_seconds=60) as connection:
            await connection.list_once()
            await connection.call("echo", {"message": "hello"})
            for name, arguments in (("get-sum", {"a": "no number"}), ("nowhere", {})):
                try:
                    await connection.call(name, arguments)
                except McpError as error:
                    faults.append(error.fault)

    anyio.run(ask)

    assert faults == [McpFault.TOOL_ERROR, McpFault.TOOL_ERROR]


def test_speaks_to_it_over_standard_input() -> None:
    program, *arguments = command("stdio")
    check_everything(McpProcess(command=program, args=tuple(arguments)))


def test_speaks_to_it_over_streamable_http() -> None:
    with serving() as url:
        check_everything(McpAddress(url=url))


def test_notices_that_it_was_killed() -> None:
    with serving() as url:
        address = McpAddress(url=url)
        read_tools(address)

    with pytest.raises(McpError, match="cannot be reached"):
        read_tools(address)
