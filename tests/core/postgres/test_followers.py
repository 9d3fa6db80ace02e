"""Those that follow a server by its write-ahead log: what a run, its pace and `doctor` see of them, on real standbys."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.cli.doctor import examine_location
from cath_dagster.core.errors import NoWritesNowError
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.outcome import Status
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.pressure import Pressure, look
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from cath_dagster.development.simulators.notify import NotifySimulator
from tests.support.roles import role_in
from tests.support.servers import Primary, await_true, make_cath, primary, standby
from tests.support.service import Service

pytestmark = pytest.mark.stack

AS_OF = datetime(2026, 11, 18, 1, 0, tzinfo=UTC)
ENTRY = """
INSERT INTO ingestion_log (id, timestamp, source_system, court_id, status)
VALUES (gen_random_uuid(), '2026-01-01', 'A', '1', 'SUCCESS')
"""
EMIT = "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000)) FROM generate_series(1, {})"


@pytest.fixture(scope="module")
def server() -> Iterator[Primary]:
    """A primary that keeps little for slots, with CaTH's database in it."""
    with primary(max_slot_wal_keep_size="'16MB'", checkpoint_timeout="'1h'") as started:
        make_cath(started)
        yield started


@pytest.fixture
def followed(server: Primary, notify: NotifySimulator, tmp_path: Path) -> Iterator[Service]:
    """CaTH on that primary, with a log entry to purge."""
    with Service.open(server.url("cath"), notify, tmp_path, as_of=AS_OF) as opened:
        opened.connection.execute("TRUNCATE ingestion_log, maintenance.ledger_event")
        opened.connection.execute(ENTRY)
        yield opened


def doctor(service: Service, monkeypatch: pytest.MonkeyPatch, url: str | None = None) -> dict[str, Finding]:
    for name, value in (service.environ | {"CATH_DATABASE_URL": url or service.url}).items():
        monkeypatch.setenv(name, value)
    return {finding.subject: finding for finding in examine_location(CATH)}


def pressure_of(url: str) -> Pressure:
    engine = open_engine(url, variable="CATH_DATABASE_URL", application_name="tidy")
    try:
        with engine.connect() as connection:
            return look(connection)
    finally:
        engine.dispose()


# Slots


@contextlib.contextmanager
def abandoned(server: Primary, name: str) -> Iterator[None]:
    """Keep a physical slot for a standby that is gone."""
    server.execute(f"SELECT pg_create_physical_replication_slot('{name}', true)")
    try:
        yield
    finally:
        server.execute(f"SELECT pg_drop_replication_slot('{name}')")


def write(server: Primary, megabytes: int) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(EMIT.format(megabytes))


