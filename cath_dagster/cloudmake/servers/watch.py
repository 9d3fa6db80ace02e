"""Ask MCP servers whether they answer, all at once, and record it in their breakers as every caller does."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

import sqlalchemy as sa

from cath_dagster.cloudmake.servers import breaker
from cath_dagster.cloudmake.servers.breaker import CLOSED, Breaker
from cath_dagster.cloudmake.servers.configuration import Server
from cath_dagster.core.parallel import work_on
from cath_dagster.core.ports.mcp import MISCONFIGURED, McpError, McpFault, McpProcess

ANSWER_SECONDS = 5.0
START_SECONDS = 18.0
"""For a process to be started and connected to, which is no part of the answer."""
END_SECONDS = 7.0
"""For a process to be ended that does not end by itself."""
PAUSE = timedelta(seconds=15)
PERIOD = timedelta(seconds=95)
"""A server that answers nobody is asked for so long: five seconds more than what makes it degraded, so that the tick tells."""

T = TypeVar("T")


class Ask(Protocol):
    """Asks a server for its tools; raises `McpError` where it does not answer."""

    def __call__(self, server: Server, *, connect_seconds: float, call_seconds: float) -> object: ...


class Transaction(Protocol):
    """Does something in one transaction."""

    def __call__(self, work: Callable[[sa.Connection], T]) -> T: ...


@dataclass(frozen=True, kw_only=True)
class Looked:
    """How looking at one server went: the last answer, and which states its breaker went through."""

    server: str
    fault: McpFault | None
    """Why it did not answer when it was last asked; None where it did, or was asked by others alone."""
    asked: int
    transitions: tuple[tuple[str, str], ...] = ()

    @property
    def is_misconfigured(self) -> bool:
        return self.fault in MISCONFIGURED


@dataclass(kw_only=True)
class Watch:
    """Looks at servers. `transaction` is called by one thread at a time, `now` and `sleep` by many."""

    ask: Ask
    transaction: Transaction
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    half_open: timedelta
    on_change: Callable[[str, str, Breaker], None]
    """Told of a breaker's change of state: the server, the state before, and the breaker."""
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)
    _stop: threading.Event = field(init=False, default_factory=threading.Event)

    def look(self, servers: Sequence[Server]) -> list[Looked]:
        """Look at all servers at once, each in a thread of its own: one that hangs holds up no other."""
        return self._each(servers, lambda server: _Look(self, server).until_known())

    def ask_once(self, servers: Sequence[Server]) -> list[Looked]:
        """Ask every server once, all at once, and record nothing."""

        def look(server: Server) -> Looked:
            error = self.asked(server)
            return Looked(server=server.name, fault=None if error is None else error.fault, asked=1)

        return self._each(servers, look)

    def _each(self, servers: Sequence[Server], work: Callable[[Server], Looked]) -> list[Looked]:
        looked = work_on(
            servers,
            lambda _, server: work(server),
            own=contextlib.nullcontext,
            threads=max(1, len(servers)),
            stop=self._stop,
        )
        return sorted(looked, key=lambda each: each.server)

    def recorded(self, work: Callable[[sa.Connection], T]) -> T:
        with self._lock:
            return self.transaction(work)

    def tell(self, server: str, before: str, found: Breaker) -> None:
        with self._lock:
            self.on_change(server, before, found)

    def asked(self, server: Server) -> McpError | None:
        """Ask once, and return why there was no answer."""
        # Within the time after which another caller may ask in our place.
        most = max(1.0, self.half_open.total_seconds() - ANSWER_SECONDS - END_SECONDS)
        limit = START_SECONDS if isinstance(server.endpoint, McpProcess) else ANSWER_SECONDS
        try:
            self.ask(server, connect_seconds=min(limit, most), call_seconds=ANSWER_SECONDS)
        except McpError as error:
            return error
        return None

    @property
    def is_stopped(self) -> bool:
        return self._stop.is_set()


class _Look:
    """The looking at one server, until it answers or its time is over."""

    def __init__(self, watch: Watch, server: Server) -> None:
        self._watch = watch
        self._server = server
        self._state = CLOSED
        self._transitions: list[tuple[str, str]] = []
        self._asked = 0
        self._error: McpError | None = None
        self._failing_since: datetime | None = None
        self._has_answered = False
        self._until = watch.now() + PERIOD

    def until_known(self) -> Looked:
        name = self._server.name
        self._state = self._watch.recorded(lambda connection: breaker.read_one(connection, name).state)
        while True:
            self._ask()
            left = self._until - self._watch.now()
            if self._is_known() or left <= timedelta(0) or self._watch.is_stopped:
                break
            pause = max(PAUSE, timedelta(seconds=(self._error and self._error.retry_after) or 0))
            if pause > left and self._error is not None and self._error.retry_after:
                # It asked us to stay away for longer than this run lasts.
                break
            self._watch.sleep(min(pause, left).total_seconds())
        self._open()
        return Looked(
            server=name,
            fault=self._error.fault if self._error is not None else None,
            asked=self._asked,
            transitions=tuple(self._transitions),
        )

    def _is_known(self) -> bool:
        """Return whether it has answered, and so often that its breaker is closed."""
        return self._state == CLOSED and (self._error is None or self._error.fault in MISCONFIGURED)

    def _ask(self) -> None:
        name, now = self._server.name, self._watch.now()
        if not self._watch.recorded(lambda connection: breaker.allow(connection, name, now)):
            # Another caller asks it, or it is left alone for a while: what comes of that is in its breaker.
            self._see(self._watch.recorded(lambda connection: breaker.read_one(connection, name)))
            return
        self._asked += 1
        error = self._watch.asked(self._server)
        fault = str(error.fault) if error is not None else None
        now = self._watch.now()
        found = self._watch.recorded(lambda connection: breaker.record(connection, name, now, fault=fault))
        self._error = error
        self._see(found)
        if error is None or error.fault in MISCONFIGURED:
            self._has_answered = True
        elif self._failing_since is None:
            self._failing_since = found.last_failure_at
            self._until = now + PERIOD

    def _open(self) -> None:
        """Open the breaker of a server that has not answered once in all that time."""
        name, since = self._server.name, self._failing_since
        is_over = self._watch.now() >= self._until
        if since is None or self._has_answered or not is_over or self._state != CLOSED:
            return

        def work(connection: sa.Connection) -> Breaker:
            breaker.open_since(connection, name, since)
            return breaker.read_one(connection, name)

        self._see(self._watch.recorded(work))

    def _see(self, found: Breaker) -> None:
        if found.state != self._state:
            self._transitions.append((self._state, found.state))
            self._watch.tell(self._server.name, self._state, found)
            self._state = found.state
