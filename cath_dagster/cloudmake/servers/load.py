"""Measure one MCP server: its list of tools in turn and many at once, then the tools that may be called for it."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from cath_dagster.adapters.mcp_client import McpConnection, connect
from cath_dagster.cloudmake.servers.configuration import Server
from cath_dagster.cloudmake.servers.measurement import LIST, Call, Measurement, Phase
from cath_dagster.cloudmake.servers.permission import permit
from cath_dagster.core.ports.mcp import McpError, McpFault, McpTool

CALLS_OF_A_TOOL = 20
MINUTE = 60.0
NO_USE = frozenset(
    {
        McpFault.TIMEOUT,
        McpFault.UNREACHABLE,
        McpFault.ENDED,
        McpFault.UNAUTHORIZED,
        McpFault.FORBIDDEN,
        McpFault.RATE_LIMITED,
    }
)
"""After these the next question fares no better, and may do harm."""
MAX_OF_NO_USE = 5
"""So many in a row, and the server is asked no more: a hundred time-outs tell no more than five, and take a quarter of an hour."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a server is measured."""

    samples: int
    concurrency: int
    timeout_seconds: float
    connect_timeout_seconds: float
    max_calls_per_minute: int
    read_only: bool = True
    calls_tools: bool = True
    """Whether the tools that may be called are called. A dry run only finds out which these are."""


@dataclass(kw_only=True)
class Round:
    """Calls of one kind that are still to be made."""

    phase: Phase
    tool: str
    left: int
    at_once: int = 1
    arguments: Mapping[str, Any] | None = None
    """None: the list of tools is asked for."""


class CallRate:
    """Lets so many calls a minute begin, and holds back the others. `sleep` is called in a thread of its own."""

    def __init__(self, per_minute: int, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._sleep = sleep
        self._began: deque[float] = deque()

    async def turn(self) -> bool:
        """Wait until another call may begin, and return whether that took waiting."""
        import anyio

        was_held = False
        while len(self._began) >= self._per_minute:
            left = self._began[0] + MINUTE - self._clock()
            if left <= 0:
                self._began.popleft()
                continue
            was_held = True
            await anyio.to_thread.run_sync(self._sleep, left, abandon_on_cancel=True)
        self._began.append(self._clock())
        return was_held


@dataclass(kw_only=True)
class LoadTest:
    """The measuring of one server. `on_calls` is given the calls of each round as it ends."""

    server: Server
    load: Load
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    on_calls: Callable[[Sequence[Call]], None]
    _rounds: deque[Round] = field(init=False)
    _rate: CallRate = field(init=False)
    _measured: Measurement = field(init=False)
    _tools: Sequence[McpTool] | None = field(init=False, default=None)
    _told: int = field(init=False, default=0)
    _of_no_use: int = field(init=False, default=0)
    _under_way: dict[int, tuple[Round, float, bool]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        load = self.load
        self._measured = Measurement(server=self.server.name, timeout_seconds=load.timeout_seconds)
        self._rate = CallRate(load.max_calls_per_minute, self.clock, self.sleep)
        self._rounds = deque([Round(phase=Phase.WARM_UP, tool=LIST, left=1)])
        if load.calls_tools:
            self._rounds += [
                Round(phase=Phase.IN_TURN, tool=LIST, left=load.samples),
                Round(phase=Phase.AT_ONCE, tool=LIST, left=load.samples, at_once=load.concurrency),
            ]

    def run(self) -> Measurement:
        """Measure the server. What fails is part of what is measured; nothing is raised but by `on_calls`."""
        import anyio

        anyio.run(self._run)
        return self._measured

    async def _run(self) -> None:
        is_first = True
        while self._rounds and self._measured.cut_short is None:
            try:
                async with self._connected() as connection:
                    is_first = False
                    await self._work(connection)
            except McpError as error:
                if is_first:
                    self._measured.not_started = error
                    return
                if not self._under_way:
                    self._measured.cut_short = error.fault
                self._lose(error)
                self._tell()

    def _connected(self) -> AbstractAsyncContextManager[McpConnection]:
        return connect(
            self.server.endpoint,
            connect_seconds=self.load.connect_timeout_seconds,
            call_seconds=self.load.timeout_seconds,
        )

    async def _work(self, connection: McpConnection) -> None:
        while self._rounds and self._measured.cut_short is None:
            current = self._rounds[0]
            await self._all_calls(connection, current)
            self._tell()
            if self._measured.cut_short is None:
                self._rounds.popleft()
                if current.phase is Phase.WARM_UP:
                    self._add_tools()

    async def _all_calls(self, connection: McpConnection, current: Round) -> None:
        import anyio

        async def take_turns() -> None:
            while current.left and self._measured.cut_short is None:
                current.left -= 1
                await self._call(connection, current)

        async with anyio.create_task_group() as group:
            for _ in range(min(current.at_once, current.left)):
                group.start_soon(take_turns)

    async def _call(self, connection: McpConnection, current: Round) -> None:
        was_held = await self._rate.turn()
        key, began = object(), self.clock()
        self._under_way[id(key)] = (current, began, was_held)
        fault: McpFault | None = None
        try:
            await self._ask(connection, current)
        except McpError as error:
            fault = error.fault
        # One that the end of the connection cuts off never comes here: it is told by `_lose`.
        del self._under_way[id(key)]
        self._add(current, began, fault, was_held=was_held)

    async def _ask(self, connection: McpConnection, current: Round) -> None:
        if current.arguments is not None:
            await connection.call(current.tool, current.arguments)
        elif current.phase is Phase.WARM_UP:
            self._tools = await connection.tools()
        else:
            await connection.list_once()

    def _add(self, current: Round, began: float, fault: McpFault | None, *, was_held: bool) -> None:
        seconds = self.load.timeout_seconds if fault is McpFault.TIMEOUT else self.clock() - began
        self._measured.calls.append(
            Call(tool=current.tool, phase=current.phase, began=began, seconds=seconds, fault=fault, was_held=was_held)
        )
        self._of_no_use = self._of_no_use + 1 if fault in NO_USE else 0
        if self._of_no_use >= MAX_OF_NO_USE:
            self._measured.cut_short = fault

    def _lose(self, error: McpError) -> None:
        """Count the calls that ended with the connection; another connection makes those that are left."""
        for current, began, was_held in self._under_way.values():
            self._add(current, began, error.fault, was_held=was_held)
        self._under_way.clear()

    def _add_tools(self) -> None:
        """Put down which of the tools named for the server are called, now that it has said what it has."""
        permission = permit(self.server.load_tools, self._tools, read_only=self.load.read_only)
        self._measured.refused = permission.refused
        self._measured.called = tuple(permission.allowed)
        if self.load.calls_tools:
            self._rounds += [
                Round(phase=Phase.TOOL, tool=name, left=CALLS_OF_A_TOOL, arguments=arguments)
                for name, arguments in permission.allowed.items()
            ]

    def _tell(self) -> None:
        self.on_calls(self._measured.calls[self._told :])
        self._told = len(self._measured.calls)
