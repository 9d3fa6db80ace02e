"""One connection to a maintained database: its advisory lock, its transactions, and retries of transient faults."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from cath_dagster.core.errors import (
    DatabaseLostError,
    DatabaseStatementError,
    DatabaseUnavailableError,
    LockHeldError,
    MaintenanceError,
    NoWritesNowError,
)
from cath_dagster.core.postgres import deadline

T = TypeVar("T")

MAX_ATTEMPTS = 7
"""With the pauses below about 13 seconds: a failover's reconnect, and no longer than an operator waits for an error."""
FIRST_PAUSE_SECONDS = 0.2
MINIMUM_VERSION = 140_000
"""TID range scans came with PostgreSQL 14; without them a purge reads the whole table for every batch."""

_DEADLOCK = "40P01"
_SERIALIZATION = "40001"
_LOCK_TIMEOUT = "55P03"
_QUERY_CANCELED = "57014"
_INSUFFICIENT_PRIVILEGE = "42501"
HIDDEN_ROWS = "; it would show some of the rows for all of them: give the role BYPASSRLS, or read with one from whom nothing is hidden"
_TRANSIENT = frozenset({_DEADLOCK, _SERIALIZATION, _LOCK_TIMEOUT})
_READ_ONLY = "25006"
_LOST_CLASSES = ("08", "57P", _READ_ONLY)
"""Connection exceptions, an administrator's or a crash's shutdown, and a server that takes no writes: after a switchover
the address leads to another in a moment.
"""
_FOR_NOW = ("the database system is", "too many clients", "remaining connection slots", "no more connections allowed")
"""What a server or a pooler says that is there, and lets nobody in for now; in its own language, which is English unless set."""
_IMPERSONAL_CLASSES = (
    "08", "0A", "25", "26", "28", "2B", "34", "3B", "3D", "3F", "40", "42", "53", "54", "55", "57", "58",
)  # fmt: skip
"""Classes of errors whose messages name tables, columns, roles and limits, never what a row holds."""
_RAISE = "exec_stmt_raise"
"""PL/pgSQL's RAISE, which may give its words any SQLSTATE."""


class BatchConflictError(Exception):
    """Another transaction changed what this one had decided; rolled back, the transaction is tried again."""


LIMITING = ("lock_timeout", "statement_timeout", "synchronous_commit")
"""The session's settings that limits touch."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a transaction's statements may take, for work that can be tried again in smaller parts.

    Its commit does not wait for the disk. A crash of the server may undo the last commits, each of them whole;
    `Database.flush` makes them durable.
    """

    lock_seconds: float
    statement_seconds: float

    def session_settings(self) -> dict[str, str]:
        """Return the settings that differ from the session's usual ones."""
        return {
            "lock_timeout": f"{round(1_000 * self.lock_seconds)}ms",
            "statement_timeout": f"{round(1_000 * self.statement_seconds)}ms",
            "synchronous_commit": "off",
        }


