"""The reference MCP server of the TypeScript SDK, over either transport."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator

from tests.support.peers import find_node, find_peer
from tests.support.waiting import wait_until


def command(transport: str) -> list[str]:
    """Return how it is started; skip the test where it is not installed."""
    script = find_peer("@modelcontextprotocol/server-everything") / "dist" / "index.js"
    return [str(find_node()), str(script), transport]


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Yield the URL of one in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environ = {**os.environ, "PORT": str(port)}
    starts = command("streamableHttp")
    with subprocess.Popen(starts, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: _is_listening(port) or process.poll() is not None, "the server never listened")
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            process.kill()


def _is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False
