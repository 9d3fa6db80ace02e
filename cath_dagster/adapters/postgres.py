"""Open connections to a maintained PostgreSQL, such that an interrupt also ends the statement on the server."""

import contextlib
from collections.abc import Generator, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.pq import TransactionStatus

from cath_dagster.adapters.pooling import check_sessions, is_direct
from cath_dagster.core.errors import ConfigurationError, PreflightError
from cath_dagster.core.postgres.session import PINS, UNKNOWN_ENCODING, Pin

R = TypeVar("R")

CONNECT_TIMEOUT_SECONDS = 10
CANCEL_TIMEOUT_SECONDS = 5.0
POOL_TIMEOUT_SECONDS = 5.0
POOL_STATEMENT_MILLISECONDS = 15_000
"""Nobody waits longer for an answer, and a question of the console's must not burden the server for longer."""
SESSION_SETTINGS = {pin.name: pin for pin in PINS}


class InterruptibleConnection(psycopg.Connection[Any]):
    """A connection whose running statement is cancelled on the server by any interrupt.

    psycopg does so for Ctrl-C; an orchestrator interrupts by an exception of its own.
    """

    def wait(self, gen: Generator[Any, Any, R], *arguments: Any, **options: Any) -> R:
        try:
            return super().wait(gen, *arguments, **options)
        except Exception:
            raise
        except BaseException:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)
            raise


def open_engine(url: str, *, variable: str, application_name: str, pool_size: int | None = None) -> sa.Engine:
    """Return an engine for a libpq URL; nothing is connected yet, and no connection is kept but by a pool of `pool_size`.

    `application_name` is what other sessions and `pg_stat_activity` see. Raises `ConfigurationError` for a URL
    of another kind, without showing it: it may hold a password.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        scheme = url.partition("://")[0] if "://" in url else "no scheme"
        raise ConfigurationError(f"{variable} has {scheme}, a URL like postgresql://user@host/database is needed")
    if url.partition("://")[2].partition("?")[0].count("@") > 1:
        # The part behind the first would be taken for the host, and told to whoever reads that it cannot be found.
        raise ConfigurationError(f"{variable} has more than one @; write those of a user's name or password as %40")
    try:
        psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # The driver's message quotes the URL, password and all.
        raise ConfigurationError(
            f"{variable} is no valid URL; write a password's special characters as %XX (@ is %40, / is %2F)"
        ) from None

    def open_connection() -> InterruptibleConnection:
        return InterruptibleConnection.connect(
            url,
            application_name=application_name,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            client_encoding="UTF8",
            autocommit=True,
        )

    def connect() -> InterruptibleConnection:
        connection = open_connection()
        try:
            if not is_direct(connection):
                check_sessions(connection, open_connection)
            pin_settings(connection)
        except BaseException:
            connection.close()
            raise
        connection.autocommit = False
        return connection

    # Nothing here has columns of hstore, and to ask for the type costs every run a query.
    kept: dict[str, Any] = {"poolclass": sa.NullPool} if pool_size is None else _pool(pool_size)
    return sa.create_engine("postgresql+psycopg://", creator=connect, use_native_hstore=False, **kept)


@contextlib.contextmanager
def open_pool(url: str, *, variable: str, application_name: str, size: int) -> Iterator[sa.Engine]:
    """Yield an engine for a process that answers many at once, of at most `size` connections, closed at the end.

    Raises as `open_engine` does.
    """
    engine = open_engine(url, variable=variable, application_name=application_name, pool_size=size)
    sa.event.listen(engine, "connect", _limit_statements)
    try:
        yield engine
    finally:
        engine.dispose()


def _limit_statements(connection: psycopg.Connection[Any], _: object) -> None:
    connection.execute(f"SET statement_timeout = {POOL_STATEMENT_MILLISECONDS}")
    connection.commit()


def _pool(size: int) -> dict[str, Any]:
    """Return how connections are kept: tried before use, and nobody waits longer for one than a person would."""
    return {"pool_size": size, "max_overflow": 0, "pool_timeout": POOL_TIMEOUT_SECONDS, "pool_pre_ping": True}


def pin_settings(connection: psycopg.Connection[Any]) -> None:
    """Give a session in autocommit the settings that ours have, by statements: a pooler refuses them at its door.

    Raises `PreflightError` where the role may not change what has to be changed, or the database's text is no text.
    """
    (found,) = connection.execute(_pinning(tuple(SESSION_SETTINGS.values()))).fetchall()
    encoding, *values = found
    if encoding == UNKNOWN_ENCODING:
        raise PreflightError(
            f"the database's encoding is {UNKNOWN_ENCODING}, so that nobody knows which letters its bytes mean; copy it into "
            "a database of the encoding UTF8"
        )
    for pin, value in zip(SESSION_SETTINGS.values(), values, strict=True):
        if pin.is_privileged and value not in (None, pin.value):
            _take_back(connection, pin, value)


@lru_cache(maxsize=2)
def _pinning(pins: tuple[Pin, ...]) -> bytes:
    """Return the statement that sets what has to be set and yields what is set; put together once for all sessions."""
    columns = [sql.SQL("pg_catalog.current_setting('server_encoding')"), *map(_column, pins)]
    return (sql.SQL("SELECT ") + sql.SQL(", ").join(columns)).as_bytes()


def _column(pin: Pin) -> sql.Composable:
    """Return the expression that sets a setting where it must, and yields its value; NULL where the server has none."""
    name = sql.Literal(pin.name)
    known = sql.SQL("pg_catalog.current_setting({}, true)").format(name)
    if pin.is_privileged:
        return known
    value = sql.SQL("({})").format(sql.SQL(pin.expression)) if pin.expression else sql.Literal(pin.value)
    return sql.SQL(
        "CASE WHEN {known} IS NULL OR {known} = ANY({served}) THEN {known} "
        "ELSE pg_catalog.set_config({name}, {value}, false) END"
    ).format(known=known, served=sql.Literal(list(pin.also)), name=name, value=value)


def _take_back(connection: psycopg.Connection[Any], pin: Pin, found: str) -> None:
    try:
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [pin.name, pin.value])
    except psycopg.errors.InsufficientPrivilege:
        raise PreflightError(
            f"{pin.name} is {found}, and a run needs {pin.value}: {pin.why} As a superuser: ALTER ROLE … RESET {pin.name}, "
            f"or ALTER DATABASE … RESET {pin.name}, whichever has set it"
        ) from None