def test_refuses_beside_a_slot_that_is_about_to_be_lost(
    server: Primary, followed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with abandoned(server, "nearly"):
        write(server, 40)
        await_true(server.url("postgres"), "SELECT wal_status = 'unreserved' FROM pg_replication_slots")
        result = followed.run("clear_audit")
        found = doctor(followed, monkeypatch)["slot nearly"]

    assert (result.status, followed.count("ingestion_log")) == (Status.REFUSED, 1)
    assert "SELECT pg_drop_replication_slot('nearly');" in (result.error or "")
    assert found.level is Level.PROBLEM


def test_a_slot_that_was_lost_is_doctors_affair_and_no_runs(
    server: Primary, followed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with abandoned(server, "gone"):
        write(server, 40)
        server.execute("SELECT pg_switch_wal()")
        server.execute("CHECKPOINT")
        await_true(server.url("postgres"), "SELECT wal_status = 'lost' FROM pg_replication_slots")
        result = followed.run("clear_audit")
        found = doctor(followed, monkeypatch)["slot gone"]

    assert (result.status, result.notes) == (Status.SUCCESS, ())
    assert found.level is Level.WARNING
    assert "lost" in found.message


# The archive


FAILING = "SELECT last_failed_wal IS NOT NULL FROM pg_stat_archiver"


@pytest.fixture
def unarchived(notify: NotifySimulator, tmp_path: Path) -> Iterator[Service]:
    """CaTH on a server whose archive takes one segment, and then no more."""
    with primary(archive_mode="on", archive_command="'true'") as server:
        make_cath(server)
        server.execute("SELECT pg_switch_wal()")
        await_true(server.url("postgres"), "SELECT last_archived_wal IS NOT NULL FROM pg_stat_archiver")
        server.execute("ALTER SYSTEM SET archive_command = 'false'")
        server.execute("SELECT pg_reload_conf()")
        write(server, 40)
        server.execute("SELECT pg_switch_wal()")
        await_true(server.url("postgres"), FAILING)
        with Service.open(server.url("cath"), notify, tmp_path, as_of=AS_OF) as opened:
            opened.connection.execute(ENTRY)
            yield opened


def test_notes_an_archive_that_takes_nothing_and_refuses_once_it_is_far_behind(
    unarchived: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = unarchived.run("clear_audit")
    found = doctor(unarchived, monkeypatch)["archiver"]
    unarchived.connection.execute(ENTRY)
    monkeypatch.setattr("cath_dagster.core.postgres.followers.MAX_SLOT_BYTES", 30 * 1024**2)
    refused = unarchived.run("clear_audit")

    assert (noted.status, any("archive_command" in note for note in noted.notes)) == (Status.SUCCESS, True)
    assert found.level is Level.WARNING
    assert (refused.status, "archive_command" in (refused.error or "")) == (Status.REFUSED, True)


# How far standbys are behind


@pytest.fixture
def poor_url(followed: Service) -> Iterator[str]:
    """Log in as a role that is shown nothing of others."""
    with role_in(followed.url, followed.connection) as role:
        yield role.url


def test_the_lag_of_a_standby_without_a_slot_is_unseen_by_a_poor_role_and_said(
    server: Primary, followed: Service, poor_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with standby(server):
        assert pressure_of(followed.url).unseen == ()
        assert pressure_of(followed.url).lag_bytes is not None
        seen = pressure_of(poor_url)
        found = doctor(followed, monkeypatch, poor_url)["other sessions"]

    assert (seen.lag_bytes, seen.unseen_standbys) == (None, 1)
    assert (found.level, "how far 1 of 1 standbys" in found.message) == (Level.WARNING, True)
    assert found.remedy is not None
    assert "pg_read_all_stats" in found.remedy


def test_the_lag_of_a_standby_with_a_slot_is_seen_by_a_poor_role(
    server: Primary, followed: Service, poor_url: str
) -> None:
    try:
        with standby(server, slot="theirs") as behind:
            behind.suspend()
            write(server, 8)
            seen = pressure_of(poor_url)
            behind.resume()
    finally:
        server.execute("SELECT pg_drop_replication_slot('theirs')")

    assert seen.unseen_standbys == 0
    assert (seen.lag_bytes or 0) >= 7_000_000


def test_the_pace_says_what_it_cannot_see(server: Primary, followed: Service, poor_url: str) -> None:
    pacer = Pacer(PACE_LIMITS[Pace.POLITE], sleep=lambda seconds: None)
    engine = open_engine(poor_url, variable="CATH_DATABASE_URL", application_name="tidy")
    with standby(server), engine.connect() as connection:
        pacer.look(connection)
    engine.dispose()

    assert pacer.summary()["not_seen"] == "what others wait for and the lag of 1 standby, for want of pg_read_all_stats"


# Synchronous standbys


@contextlib.contextmanager
def waiting_for(server: Primary, names: str) -> Iterator[None]:
    """Let commits wait for standbys."""
    shows = "SELECT current_setting('synchronous_standby_names') = '{}'"
    server.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
    server.execute("SELECT pg_reload_conf()")
    await_true(server.url("postgres"), shows.format(names))
    try:
        yield
    finally:
        server.execute("ALTER SYSTEM RESET synchronous_standby_names")
        server.execute("SELECT pg_reload_conf()")
        await_true(server.url("postgres"), shows.format(""))


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr("cath_dagster.core.postgres.database.FIRST_PAUSE_SECONDS", 0.001)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("names", ["standby", "*", "FIRST 1 (standby, other)", "ANY 2 (standby, other)"])
def test_refuses_where_a_synchronous_standby_is_gone_before_it_writes(
    server: Primary, followed: Service, names: str
) -> None:
    with waiting_for(server, names):
        real, dry = followed.run("clear_audit"), followed.run("clear_audit", dry_run=True)

    assert (real.status, dry.status) == (Status.REFUSED, Status.SUCCESS)
    for said in (real.error, dry.would_refuse):
        assert "synchronous_standby_names" in (said or "")
    assert followed.count("maintenance.ledger_event") == 0


@pytest.mark.usefixtures("hasty")
def test_migrate_refuses_too(server: Primary) -> None:
    engine = open_engine(server.url("cath"), variable="CATH_DATABASE_URL", application_name="migrate")
    with waiting_for(server, "standby"), pytest.raises(NoWritesNowError, match="synchronous_standby_names"):
        migrate(engine, CATH)
    engine.dispose()


def test_doctor_names_a_synchronous_standby_that_is_gone(
    server: Primary, followed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with waiting_for(server, "standby"):
        found = doctor(followed, monkeypatch)["standbys"]

    assert found.level is Level.PROBLEM
    assert "synchronous_standby_names" in f"{found.message} {found.remedy}"


@pytest.mark.usefixtures("hasty")
def test_runs_beside_a_synchronous_standby_that_is_there(
    server: Primary, followed: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with standby(server), waiting_for(server, "FIRST 1 (standby, other)"):
        await_true(server.url("postgres"), "SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication")
        result = followed.run("clear_audit")
        found = doctor(followed, monkeypatch)

    assert (result.error, followed.count("ingestion_log")) == (None, 0)
    assert "standbys" not in found


def test_a_session_that_waits_for_no_standby_is_not_refused(server: Primary, followed: Service) -> None:
    followed.connection.execute("ALTER DATABASE cath SET synchronous_commit = 'local'")
    try:
        with waiting_for(server, "standby"):
            result: Any = followed.run("clear_audit")
    finally:
        followed.connection.execute("ALTER DATABASE cath RESET synchronous_commit")

    assert result.error is None