class TimedOutError(Exception):
    """A transaction went beyond its limits and was rolled back; `reason` says which."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Database:
    """A connection that outlives its losses.

    `transaction` runs a function in one transaction and may run it again: the function must have no effect
    but on the database. A commit whose answer was lost is also run again, so it must be safe to repeat.
    """

    def __init__(self, engine: sa.Engine, *, sleep: Callable[[float], None] = deadline.pause) -> None:
        self._engine = engine
        self._sleep = sleep
        self._connection: sa.Connection | None = None
        self._lock_names: list[str] = []
        self._was_connected = False
        self._limits: Limits | None = None
        self._usual: dict[str, str] = {}
        """The session's settings without limits."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._discard()

    def lock(self, name: str) -> None:
        """Take the advisory lock `name` for as long as this object lives, in addition to those it has; twice is once.

        It is taken anew after a lost connection, and the work refused if another took it meanwhile.
        Raises `LockHeldError` naming the holder.
        """
        if name in self._lock_names:
            # Whoever connects anew takes it back.
            self.transaction(lambda connection: connection.execute(sa.select(1)))
            return
        self._lock_names.append(name)
        try:
            self.transaction(lambda connection: _take_lock(connection, name))
        except BaseException:
            self._lock_names.remove(name)
            raise

    def transaction(
        self, work: Callable[[sa.Connection], T], *, limits: Limits | None = None, is_read_only: bool = False
    ) -> T:
        """Return what `work` returns, committed.

        What tries to write in one that `is_read_only` is refused at once, and not tried again as after a switchover.

        Raises `TimedOutError` at once where it goes beyond its `limits`, and `DatabaseUnavailableError` or
        `DatabaseStatementError` in place of the driver's other errors.
        """
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, MAX_ATTEMPTS + 1):
            started = time.monotonic()
            try:
                return self._attempt(work, limits, is_read_only)
            except NoWritesNowError:
                if attempt == MAX_ATTEMPTS:
                    raise
            except (DBAPIError, BatchConflictError) as error:
                if limits is not None and (reason := _exceeded(limits, error, time.monotonic() - started)):
                    raise TimedOutError(reason) from None
                # A first connection that fails is a wrong address more often than a fault that passes.
                may_pass = self._was_connected or _is_for_now(error)
                if attempt == MAX_ATTEMPTS or not (may_pass and _is_transient(error)):
                    raise translate(error) from None
            self._sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")

    def count(self, query: sa.Select[tuple[int]]) -> int:
        """Return the one number that a query counts, read in a transaction of its own."""
        return self.transaction(lambda connection: connection.scalar(query)) or 0

    def autocommit(self, *statements: str) -> None:
        """Execute statements that no transaction may hold, on a connection of their own.

        Raises as `transaction` does, and tries nothing again.
        """
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for statement in statements:
                    with deadline.cancelling(connection):
                        connection.execute(sa.text(statement))
        except DBAPIError as error:
            raise translate(error) from None

    def flush(self) -> None:
        """Make durable what was committed without waiting for it: the log reaches the disk up to this commit."""
        self.transaction(_write_to_log)

    def _attempt(self, work: Callable[[sa.Connection], T], limits: Limits | None, is_read_only: bool) -> T:
        connection = self._connected()
        try:
            self._set(connection, limits)
            with deadline.cancelling(connection):
                return _in_transaction(connection, work, is_read_only)
        except DBAPIError as error:
            if error.connection_invalidated or _is_lost(error):
                self._discard()
            raise
        except BatchConflictError:
            raise
        except NoWritesNowError:
            self._discard()
            raise
        except BaseException:
            # An interrupt leaves the connection in the middle of a statement: nothing more may be said on it.
            if connection.invalidated or connection.closed:
                self._discard()
            raise

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            connection = self._engine.connect()
            try:
                if self._lock_names and self._was_connected:
                    with connection.begin():
                        _check_primary(connection)
                        for name in self._lock_names:
                            _take_lock_back(connection, name)
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            self._connection = connection
            self._was_connected = True
        return self._connection

    def _set(self, connection: sa.Connection, limits: Limits | None) -> None:
        """Give the session the settings that the limits ask for, without a word to the server where it has them."""
        if limits == self._limits:
            return
        with connection.begin():
            if not self._usual:
                values = [sa.func.current_setting(name) for name in LIMITING]
                self._usual = dict(zip(LIMITING, connection.execute(sa.select(*values)).one(), strict=True))
            wanted = self._usual | (limits.session_settings() if limits is not None else {})
            is_local = sa.false()
            connection.execute(sa.select(*(sa.func.set_config(*item, is_local) for item in wanted.items())))
        self._limits = limits

    def _discard(self) -> None:
        self._limits, self._usual = None, {}
        if self._connection is not None:
            with contextlib.suppress(DBAPIError):
                # Invalidated, not returned: an advisory lock lives as long as the server's session.
                if not self._connection.closed:
                    self._connection.invalidate()
                self._connection.close()
            self._connection = None


