"""Write what is recorded of runs on a thread of its own, so that no run waits for it longer than a moment."""

import atexit
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.errors import MaintenanceError, MissingConfigurationError
from cath_dagster.core.history import writing
from cath_dagster.core.history.liveness import hold_alive
from cath_dagster.core.history.writing import Begun
from cath_dagster.core.postgres.database import Database, sqlstate, translate

INSTANCE_URL = "DAGSTER_POSTGRES_URL"
"""The variable that says where the orchestrator keeps its runs, and therefore where the history is."""
PATIENCE_SECONDS = 0.02
"""For which a run waits for its end to be written, and for nothing before: a busy machine may double it, and 50 ms are not
reached.
"""
LAST_PATIENCE_SECONDS = 2.0
"""For which a process that has done its work waits before it ends, while something is still being written."""
SECONDS_BETWEEN_SIGNS = 15.0
"""Between two signs of life on a connection that is held: a lost one is noticed, and made anew."""
UNDEFINED_TABLE, UNDEFINED_SCHEMA = "42P01", "3F000"
NOT_CONFIGURED = f"not in the history: {INSTANCE_URL} is not set"

Write = Callable[[sa.Connection], object]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What asked for a run, and who."""

    trigger: str
    actor: str | None = None
    nonce: str | None = None


@dataclass(frozen=True, kw_only=True)
class History:
    """Where a run is recorded, and how it came about."""

    url: str = field(repr=False)
    origin: Origin
    is_watched: bool = False
    """Whether somebody else than the history's monitor finds out when the run is killed."""


class Writer:
    """A thread that writes in order, on one connection; nothing that it meets is raised."""

    def __init__(self, history: History, run_id: str) -> None:
        self.trouble: str | None = None
        """What kept the last thing from being written; None where all is."""
        self._history, self._run_id = history, run_id
        self._held: Begun | None = None
        """What is under way and has to be said anew where the connection was lost."""
        self._says_alive = False
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection | None = None
        self._writes: queue.SimpleQueue[tuple[Write, threading.Event] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def hold(self, begun: Begun) -> None:
        """Keep the connection, and a lock on it, for as long as the run lives: nobody else would know that it was killed."""
        if not self._history.is_watched:
            self._held, self._says_alive = begun, True

    def rest(self) -> None:
        """Keep saying that the run lives, of which no attempt is under way."""
        self._held = None

    def write(self, what: Write, *, patience: float = 0.0) -> None:
        """Have something written, and wait so long for it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=f"history of {self._run_id}", daemon=True)
            self._thread.start()
            _open.append(self)
        done = threading.Event()
        self._writes.put((what, done))
        done.wait(patience)

    def close(self) -> None:
        """Let the thread end when everything is written, or has failed."""
        if self._thread is None:
            return
        self._writes.put(None)

    def wait(self, seconds: float) -> None:
        """Wait for everything to be written."""
        if self._thread is not None:
            self._thread.join(seconds)
            if self._thread.is_alive():
                self.trouble = _explain("its database does not answer")

    def _work(self) -> None:
        try:
            while (next_write := self._next()) is not None:
                what, done = next_write
                self._write(what)
                done.set()
        finally:
            self._disconnect()
            if self._engine is not None:
                self._engine.dispose()
            if self.trouble is None and self in _open:
                _open.remove(self)

    def _next(self) -> tuple[Write, threading.Event] | None:
        while True:
            try:
                return self._writes.get(timeout=SECONDS_BETWEEN_SIGNS)
            except queue.Empty:
                self._give_sign()

    def _give_sign(self) -> None:
        """Find out whether the connection is still there, and say anew that the run is alive where it was not."""
        if not self._says_alive:
            self._disconnect()
            return
        held, lost = self._held, self._connection is None
        with self._troubles():
            self._in_transaction(lambda connection: connection.execute(sa.select(1)))
        lost = lost or self._connection is None
        if lost and held is not None:
            self._write(lambda connection: writing.begin(connection, held))

    def _write(self, what: Write) -> None:
        had_connection = self._connection is not None
        with self._troubles():
            self._in_transaction(what)
        if self.trouble is not None and had_connection and self._connection is None:
            # It was lost some time ago, or just now; what is written may be written twice.
            with self._troubles():
                self._in_transaction(what)

    @contextlib.contextmanager
    def _troubles(self) -> Iterator[None]:
        try:
            yield
            self.trouble = None
        except DBAPIError as error:
            self._disconnect()
            self.trouble = _explain(_says(error))
        except MaintenanceError as error:
            self._disconnect()
            self.trouble = _explain(str(error))
        except Exception as error:  # noqa: BLE001 - a run is not lost over a mistake in what records it
            self._disconnect()
            self.trouble = _explain(type(error).__name__)

    def _in_transaction(self, what: Write) -> None:
        connection = self._connected()
        with connection.begin():
            what(connection)

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            if self._engine is None:
                self._engine = open_engine(
                    self._history.url, variable=INSTANCE_URL, application_name=f"history:{self._run_id}"
                )
            connection = self._engine.connect()
            if self._says_alive:
                with connection.begin():
                    hold_alive(connection, self._run_id)
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(DBAPIError):
                self._connection.invalidate()
                self._connection.close()
            self._connection = None


_open: list[Writer] = []
"""Those that may have something left to write, or to say."""


def finish_writing(seconds: float = LAST_PATIENCE_SECONDS) -> list[str]:
    """Wait for all that is being written in this process, so long at most; return what kept it from being."""
    until = time.monotonic() + seconds
    unwritten = []
    while _open:
        writer = _open.pop()
        writer.wait(max(0.0, until - time.monotonic()))
        if writer.trouble is not None:
            unwritten.append(writer.trouble)
    return unwritten


# A program that ends otherwise than by our command line, such as a worker of Dagster's.
atexit.register(finish_writing)


@contextlib.contextmanager
def open_history(environ: Mapping[str, str], purpose: str) -> Iterator[Database]:
    """Yield the orchestrator's database, for whoever reads the history; raise `MissingConfigurationError` without its URL."""
    url = environ.get(INSTANCE_URL)
    if not url:
        raise MissingConfigurationError(
            f"{INSTANCE_URL} is not set; set it to the database in which Dagster keeps its runs"
        )
    engine = open_engine(url, variable=INSTANCE_URL, application_name=purpose)
    try:
        with Database(engine) as database:
            yield database
    finally:
        engine.dispose()


def _says(error: DBAPIError) -> str:
    if sqlstate(error) in (UNDEFINED_TABLE, UNDEFINED_SCHEMA):
        return "its tables are not there; run: cath-dagster migrate operations"
    return str(translate(error))


def _explain(why: str) -> str:
    return f"the history does not have all of this run: {why}"
