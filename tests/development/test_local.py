"""The sample on an embedded PostgreSQL: made once, and never where it is not ours."""

import os
import socket
from pathlib import Path

import psycopg
import pytest

from cath_dagster.development.local import Local, LocalError, forget_outside, kept_ports
from tests.support.service import SilentReporter

pytestmark = pytest.mark.stack

SAMPLE = "cath"
SCALE = 0.01


def make(local: Local, *, fresh: bool = False) -> None:
    local.make_samples(scale=SCALE, fresh=fresh, reporter=SilentReporter())


def count(local: Local, table: str) -> int:
    with psycopg.connect(local.postgres.url(SAMPLE)) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def test_makes_the_sample_once(local: Local) -> None:
    make(local)
    with psycopg.connect(local.postgres.url(SAMPLE)) as connection:
        connection.execute("DELETE FROM audit_log")

    make(local)

    assert count(local, "audit_log") == 0
    assert_reads_alone(local, local.shell_environment()["CLOUDMAKE_BENCHMARK_ROLE"])


def assert_reads_alone(local: Local, role: str) -> None:
    """Assert that the role which CloudMake is measured as reads its tables and no others, and that nobody logs in as it."""
    with psycopg.connect(local.postgres.url("cloudmake")) as connection:
        may = connection.execute(
            "SELECT rolcanlogin OR rolbypassrls OR rolsuper, has_table_privilege(rolname, 'admin_audit_logs', 'SELECT'),"
            " has_table_privilege(rolname, 'jwt_keys', 'SELECT') FROM pg_roles WHERE rolname = %s",
            [role],
        ).fetchall()
    assert may == [(False, True, False)]


def test_makes_the_sample_anew_where_asked(local: Local) -> None:
    make(local)
    with psycopg.connect(local.postgres.url(SAMPLE)) as connection:
        connection.execute("DELETE FROM audit_log")

    make(local, fresh=True)

    assert count(local, "audit_log") > 0


def test_leaves_a_database_alone_that_it_did_not_make(local: Local) -> None:
    with psycopg.connect(local.postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {SAMPLE}")
    with psycopg.connect(local.postgres.url(SAMPLE)) as connection:
        connection.execute("CREATE TABLE precious AS SELECT 1 AS one")

    for fresh in (False, True):
        with pytest.raises(LocalError, match="was not made by cath-dagster"):
            make(local, fresh=fresh)

    assert count(local, "precious") == 1


def test_makes_a_sample_anew_whose_files_are_gone(local: Local) -> None:
    make(local)
    local.blob_root.rename(local.folder / "elsewhere")

    make(local)

    assert any(local.blob_root.rglob("*"))


def test_starts_its_processes_without_what_a_shell_exports(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATH_DATABASE_URL", "postgresql://real/service")
    monkeypatch.setenv("CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS", "0")
    monkeypatch.setenv("BON_SMTP_URL", "smtp://real.example.org")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")

    forget_outside()
    environ = local.environment({})

    assert environ["CATH_DATABASE_URL"] == local.postgres.url(SAMPLE)
    assert "CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS" not in environ
    assert "BON_SMTP_URL" not in environ
    assert "PGHOSTADDR" not in os.environ


def test_code_servers_are_where_they_were_the_last_time(tmp_path: Path) -> None:
    file = tmp_path / "new" / "ports.json"
    first = kept_ports(file)

    assert kept_ports(file) == first
    assert len(set(first.values())) == len(first)


def test_a_port_that_somebody_else_has_taken_is_left_to_them(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = kept_ports(file)
    with socket.create_server(("127.0.0.1", first["cath"])):
        second = kept_ports(file)

    assert second["cath"] != first["cath"]
    assert {**second, "cath": 0} == {**first, "cath": 0}


def test_a_file_of_ports_that_is_no_good_is_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text("half a f")

    assert kept_ports(file) == kept_ports(file)