def _in_transaction(connection: sa.Connection, work: Callable[[sa.Connection], T], is_read_only: bool) -> T:
    try:
        with connection.begin():
            if is_read_only:
                connection.execute(sa.text("SET TRANSACTION READ ONLY"))
            return work(connection)
    except DBAPIError as error:
        if is_read_only and sqlstate(error) == _READ_ONLY:
            raise DatabaseStatementError(_explain_refusal(error, _READ_ONLY, _words(error))) from None
        raise


def _write_to_log(connection: sa.Connection) -> None:
    """Write to the server's log what no consumer of it is shown.

    A commit waits for the disk only where its own transaction has written something: an id of its own is not enough.
    """
    nested = connection.begin_nested()
    connection.execute(sa.text("SELECT pg_logical_emit_message(true, 'cath-dagster', CAST('' AS text))"))
    nested.rollback()


def lock_holder(connection: sa.Connection, name: str) -> str | None:
    """Return the `application_name` of the session that holds the advisory lock `name`."""
    activity = sa.table("pg_stat_activity", sa.column("pid"), sa.column("application_name", sa.Text))
    return connection.scalar(
        sa.select(activity.c.application_name).where(activity.c.pid == _lock_pid(name).scalar_subquery())
    )


def _lock_pid(name: str) -> sa.Select[tuple[int]]:
    """Return the query for the process that holds the advisory lock `name` in this database."""
    key = sa.func.hashtextextended(name, 0)
    locks = sa.table("pg_locks", *map(sa.column, ("pid", "locktype", "database", "classid", "objid")))
    databases = sa.table("pg_database", sa.column("oid"), sa.column("datname"))
    here = sa.select(databases.c.oid).where(databases.c.datname == sa.func.current_database()).scalar_subquery()
    # pg_locks shows a 64-bit key as two unsigned halves.
    high = sa.cast(sa.cast(locks.c.classid, sa.Text), sa.BigInteger)
    low = sa.cast(sa.cast(locks.c.objid, sa.Text), sa.BigInteger)
    mask = sa.literal(0xFFFFFFFF, sa.BigInteger)
    return (
        sa.select(locks.c.pid)
        .where(
            locks.c.locktype == "advisory",
            locks.c.database == here,
            high == key.op(">>")(32).op("&")(mask),
            low == key.op("&")(mask),
        )
        .limit(1)
    )


def translate(error: BaseException) -> MaintenanceError:
    """Return the failure to show in place of the driver's error: without statements, parameters or row contents."""
    if isinstance(error, BatchConflictError):
        return DatabaseStatementError(f"other transactions kept changing the rows at work: {error}")
    if not isinstance(error, DBAPIError):
        raise TypeError(f"not a database error: {type(error).__name__}")
    state, said = sqlstate(error), _words(error)
    if state is None:
        return _translate_client_error(error, said)
    if state in _TRANSIENT:
        return DatabaseUnavailableError(f"gave up after {MAX_ATTEMPTS} attempts ({state}): {said}")
    if state.startswith(_LOST_CLASSES):
        return DatabaseLostError(f"the database cannot be reached or was lost: {said}")
    if state.startswith("28"):
        return DatabaseLostError(f"the database refuses the login: {said}")
    return DatabaseStatementError(_explain_refusal(error, state, said))


def _translate_client_error(error: DBAPIError, said: str) -> MaintenanceError:
    if isinstance(error, OperationalError):
        return DatabaseLostError(f"the database cannot be reached or was lost: {said}")
    return DatabaseStatementError(f"the database driver refused a statement: {type(error.orig).__name__}")


