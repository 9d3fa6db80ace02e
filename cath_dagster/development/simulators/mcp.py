"""An MCP server of the Python SDK on loopback, or over standard input and output, for samples and tests: it fails on demand."""

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    # Seconds of imports, for those alone who start a server.
    from mcp.server import Server

JSON, HTML = "application/json", "text/html"
CALLABLE = ("catalogue.get", "catalogue.search", "catalogue.wipe", "catalogue.reveal")
"""The tools whose calls go well, if the arguments are there."""
POLL_SECONDS = 0.01

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class McpReply:
    """What a request gets in place of the server's answer, or `seconds` late before it."""

    status: int | None = None
    """None: the server's own answer."""
    body: str = ""
    kind: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0
    is_silence: bool = False
    """No answer at all, for as long as the server is there."""
    method: str | None = None
    """Only requests of this method of the protocol; None for all."""


UNAUTHORIZED = McpReply(status=401)
FORBIDDEN = McpReply(status=403)
BROKEN = McpReply(status=500)
PAGE = McpReply(status=200, body="<html><body>planted page</body></html>", kind=HTML)
SILENCE = McpReply(is_silence=True)


def too_many(retry_after: str | None = None) -> McpReply:
    """Return the answer of a server that is asked too often."""
    return McpReply(status=429, headers={} if retry_after is None else {"Retry-After": retry_after})


