"""What every job that deletes may be told besides: its pace, dropping partitions, a VACUUM; told in the outcome."""

from typing import Any

import pytest
from psycopg import sql

from cath_dagster.core.model.outcome import Status
from cath_dagster.core.purge.access_path import describe_access
from tests.support.roles import role_in
from tests.support.service import Service, outcome


def add_entries(service: Service, count: int) -> None:
    service.connection.execute(
        "INSERT INTO audit_log (id, timestamp, action, details, user_id, user_email, user_role, user_provenance) "
        "SELECT n::text, '2026-01-01', 'a', 'd', 'u', 'e', 'r', 'p' FROM generate_series(1, %s) n",
        (count,),
    )


def details(service: Service, *, is_scheduled: bool = False, **config: Any) -> dict[str, Any]:
    result = service.run("clear_audit", is_scheduled=is_scheduled, **config)
    assert result.status is Status.SUCCESS
    assert service.count("audit_log") == 0
    return dict(outcome(result, "audit_log").details)


def test_says_how_the_rows_were_found_and_at_what_pace(service: Service) -> None:
    add_entries(service, 500)

    assert details(service) == {"access_path": "heap", "pace": "bulk"}


def test_a_polite_run_deletes_the_same_and_tells_its_duty_and_its_rests(service: Service) -> None:
    add_entries(service, 3_000)

    told = details(service, pace="polite")

    assert told["pace"] == "polite"
    assert 0 < told["duty"] <= 0.6
    assert told["rested_seconds"] > 0


@pytest.mark.parametrize(("is_scheduled", "pace"), [(True, "polite"), (False, "bulk")])
def test_a_scheduled_run_on_a_large_table_is_polite(
    service: Service, monkeypatch: pytest.MonkeyPatch, *, is_scheduled: bool, pace: str
) -> None:
    monkeypatch.setattr("cath_dagster.core.purge.pace.LARGE_TABLE_BYTES", 1)
    add_entries(service, 100)

    assert details(service, is_scheduled=is_scheduled)["pace"] == pace


def test_a_scheduled_run_on_a_small_table_is_not(service: Service) -> None:
    add_entries(service, 100)

    assert details(service, is_scheduled=True)["pace"] == "bulk"


def test_the_environment_sets_the_pace_of_a_job(service: Service) -> None:
    service.environ["CATH_CLEAR_AUDIT_PACE"] = "polite"
    add_entries(service, 100)

    assert details(service)["pace"] == "polite"


def test_refuses_a_pace_that_it_does_not_know(service: Service) -> None:
    result = service.run("clear_audit", pace="brisk")

    assert result.status is Status.FAILED
    assert result.error is not None
    assert "pace is 'brisk'" in result.error


@pytest.mark.parametrize("extra", ["drop_partitions", "vacuum"])
def test_refuses_what_its_role_could_not_do_before_it_deletes_anything(service: Service, extra: str) -> None:
    service.connection.execute("DROP TABLE audit_log")
    service.connection.execute(
        "CREATE TABLE audit_log (id text, timestamp timestamp, action text, details text, user_id text, user_email text, "
        "user_role text, user_provenance text, PRIMARY KEY (id, timestamp)) PARTITION BY RANGE (timestamp)"
    )
    service.connection.execute("CREATE TABLE audit_log_all PARTITION OF audit_log DEFAULT")
    add_entries(service, 10)
    config: dict[str, Any] = {extra: True}
    with role_in(service.url, service.connection) as sweeper:
        for grant in (
            "GRANT USAGE ON SCHEMA maintenance TO {}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, maintenance TO {}",
        ):
            service.connection.execute(sql.SQL(grant).format(sql.Identifier(sweeper.name)))
        service.environ["CATH_DATABASE_URL"] = sweeper.url
        result = service.run("clear_audit", **config)

    assert result.status is Status.REFUSED
    assert result.error is not None
    assert f"{extra} is set" in result.error
    assert "audit_log" in result.error
    assert service.count("audit_log") == 10


def test_drops_a_partition_through_the_job(service: Service) -> None:
    service.connection.execute(
        """
        ALTER TABLE audit_log RENAME TO unpartitioned;
        CREATE TABLE audit_log (LIKE unpartitioned) PARTITION BY RANGE (timestamp);
        CREATE TABLE audit_log_2026_01 PARTITION OF audit_log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE audit_log_rest PARTITION OF audit_log DEFAULT;
        """
    )
    add_entries(service, 50)

    told = details(service, drop_partitions=True)
    assert (told["access_path"], told["partitions_dropped"]) == ("heap", 1)
    assert describe_access(told) == "1 partition dropped, by the heap"
    assert service.value("SELECT to_regclass('audit_log_2026_01') IS NULL")
    assert service.value("SELECT sum(deleted) FROM maintenance.purge_ledger WHERE table_name = 'audit_log'") == 50
