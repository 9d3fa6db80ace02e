"""`cath-dagster indexes build`: the indexes that doctor warns of, and what an earlier build left unfinished."""

import json
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cath_dagster.core.postgres.catalogue import index_name
from tests.support.cli import findings, role_without_rights
from tests.support.command import Done, call
from tests.support.service import Service

INDEX = "cath_dagster_ingestion_log_artefact_id_idx"
KEY = "foreign key ingestion_log.artefact_id"


@pytest.fixture
def slow(service: Service) -> Service:
    """CaTH with so many ingestion log rows that the index its schema lacks is missed."""
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), now(), 'SNL', '1', 'SUCCESS' FROM generate_series(1, 12000)"
    )
    service.connection.execute("ANALYZE ingestion_log")
    return service


def build(service: Service, *arguments: str) -> Done:
    return call(service.environ, "indexes", "build", "cath", *arguments)


def builds(done: Done) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads(done.stdout)["cath"]
    return result


def is_valid(service: Service, index: str = INDEX) -> bool | None:
    """Return whether the index is valid, None where there is none."""
    rows = service.rows("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", index)
    return rows[0][0] if rows else None


def leave_invalid(service: Service) -> None:
    """Fail to build an index of that name: unique, on values that are not."""
    statement = f"CREATE UNIQUE INDEX CONCURRENTLY {INDEX} ON ingestion_log (source_system)"
    with pytest.raises(psycopg.errors.UniqueViolation):
        service.connection.execute(statement)
    assert is_valid(service) is False


def test_builds_what_doctor_warns_of(slow: Service) -> None:
    assert [item["level"] for item in findings(slow.environ) if item["subject"] == KEY] == ["warning"]

    done = build(slow)

    assert done.returncode == 0, done.stderr
    assert INDEX in done.stdout
    assert is_valid(slow) is True
    assert [item for item in findings(slow.environ) if item["subject"] == KEY] == []


def test_leaves_small_tables_alone(slow: Service) -> None:
    assert [item["table"] for item in builds(build(slow, "--json"))] == ["ingestion_log"]


def test_has_nothing_to_do_the_second_time(slow: Service) -> None:
    build(slow)

    done = build(slow)

    assert (done.returncode, "no index is missing" in done.stdout) == (0, True)


def test_a_dry_run_prints_the_statements_and_changes_nothing(slow: Service) -> None:
    done = build(slow, "--dry-run")

    assert done.returncode == 0
    assert is_valid(slow) is None
    slow.connection.execute(sql.SQL(done.stdout))
    assert is_valid(slow) is True


def test_rebuilds_an_invalid_index_that_an_earlier_failure_left(slow: Service) -> None:
    leave_invalid(slow)

    (done,) = builds(build(slow, "--json"))

    assert (done["action"], done["error"]) == ("rebuilt", None)
    assert is_valid(slow) is True


def test_a_dry_run_leaves_an_invalid_index_and_prints_its_drop_first(slow: Service) -> None:
    leave_invalid(slow)

    lines = build(slow, "--dry-run").stdout.splitlines()

    assert [line.split()[0] for line in lines] == ["DROP", "CREATE"]
    assert is_valid(slow) is False


def test_does_not_touch_an_index_of_that_name_that_serves_something_else(slow: Service) -> None:
    slow.connection.execute(f"CREATE INDEX {INDEX} ON location (name)")

    done = build(slow)

    assert done.returncode == 1
    assert "CREATE INDEX CONCURRENTLY ON public.ingestion_log" in done.stderr
    assert slow.value("SELECT indrelid::regclass::text FROM pg_index WHERE indexrelid = to_regclass(%s)", INDEX) == (
        "location"
    )


def test_names_the_owner_and_the_statement_to_a_role_that_owns_nothing(slow: Service) -> None:
    owner = slow.value("SELECT current_user::text")
    with role_without_rights(slow) as (_, url):
        done = call({**slow.environ, "CATH_DATABASE_URL": url}, "indexes", "build", "cath")

    assert done.returncode == 1
    assert f"as the owner {owner}" in done.stderr
    assert f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {INDEX}" in done.stderr
    assert "Traceback" not in done.stderr


def test_builds_indexes_on_names_that_must_be_quoted(slow: Service) -> None:
    slow.connection.execute('CREATE TABLE "Case File" (id int, "User" uuid REFERENCES "user")')
    slow.connection.execute('INSERT INTO "Case File" SELECT n FROM generate_series(1, 11000) n')
    slow.connection.execute('ANALYZE "Case File"')

    done = build(slow, "--json")

    assert [item["error"] for item in builds(done)] == [None, None]
    assert is_valid(slow, '"cath_dagster_Case File_User_idx"') is True


def test_helps_says_that_the_services_migrations_own_its_schema() -> None:
    assert "Prisma" in call({}, "indexes", "build", "--help").stdout


@pytest.mark.parametrize("table", ["t" * 63, "é" * 31])
def test_a_name_is_never_longer_than_postgresql_takes_and_stays_distinct(table: str) -> None:
    names = {index_name(table, column) for column in ("first_id", "second_id")}

    assert len(names) == 2
    assert all(len(name.encode()) <= 63 for name in names)