def build_server() -> "Server[Any]":
    """Return a server with tools of every kind: what may be called, what may not, and what lies about itself.

    Its list has two pages, and says that it may be kept for an hour.
    """
    from mcp.server import Server
    from mcp.server.caching import CacheHint
    from mcp.types import CallToolResult, ListToolsResult, TextContent, Tool, ToolAnnotations

    reads, destroys = ToolAnnotations(read_only_hint=True), ToolAnnotations(read_only_hint=True, destructive_hint=True)
    nothing: dict[str, Any] = {"type": "object", "properties": {}}
    words = {"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]}
    pages = {
        "": [
            Tool(name="catalogue.search", description="Finds entries.", input_schema=words, annotations=reads),
            Tool(name="catalogue.get", description="Gives one entry.", input_schema=nothing, annotations=reads),
            Tool(name="catalogue.wipe", description="Deletes all.", input_schema=nothing, annotations=destroys),
        ],
        "more": [
            Tool(name="catalogue.fail", description="Fails.", input_schema=nothing, annotations=reads),
            Tool(name="catalogue.reveal", input_schema=nothing),
        ],
    }

    async def list_tools(context: Any, asked: Any) -> ListToolsResult:
        del context
        cursor = (asked.cursor if asked is not None else None) or ""
        return ListToolsResult(tools=pages[cursor], next_cursor=None if cursor else "more")

    async def call_tool(context: Any, asked: Any) -> CallToolResult:
        del context
        needs = "words" if asked.name == "catalogue.search" else None
        is_fine = asked.name in CALLABLE and (needs is None or needs in (asked.arguments or {}))
        return CallToolResult(content=[TextContent(type="text", text="planted words")], is_error=not is_fine)

    hint = CacheHint(ttl_ms=3_600_000)
    return Server("catalogue", on_list_tools=list_tools, on_call_tool=call_tool, cache_hints={"tools/list": hint})


class McpSimulator:
    """A server on 127.0.0.1; `start` and `stop` it, or use it as a context manager."""

    def __init__(self, *, reply: McpReply | None = None, port: int = 0) -> None:
        self.reply = reply
        """What every request gets, if nothing comes next of its own."""
        self.on_request: Callable[[str], None] = _ignore
        """Told of each request before it is answered."""
        self._port = port
        self._next: deque[McpReply] = deque()
        self._lock = threading.Lock()
        self._asked: list[tuple[str, dict[str, str]]] = []
        self._stopping = threading.Event()
        self._server: Any = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/mcp"

    def configuration(self) -> dict[str, Any]:
        """Return a service's `mcp/config.json` with this server, and one that is started; two tools may be called."""
        module = ["-m", "cath_dagster.development.simulators.mcp", "stdio"]
        tools = {"catalogue.get": {}, "catalogue.search": {"words": "entry"}}
        return {
            "mcpServers": {
                "catalogue": {"url": self.url, "loadTools": tools},
                "started": {"command": sys.executable, "args": module},
            }
        }

    @property
    def asked(self) -> Counter[str]:
        """How often each method of the protocol was asked; of a tool's call the tool's name."""
        with self._lock:
            return Counter(method for method, _ in self._asked)

    @property
    def headers(self) -> list[dict[str, str]]:
        """The headers of each request."""
        with self._lock:
            return [headers for _, headers in self._asked]

    def reply_next(self, *replies: McpReply) -> None:
        """Answer the next requests so, each of which takes the first reply that is for its method."""
        with self._lock:
            self._next.extend(replies)

    def forget(self) -> None:
        """Forget what was asked so far."""
        with self._lock:
            self._asked.clear()

    def recover(self) -> None:
        """Answer as usual again."""
        self.reply = None
        with self._lock:
            self._next.clear()

    def start(self) -> None:
        import uvicorn

        self._stopping.clear()
        # Bound before it serves: whoever asks too early waits, and is not turned away.
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        app = self._around(build_server().streamable_http_app())
        config = uvicorn.Config(app, log_level="critical", access_log=False, ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]}, daemon=True)
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop at once: requests that hang are cut off."""
        if self._thread is None:
            return
        self._stopping.set()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._server = self._thread = None

    def cut_off(self) -> None:
        """End every connection without an answer, and listen no more; `stop` comes after."""
        for server in self._server.servers:
            server.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    def _around(self, app: Application) -> Application:
        async def answer(scope: Message, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                return await app(scope, receive, send)
            body = await _read(receive)
            reply = self._take(scope, body)
            self.on_request(_method(body))
            if reply is not None and await self._instead(reply, send):
                return None
            return await app(scope, _again(body, receive), send)

        return answer

    def _take(self, scope: Message, body: bytes) -> McpReply | None:
        method = _method(body)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        with self._lock:
            self._asked.append((method, headers))
            first = next((reply for reply in self._next if reply.method in (None, method)), None)
            if first is not None:
                self._next.remove(first)
                return first
            return self.reply if self.reply is not None and self.reply.method in (None, method) else None

    async def _instead(self, reply: McpReply, send: Send) -> bool:
        """Answer in the server's place, and return whether that was done."""
        until = time.monotonic() + reply.seconds
        while not self._stopping.is_set() and (reply.is_silence or time.monotonic() < until):  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(POLL_SECONDS)
        if reply.status is None:
            return reply.is_silence
        headers = {"Content-Type": reply.kind, **reply.headers}
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": reply.body.encode()})
        return True


def _ignore(method: str) -> None:
    del method


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body"):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read already, and then what comes after it."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def _method(body: bytes) -> str:
    try:
        asked = json.loads(body)
    except ValueError:
        return ""
    method = str(asked.get("method", ""))
    return str(asked["params"]["name"]) if method == "tools/call" else method


async def _serve_standard_input() -> None:
    from mcp.server.stdio import stdio_server

    server = build_server()
    async with stdio_server() as (given, answered):
        await server.run(given, answered, server.create_initialization_options())


def main() -> None:
    """Serve over standard input and output, or on loopback until the process is ended, saying where."""
    parser = argparse.ArgumentParser(prog="python -m cath_dagster.development.simulators.mcp", description=__doc__)
    parser.add_argument("transport", choices=("stdio", "http"))
    parser.add_argument(
        "--seconds",
        type=float,
        nargs="+",
        default=[0.0],
        help="over HTTP, a server for each: how long its answers take",
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if given.transport == "stdio":
        asyncio.run(_serve_standard_input())
        return
    with contextlib.ExitStack() as stack:
        for seconds in given.seconds:
            simulator = stack.enter_context(McpSimulator(reply=McpReply(seconds=seconds)))
            print(simulator.url, flush=True)  # noqa: T201 - who started it reads the addresses
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
