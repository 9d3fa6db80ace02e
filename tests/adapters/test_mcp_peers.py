"""The MCP client against another maker's server, the reference one of the TypeScript SDK, over both transports."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator

import anyio
import pytest

from cath_dagster.adapters.mcp_client import connect, read_tools
from cath_dagster.core.ports.mcp import McpAddress, McpEndpoint, McpError, McpFault, McpProcess
from tests.support.peers import find_node, find_peer
from tests.support.waiting import wait_until

pytestmark = pytest.mark.stack


def script() -> str:
    return str(find_peer("@modelcontextprotocol/server-everything") / "dist" / "index.js")


@contextlib.contextmanager
def serving() -> Iterator[McpAddress]:
    """Yield the address of a server in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {**os.environ, "PORT": str(port)}
    command = [str(find_node()), script(), "streamableHttp"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_listening(port) or process.poll() is not None, "the server never listened")
            yield McpAddress(url=f"http://127.0.0.1:{port}/mcp")
        finally:
            process.kill()


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


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
    check_everything(McpProcess(command=str(find_node()), args=(script(), "stdio")))


def test_speaks_to_it_over_streamable_http() -> None:
    with serving() as address:
        check_everything(address)


def test_notices_that_it_was_killed() -> None:
    with serving() as address:
        read_tools(address)

    with pytest.raises(McpError, match="cannot be reached"):
        read_tools(address)
