"""Speak to MCP servers by the Python SDK, and say honestly why one did not answer.

The SDK is imported where a connection is opened: it takes seconds. What it leaves to its callers is done here: a limit of
time around everything, no cache, the HTTP status that it loses, and errors that it wraps in groups within groups.
"""

import contextlib
import functools
import importlib
import logging
import math
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cath_dagster.core.ports.mcp import McpAddress, McpEndpoint, McpError, McpFault, McpProcess, McpTool

if TYPE_CHECKING:
    # Seconds of imports, for those alone who open a connection.
    import httpx2
    from mcp import Client
    from mcp.client._transport import Transport

T = TypeVar("T")

MAX_PAGES = 100
"""A server whose list of tools never ends, or goes in circles, is at fault."""
LONGEST_RETRY_SECONDS = 86_400.0
_TIMED_OUT, _ENDED, _NOT_FOUND = -32001, -32000, -32601
_NO_JSON, _NO_REQUEST = -32700, -32600


@dataclass
class _Answer:
    """What the last HTTP answer to one question said, of which the SDK tells nothing."""

    status: int | None = None
    retry_after: float | None = None
    is_mcp: bool = True


_answer: ContextVar[_Answer | None] = ContextVar("mcp_answer", default=None)


class McpConnection:
    """A connection to one server. Several questions may be under way at once."""

    def __init__(self, client: "Client", call_seconds: float) -> None:
        self._client = client
        self._call_seconds = call_seconds

    async def list_once(self) -> None:
        """Ask for the first page of the tools, as the server has it now."""
        async with self._asking():
            await self._client.list_tools()

    async def tools(self) -> tuple[McpTool, ...]:
        """Return every tool, all pages of them."""
        found: list[McpTool] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            async with self._asking():
                page = await self._client.list_tools(cursor=cursor)
            found += [_read_tool(tool) for tool in page.tools]
            cursor = page.next_cursor
            if cursor is None:
                return tuple(found)
        raise McpError(McpFault.PROTOCOL_ERROR)

    async def call(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Call a tool and drop its result; a result that is an error is a failure."""
        async with self._asking():
            result = await self._client.call_tool(name, dict(arguments))
        if result.is_error:
            raise McpError(McpFault.TOOL_ERROR)

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        import anyio

        token = _answer.set(_Answer())
        try:
            with anyio.fail_after(self._call_seconds):
                yield
        except TimeoutError:
            raise McpError(McpFault.TIMEOUT) from None
        except Exception as error:  # noqa: BLE001 - translated, or raised again as it is
            raise _translate(error) from None
        finally:
            _answer.reset(token)


@contextlib.asynccontextmanager
async def connect(
    endpoint: McpEndpoint, *, connect_seconds: float, call_seconds: float
) -> AsyncIterator[McpConnection]:
    """Yield a connection; raise `McpError` where none comes about within its time, or where it breaks.

    A process that was started is ended with the block, at the latest some seconds after.
    """
    import anyio

    _load_the_sdk()
    token = _answer.set(_Answer())
    starting: McpEndpoint | None = endpoint
    # One scope around all: a scope that ends before the SDK's own tasks do would be an error of its own.
    with anyio.CancelScope(deadline=anyio.current_time() + connect_seconds) as limit:
        try:
            async with _open(endpoint) as client:
                limit.deadline, starting = math.inf, None
                # What was answered while connecting explains nothing that breaks later.
                _answer.set(_Answer())
                yield McpConnection(client, call_seconds)
        except Exception as error:  # noqa: BLE001 - translated, or raised again as it is
            raise _translate(error, starting) from None
        finally:
            _answer.reset(token)
    if limit.cancelled_caught:
        raise McpError(McpFault.TIMEOUT)


def read_tools(endpoint: McpEndpoint, *, connect_seconds: float = 30, call_seconds: float = 10) -> tuple[McpTool, ...]:
    """Return the tools of one server, sorted by name; raise `McpError` with the reason where it does not tell.

    For callers without an event loop; several threads may ask different servers at once.
    """
    tools = _ask(endpoint, lambda connection: connection.tools(), connect_seconds, call_seconds)
    return tuple(sorted(tools, key=lambda tool: tool.name))


def check_answers(endpoint: McpEndpoint, *, connect_seconds: float, call_seconds: float) -> None:
    """Ask a server for its tools, the first page of them; raise as `read_tools` does."""
    _ask(endpoint, lambda connection: connection.list_once(), connect_seconds, call_seconds)


def _ask(
    endpoint: McpEndpoint,
    question: Callable[[McpConnection], Awaitable[T]],
    connect_seconds: float,
    call_seconds: float,
) -> T:
    import anyio

    async def ask() -> T:
        async with connect(endpoint, connect_seconds=connect_seconds, call_seconds=call_seconds) as connection:
            return await question(connection)

    return anyio.run(ask)


@contextlib.asynccontextmanager
async def _open(endpoint: McpEndpoint) -> AsyncIterator["Client"]:
    from mcp import Client

    async with contextlib.AsyncExitStack() as stack:
        if isinstance(endpoint, McpProcess):
            transport = _process(endpoint, stack)
        else:
            transport = _http(endpoint, await stack.enter_async_context(_http_client(endpoint)))
        yield await stack.enter_async_context(Client(transport, cache=None))


def _process(endpoint: McpProcess, stack: contextlib.AsyncExitStack) -> "Transport":
    from mcp import StdioServerParameters
    from mcp.client.stdio import stdio_client

    # What a server writes to its standard error may hold anything, and is not ours to show.
    nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - the stack closes it
    parameters = StdioServerParameters(
        command=endpoint.command, args=list(endpoint.args), env=dict(endpoint.env), cwd=endpoint.cwd
    )
    return stdio_client(parameters, errlog=nowhere)


def _http(endpoint: McpAddress, client: "httpx2.AsyncClient") -> "Transport":
    from mcp.client.streamable_http import streamable_http_client

    return streamable_http_client(endpoint.url, http_client=client)


def _http_client(endpoint: McpAddress) -> "httpx2.AsyncClient":
    import httpx2

    return httpx2.AsyncClient(
        headers=dict(endpoint.headers),
        verify=_trust(),
        # Every question has a limit of ours around it.
        timeout=httpx2.Timeout(None),
        event_hooks={"response": [_note_answer]},
    )


@functools.cache
def _trust() -> ssl.SSLContext:
    """Return whom we trust: reading the certificates takes longer than all the rest of a connection."""
    import httpx2

    return httpx2.create_ssl_context()


async def _note_answer(response: "httpx2.Response") -> None:
    """Keep of an answer what the SDK drops; it runs in the context of whoever asked."""
    answer = _answer.get()
    if answer is None:
        return
    answer.status = response.status_code
    answer.retry_after = _seconds(response.headers.get("retry-after"))
    kind = response.headers.get("content-type", "").lower()
    answer.is_mcp = (
        kind.startswith(("application/json", "text/event-stream")) or response.status_code == HTTPStatus.ACCEPTED
    )


def _seconds(retry_after: str | None) -> float | None:
    """Return the seconds that a Retry-After asks for, a number or a date; more than a day is a day."""
    if not retry_after:
        return None
    if retry_after.strip().isdecimal():
        return min(float(retry_after), LONGEST_RETRY_SECONDS)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        left = (parsedate_to_datetime(retry_after).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        return min(max(0.0, left), LONGEST_RETRY_SECONDS)
    return None


def _translate(error: BaseException, connecting_to: McpEndpoint | None = None) -> BaseException:
    """Return an error as `McpError`; one that has nothing to do with a server as it is."""
    first = next(_leaves(error))
    if isinstance(first, McpError):
        return first
    answer = _answer.get() or _Answer()
    if answer.status is not None and answer.status >= HTTPStatus.MULTIPLE_CHOICES:
        return McpError.of_status(answer.status, answer.retry_after)
    fault = _fault(first, connecting_to)
    return first if fault is None else McpError(fault if answer.is_mcp else McpFault.NOT_MCP)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _fault(error: BaseException, connecting_to: McpEndpoint | None) -> McpFault | None:
    import anyio
    import httpx2
    from mcp import MCPError
    from pydantic import ValidationError

    is_starting = isinstance(connecting_to, McpProcess)
    kinds: list[tuple[type[BaseException] | tuple[type[BaseException], ...], Callable[[], McpFault]]] = [
        (MCPError, lambda: _protocol_fault(getattr(error, "code", 0), is_starting=is_starting)),
        ((TimeoutError, httpx2.TimeoutException), lambda: McpFault.TIMEOUT),
        # The second and third are of an address that is none, though it looks like one.
        ((httpx2.TransportError, httpx2.InvalidURL, UnicodeError), lambda: McpFault.UNREACHABLE),
        ((anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream), lambda: McpFault.ENDED),
        (OSError, lambda: McpFault.NOT_STARTED if is_starting else McpFault.UNREACHABLE),
        # An answer that is JSON and not what the protocol says.
        ((ValidationError, httpx2.HTTPError), lambda: McpFault.PROTOCOL_ERROR),
    ]
    return next((fault() for kind, fault in kinds if isinstance(error, kind)), None)


def _protocol_fault(code: int, *, is_starting: bool) -> McpFault:
    if code == _ENDED:
        return McpFault.NOT_STARTED if is_starting else McpFault.ENDED
    known = {_TIMED_OUT: McpFault.TIMEOUT, _NO_JSON: McpFault.NOT_MCP}
    return known.get(code, McpFault.PROTOCOL_ERROR)


def _read_tool(tool: Any) -> McpTool:
    hints = tool.annotations
    return McpTool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.input_schema,
        is_read_only=bool(hints and hints.read_only_hint),
        is_destructive=bool(hints and hints.destructive_hint),
    )


def _load_the_sdk() -> None:
    """Import it before any time is counted, and keep what servers say, and addresses that may hold a key, out of the logs."""
    for name in ("httpx2", "mcp", "mcp.client.stdio", "mcp.client.streamable_http"):
        importlib.import_module(name)
    for name in ("client", "mcp", "httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