def _explain_refusal(error: DBAPIError, state: str, said: str) -> str:
    if state.startswith("23"):
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        return f"the constraint {constraint} was violated ({state})"
    if state.startswith("22"):
        # The message of a value that does not fit quotes the value.
        return f"a value in the database does not fit what the job computes with it ({state})"
    hint = HIDDEN_ROWS if state == _INSUFFICIENT_PRIVILEGE and "row-level security" in said else ""
    return f"the database refused a statement ({state}): {said}{hint}"


def sqlstate(error: DBAPIError) -> str | None:
    """Return the error's SQLSTATE, None where the server said nothing."""
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state


def _take_lock(connection: sa.Connection, name: str) -> None:
    if connection.scalar(sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtextextended(name, 0)))):
        return
    holder = lock_holder(connection, name) or "a session that has ended meanwhile"
    raise LockHeldError(f"{name} is at work already, in {holder}; wait for it to end, or terminate it, and run again")


def _take_lock_back(connection: sa.Connection, name: str) -> None:
    """Take the lock again after a lost connection, also from our own session if the server has not noticed its loss."""
    mine = connection.scalar(sa.select(sa.func.current_setting("application_name")))
    if lock_holder(connection, name) == mine:
        pid = _lock_pid(name)
        connection.execute(sa.select(sa.func.pg_terminate_backend(pid.scalar_subquery(), 5_000)))
    try:
        _take_lock(connection, name)
    except LockHeldError as error:
        raise DatabaseLostError(f"the connection was lost, and with it the lock: {error}") from None


def _check_primary(connection: sa.Connection) -> None:
    """Raise `NoWritesNowError` on a standby: a lock taken there keeps nobody out, and what is read there may be old."""
    if connection.scalar(sa.text("SELECT pg_is_in_recovery()")):
        raise NoWritesNowError("the connection was lost, and the address leads to a standby that takes no writes")


def _exceeded(limits: Limits, error: DBAPIError | BatchConflictError, seconds: float) -> str | None:
    """Return which limit an error says was exceeded, None for other errors."""
    state = sqlstate(error) if isinstance(error, DBAPIError) else None
    if state == _LOCK_TIMEOUT:
        return "lock timeout"
    # An administrator's pg_cancel_backend has the same code, and is no call to try again.
    if state == _QUERY_CANCELED and seconds >= limits.statement_seconds:
        return "statement timeout"
    return None


def _is_transient(error: DBAPIError | BatchConflictError) -> bool:
    if isinstance(error, BatchConflictError):
        return True
    return sqlstate(error) in _TRANSIENT or _is_lost(error)


def _is_lost(error: DBAPIError) -> bool:
    state = sqlstate(error)
    if error.connection_invalidated or (state is not None and state.startswith(_LOST_CLASSES)):
        return True
    # A refused or broken connection has no SQLSTATE; a wrong password has none either and stays wrong.
    return state is None and isinstance(error, OperationalError) and not _is_login_failure(error)


def _is_for_now(error: DBAPIError | BatchConflictError) -> bool:
    return isinstance(error, OperationalError) and any(words in str(error.orig) for words in _FOR_NOW)


def _is_login_failure(error: DBAPIError) -> bool:
    said = str(error.orig)
    return any(
        words in said for words in ("authentication failed", "no password supplied", "does not exist", "no pg_hba")
    )


def _words(error: DBAPIError) -> str:
    """Return what the server said, if it names nothing but objects and settings: what a trigger raises may quote a row."""
    state = sqlstate(error)
    raised_by = getattr(getattr(error.orig, "diag", None), "source_function", None)
    if state is not None and (raised_by == _RAISE or not state.startswith(_IMPERSONAL_CLASSES)):
        return "its words may quote a row, so that they stand in the server's log alone"
    return _first_line(error)


def _first_line(error: DBAPIError) -> str:
    primary = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    said = primary or str(error.orig)
    return said.strip().splitlines()[0] if said.strip() else type(error.orig).__name__
