"""Open connections to a maintained PostgreSQL, such that an interrupt also ends the statement on the server."""

from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus

from cath_dagster.adapters.pooling import check_sessions, is_direct
from cath_dagster.core.errors import ConfigurationError

R = TypeVar("R")

CONNECT_TIMEOUT_SECONDS = 10
CANCEL_TIMEOUT_SECONDS = 5.0
SESSION_SETTINGS = {
    # Database defaults such as CURRENT_TIMESTAMP go into naive columns by the session's time zone.
    "timezone": "UTC",
    # A batch that waits longer stands in somebody's way as well: it is rolled back and tried again.
    "lock_timeout": "5s",
    # A worker that lost its network must not hold row locks for ever.
    "idle_in_transaction_session_timeout": "60s",
    # The server notices in the midst of a statement that its client is gone.
    "client_connection_check_interval": "2s",
}


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


def open_engine(url: str, *, variable: str, application_name: str) -> sa.Engine:
    """Return an engine for a libpq URL; nothing is connected yet.

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
            autocommit=True,
        )

    def connect() -> InterruptibleConnection:
        connection = open_connection()
        try:
            if not is_direct(connection):
                check_sessions(connection, open_connection)
        except BaseException:
            connection.close()
            raise
        settings = ", ".join(f"set_config('{name}', %s, false)" for name in SESSION_SETTINGS)
        connection.execute(f"SELECT {settings}", list(SESSION_SETTINGS.values()))
        connection.autocommit = False
        return connection

    # Nothing here has columns of hstore, and to ask for the type costs every run a query.
    return sa.create_engine("postgresql+psycopg://", creator=connect, poolclass=sa.NullPool, use_native_hstore=False)
