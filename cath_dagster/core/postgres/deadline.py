"""The deadline of a run: once it has come, what the run is doing ends where it stands, on the server as well.

The thread that keeps the deadline gets an exception raised in its midst, which no handler of failures takes for one. What
other threads of the run do they may finish, since an effect on the outside must be written down; their statements are
cancelled where they last.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar, Token
from types import FrameType, TracebackType
from typing import Any, Self

import sqlalchemy as sa

SIGNAL = signal.SIGUSR2
"""Raised in the main thread of a run alone. Neither Dagster nor a library of ours uses it; pytest has SIGALRM."""
LOOK_SECONDS = 1.0
"""Between two looks at what is still going on once the deadline has come."""
SWALLOWED_SECONDS = 4.0
"""After which the thread is interrupted again: Python swallows an exception in a destructor, and asyncio one in a callback.
What puts in order what was broken off has had its time by then, and transactions end with their connection.
"""
OTHERS_SECONDS = 2.0
"""What a statement of another thread may still take, so that a message that has gone out is written down."""
CANCEL_TIMEOUT_SECONDS = 2.0


class DeadlineReached(BaseException):
    """The run has had its time. It is no `Exception`: whoever handles failures must not go on."""


class Deadline:
    """The deadline of the work in its block, `seconds` from now: it interrupts the parts that are `armed`.

    `current` is what the transactions of the work and of its threads ask.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends_at = clock() + seconds
        self._keeper = threading.current_thread()
        self._statements: dict[int, tuple[threading.Thread, sa.Connection]] = {}
        self._over = threading.Event()
        self._is_armed = False
        self._deaf_until = 0.0
        self.has_struck = False
        """Whether the work was interrupted: whatever broke off then did so by the deadline, however it is wrapped."""
        self._watch = threading.Thread(target=self._wait, name="deadline", daemon=True)
        self._previous: Any = None
        self._token: Token[Deadline | None] | None = None

    @property
    def remaining(self) -> float:
        """The seconds that are left."""
        return self._ends_at - self._clock()

    @property
    def has_come(self) -> bool:
        """Whether the time is up, and what is being done is to end by it."""
        return not self._over.is_set() and self._is_armed and self.remaining <= 0

    def __enter__(self) -> Self:
        self._token = _CURRENT.set(self)
        if self._can_be_signalled:
            self._previous = signal.signal(SIGNAL, self._interrupt)
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
        self._watch.join()
        if self._token is not None:
            _CURRENT.reset(self._token)
        if self._can_be_signalled:
            signal.signal(SIGNAL, self._previous)

    def end(self) -> None:
        """Interrupt nothing from now on: the work is done, or what it was interrupted in is put in order."""
        self._over.set()

    @contextlib.contextmanager
    def armed(self) -> Iterator[None]:
        """Interrupt this block and nothing else: around it, what was done is written down.

        Raises `DeadlineReached` at once where the time is up already.
        """
        self._is_armed = True
        try:
            self.check()
            yield
        finally:
            self._is_armed = False

    def check(self) -> None:
        """Raise `DeadlineReached` in the thread that keeps the deadline, if it has come."""
        if self.has_come and threading.current_thread() is self._keeper:
            self.has_struck = True
            raise DeadlineReached

    @contextlib.contextmanager
    def cancelling(self, connection: sa.Connection) -> Iterator[None]:
        """Let what is executed on a connection be cancelled where the deadline comes upon it."""
        self.check()
        key = id(connection)
        self._statements[key] = threading.current_thread(), connection
        try:
            yield
        except sa.exc.DBAPIError:
            # A thread that takes no signal learns of the deadline by its cancelled statement.
            self.check()
            raise
        finally:
            self._statements.pop(key, None)

    @property
    def _can_be_signalled(self) -> bool:
        return self._keeper is threading.main_thread()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.has_come and self._clock() >= self._deaf_until:
            self._deaf_until = self._clock() + SWALLOWED_SECONDS
            self.has_struck = True
            raise DeadlineReached

    def _wait(self) -> None:
        """Wait for the deadline, then tell the thread until it has taken note."""
        if self._over.wait(max(0.0, self.remaining)):
            return
        others = [key for key, (thread, _) in list(self._statements.items()) if thread is not self._keeper]
        since = self._clock()
        while True:
            self._tell_keeper()
            if self._over.wait(LOOK_SECONDS):
                return
            if self._clock() - since >= OTHERS_SECONDS:
                self._cancel(others)

    def _tell_keeper(self) -> None:
        if self._can_be_signalled:
            ident = self._keeper.ident
            if ident is not None and self.has_come:
                signal.pthread_kill(ident, SIGNAL)
        elif self.has_come:
            self._cancel([key for key, (thread, _) in list(self._statements.items()) if thread is self._keeper])

    def _cancel(self, keys: list[int]) -> None:
        for key in keys:
            _, connection = self._statements.get(key, (None, None))
            if connection is not None:
                _cancel_statement(connection)


_CURRENT: ContextVar[Deadline | None] = ContextVar("deadline", default=None)


def current() -> Deadline | None:
    """Return the deadline of the work at hand."""
    return _CURRENT.get()


@contextlib.contextmanager
def cancelling(connection: sa.Connection) -> Iterator[None]:
    """Let what is executed on a connection be cancelled by the deadline of the work at hand, if it has one."""
    deadline = current()
    if deadline is None:
        yield
        return
    with deadline.cancelling(connection):
        yield


def pause(seconds: float) -> None:
    """Sleep, but not beyond the deadline of the work at hand."""
    deadline = current()
    if deadline is None:
        time.sleep(seconds)
        return
    time.sleep(max(0.0, min(seconds, deadline.remaining)))
    deadline.check()


def _cancel_statement(connection: sa.Connection) -> None:
    # Whatever hinders it, the run is ended behind it by whoever launched it.
    with contextlib.suppress(Exception):
        driver: Any = connection.connection.driver_connection
        driver.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)
