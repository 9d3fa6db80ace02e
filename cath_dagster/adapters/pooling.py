"""Tell a pooler that keeps sessions from one that does not, before anything of ours is said on the server's session.

Behind any pooler the driver was told another process than the one that answers. Nothing is set and no lock of a session
is taken to find out: what a session held would stay behind with whichever of them had it.
"""

import secrets
import selectors
import time
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import ExecStatus

from cath_dagster.core.errors import PreflightError

SECOND_CONNECTION_SECONDS = 10.0
"""A pool that has none left lets its clients wait, two minutes by default."""
ROUNDS = 4
"""Pools hand out the session used last or the one used longest ago; a busy one hands out any."""
PID = "SELECT pg_catalog.pg_backend_pid()"


def is_direct(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the process that answers is the one that the driver connected to."""
    return _number(connection, PID) == connection.info.backend_pid


def check_sessions(first: psycopg.Connection[Any], connect: Callable[[], psycopg.Connection[Any]]) -> None:
    """Raise `PreflightError` unless the pooler gives each of its connections a session of the server for good.

    The first connection, in autocommit, must be answered by one process all the time, a second one never by the same;
    and what is locked by the one must be locked for the other, which therefore is on the same server.
    """
    second = connect()
    try:
        mine = _number(first, PID)
        # One more time in each round: no regular choice of so many sessions looks right in every round.
        for times in range(1, ROUNDS + 1):
            others = {_ask(second, PID) for _ in range(times)}
            if mine in others or _number(first, PID) != mine:
                raise _refusal("changes the server's session between transactions")
        with first.transaction():
            key = secrets.randbits(63)
            first.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", [key])
            if _ask(second, f"SELECT pg_catalog.pg_try_advisory_xact_lock({key})::int"):
                raise _refusal("gives two connections sessions that do not see each other's locks")
    finally:
        second.close()


def _number(connection: psycopg.Connection[Any], query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


def _ask(connection: psycopg.Connection[Any], query: str) -> int:
    """Return the number that a query selects, if its answer does not take too long."""
    asked = connection.pgconn
    asked.send_query(query.encode())
    deadline = time.monotonic() + SECOND_CONNECTION_SECONDS
    with selectors.DefaultSelector() as selector:
        selector.register(asked.socket, selectors.EVENT_READ)
        while asked.is_busy():
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise _refusal(
                    f"gave no second connection within {SECOND_CONNECTION_SECONDS:.0f} s, without which nobody can tell "
                    "whether it keeps sessions"
                )
            asked.consume_input()
    answer = asked.get_result()
    while asked.get_result() is not None:
        pass
    if answer is None or answer.status != ExecStatus.TUPLES_OK:
        said = answer.get_error_message() if answer is not None else asked.get_error_message()
        raise psycopg.OperationalError(said)
    return int(answer.get_value(0, 0) or 0)


def _refusal(why: str) -> PreflightError:
    return PreflightError(
        f"the database is reached through a pooler that {why}: a job's lock would not hold, and its settings would reach "
        "other clients; connect directly, or through a pooler in session mode with room for two connections"
    )
