"""`cath-dagster ledger`: what was deleted each day, for people and for machines."""

import json
from typing import Any

from tests.support.cli import add_entries, run
from tests.support.command import call
from tests.support.service import Service


def rows(service: Service, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call(service.environ, "ledger", *arguments, "--json").stdout)["rows"]
    return found


def test_ledger_tells_what_a_run_deleted_by_which_rule(service: Service) -> None:
    add_entries(service, 3)
    run(service, "clear_audit")

    (row,) = [row for row in rows(service) if row["table"] == "ingestion_log"]

    assert row["day"] == str(service.value("SELECT (now() AT TIME ZONE 'UTC')::date"))
    assert (row["location"], row["job"], row["rule"], row["deleted"]) == (
        "cath",
        "clear_audit",
        "ingestion_log rows older than 90 days",
        3,
    )
    assert row["endings"] == {"success": 1}


def test_ledger_shows_a_table_to_people(service: Service) -> None:
    add_entries(service, 3)
    run(service, "clear_audit")

    done = call(service.environ, "ledger", "cath")

    assert done.returncode == 0
    assert "ingestion_log rows older than 90 days" in done.stdout
    assert "1 success" in done.stdout


def test_ledger_can_be_asked_for_one_job(service: Service) -> None:
    run(service, "clear_audit")
    run(service, "expired_artefacts")

    assert {row["job"] for row in rows(service, "--job", "expired_artefacts")} == {"expired_artefacts"}


def test_ledger_goes_back_so_many_days_today_included(service: Service) -> None:
    run(service, "clear_audit")
    service.connection.execute("UPDATE maintenance.ledger_event SET at = at - interval '2 days'")

    assert rows(service, "--days", "2") == []
    assert rows(service, "--days", "3") != []


def test_ledger_says_that_there_is_nothing(service: Service) -> None:
    assert "nothing in the ledger" in call(service.environ, "ledger").stdout


def test_ledger_refuses_a_job_that_does_not_exist(service: Service) -> None:
    done = call(service.environ, "ledger", "--job", "clear_audti")

    assert done.returncode == 2
    assert "clear_audit" in done.stderr
