"""The purge of audit rows past their retention period."""

import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cath_dagster.core.model.outcome import RunResult, Status
from tests.support.service import Service, outcome
from tests.support.waiting import PATIENCE_SECONDS, wait_until

LOGS = ("notification_audit_log", "audit_log", "ingestion_log")
BLAST_ROWS = 10_000


def add_entry(service: Service, log: str, at: datetime, **values: Any) -> None:
    """Add a row that is as old as `at` says to one of the logs."""
    if log == "notification_audit_log":
        service.add_notification(service.add_subscription(service.add_user()), created_at=at, **values)
    elif log == "audit_log":
        actor = {"user_id": "u", "user_email": "a@example.com", "user_role": "SYSTEM_ADMIN", "user_provenance": "SSO"}
        service.insert(log, **{"id": uuid.uuid4().hex, "timestamp": at, "action": "Delete user", **actor, **values})
    else:
        source = {"source_system": "SNL", "court_id": "1", "status": "SUCCESS"}
        service.insert(log, **{"id": uuid.uuid4(), "timestamp": at, **source, **values})


def add_ingestions(service: Service, count: int, at: datetime, source_system: str = "SNL") -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, %s, '1', 'SUCCESS' FROM generate_series(1, %s)",
        (at, source_system, count),
    )


def await_waiter(service: Service, running: Future[RunResult]) -> int:
    """Return the backend of the run once it waits for a lock."""
    waits = "datname = current_database() AND wait_event_type = 'Lock'"
    wait_until(lambda: running.done() or service.count("pg_stat_activity", waits))
    assert not running.done(), "the run never waited for the lock"
    return int(service.value(f"SELECT pid FROM pg_stat_activity WHERE {waits}"))


def run_into(service: Service, change: str, *parameters: object) -> RunResult:
    """Run the job into rows that another transaction has changed, and commit that once the job waits for it."""
    return service.run_beside("clear_audit", (change, parameters))


@pytest.mark.parametrize("log", LOGS)
def test_deletes_an_entry_older_than_ninety_days(service: Service, log: str) -> None:
    add_entry(service, log, service.days_ago(90, seconds=0.001))

    result = service.run("clear_audit")

    assert result.status is Status.SUCCESS
    assert outcome(result, log).deleted == 1
    assert service.count(log) == 0


@pytest.mark.parametrize("log", LOGS)
def test_keeps_an_entry_exactly_ninety_days_old(service: Service, log: str) -> None:
    add_entry(service, log, service.days_ago(90))

    result = service.run("clear_audit")

    assert outcome(result, log).deleted == 0
    assert service.count(log) == 1


def test_keeps_the_boundary_in_a_database_of_another_time_zone(service: Service) -> None:
    name = sql.Identifier(service.value("SELECT current_database()"))
    service.connection.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'").format(name))
    add_entry(service, "ingestion_log", service.days_ago(90))
    add_entry(service, "ingestion_log", service.days_ago(90, seconds=1))

    assert outcome(service.run("clear_audit"), "ingestion_log").deleted == 1


def test_takes_an_as_of_with_an_offset_for_the_instant_it_is(service: Service) -> None:
    add_entry(service, "ingestion_log", service.days_ago(90))
    add_entry(service, "ingestion_log", service.days_ago(90, seconds=1))
    as_of = service.as_of.astimezone(timezone(timedelta(hours=-7)))

    assert outcome(service.run("clear_audit", as_of=as_of), "ingestion_log").deleted == 1


def test_takes_a_naive_as_of_for_utc(service: Service) -> None:
    add_entry(service, "ingestion_log", service.days_ago(90))
    add_entry(service, "ingestion_log", service.days_ago(90, seconds=1))

    result = service.run("clear_audit", as_of=service.as_of.replace(tzinfo=None))

    assert outcome(result, "ingestion_log").deleted == 1


def test_deletes_entries_whose_optional_columns_are_filled_or_null(service: Service) -> None:
    old = service.days_ago(91)
    add_entry(service, "notification_audit_log", old, error_message=None, sent_at=None, gov_notify_id=None)
    add_entry(service, "notification_audit_log", old, error_message="Bounced", sent_at=old, gov_notify_id="1")
    add_entry(service, "audit_log", old, details=None)
    add_entry(service, "audit_log", old, details="Details")

    result = service.run("clear_audit")

    assert [outcome(result, log).deleted for log in LOGS] == [2, 2, 0]


def test_judges_a_notification_by_its_creation_and_not_by_its_sending(service: Service) -> None:
    add_entry(service, "notification_audit_log", service.days_ago(89), sent_at=service.days_ago(95))

    service.run("clear_audit")

    assert service.count("notification_audit_log") == 1


def test_succeeds_on_empty_tables(service: Service) -> None:
    result = service.run("clear_audit")

    assert result.status is Status.SUCCESS
    assert [(outcome(result, log).matched, outcome(result, log).changed) for log in LOGS] == [(0, 0)] * 3


def test_keeps_the_subscription_of_a_deleted_notification(service: Service) -> None:
    add_entry(service, "notification_audit_log", service.days_ago(91))

    service.run("clear_audit")

    assert service.count("notification_audit_log") == 0
    assert service.count("subscription") == 1
    assert service.count('"user"') == 1


def test_keeps_the_artefact_of_a_deleted_ingestion_entry(service: Service) -> None:
    artefact_id = service.add_artefact()
    add_entry(service, "ingestion_log", service.days_ago(91), artefact_id=artefact_id)

    service.run("clear_audit")

    assert service.count("ingestion_log") == 0
    assert service.count("artefact") == 1


def test_finds_every_old_entry_among_new_ones_in_several_batches(service: Service) -> None:
    for _ in range(20):
        add_ingestions(service, 150, service.days_ago(91))
        add_ingestions(service, 50, service.days_ago(1), source_system="NEW")

    done = outcome(service.run("clear_audit"), "ingestion_log")

    assert (done.matched, done.deleted) == (3_000, 3_000)
    assert done.batches > 1
    assert service.rows("SELECT source_system, count(*) FROM ingestion_log GROUP BY 1") == [("NEW", 1_000)]


def test_tells_how_many_rows_are_left_and_how_old_the_oldest_is(service: Service) -> None:
    add_ingestions(service, 3, service.days_ago(91))
    add_ingestions(service, 2, service.days_ago(10))

    done = outcome(service.run("clear_audit"), "ingestion_log")

    assert done.rows_left == 2
    assert done.oldest_at == service.as_of - timedelta(days=10)


def test_dry_run_tells_what_the_run_then_deletes(service: Service) -> None:
    for number, log in enumerate(LOGS, start=1):
        for _ in range(number):
            add_entry(service, log, service.days_ago(91))
        add_entry(service, log, service.days_ago(89))

    preview = service.run("clear_audit", dry_run=True)
    result = service.run("clear_audit")

    assert preview.status is Status.SUCCESS
    assert [outcome(preview, log).matched for log in LOGS] == [1, 2, 3]
    assert [outcome(result, log).deleted for log in LOGS] == [1, 2, 3]


def test_dry_run_changes_nothing(service: Service) -> None:
    for log in LOGS:
        add_entry(service, log, service.days_ago(91))

    preview = service.run("clear_audit", dry_run=True)

    assert [service.count(log) for log in LOGS] == [1, 1, 1]
    for done in preview.outcomes:
        assert {name for name, count in done.counts().items() if count} == {"matched"}


def test_second_run_changes_nothing(service: Service) -> None:
    for log in LOGS:
        add_entry(service, log, service.days_ago(91))
        add_entry(service, log, service.days_ago(89))
    service.run("clear_audit")

    second = service.run("clear_audit")

    assert second.status is Status.SUCCESS
    assert [(outcome(second, log).matched, outcome(second, log).deleted) for log in LOGS] == [(0, 0)] * 3
    assert [service.count(log) for log in LOGS] == [1, 1, 1]


def test_keeps_each_log_for_the_days_the_run_says(service: Service) -> None:
    for log in LOGS:
        add_entry(service, log, service.days_ago(40))

    result = service.run("clear_audit", audit_log_retention_days=30, ingestion_log_retention_days=40)

    assert [outcome(result, log).deleted for log in LOGS] == [0, 1, 0]


def test_takes_a_retention_period_from_the_environment(service: Service) -> None:
    service.environ["CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS"] = "30"
    for log in LOGS:
        add_entry(service, log, service.days_ago(40))

    result = service.run("clear_audit")

    assert [outcome(result, log).deleted for log in LOGS] == [0, 1, 0]
    assert result.settings["audit_log_retention_days"] == 30


def test_run_config_wins_over_the_environment(service: Service) -> None:
    service.environ["CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS"] = "30"
    add_entry(service, "audit_log", service.days_ago(40))

    assert outcome(service.run("clear_audit", audit_log_retention_days=50), "audit_log").deleted == 0


@pytest.mark.parametrize("log", LOGS)
def test_leaves_a_log_alone_that_is_switched_off(service: Service, log: str) -> None:
    for each in LOGS:
        add_entry(service, each, service.days_ago(91))

    switches: dict[str, Any] = {f"{log}_enabled": False}
    result = service.run("clear_audit", **switches)

    assert result.status is Status.SUCCESS
    assert {each: service.count(each) for each in LOGS} == {each: int(each == log) for each in LOGS}


def test_takes_a_switch_from_the_environment(service: Service) -> None:
    service.environ["CATH_CLEAR_AUDIT_AUDIT_LOG_ENABLED"] = "false"
    add_entry(service, "audit_log", service.days_ago(91))

    service.run("clear_audit")

    assert service.count("audit_log") == 1


@pytest.mark.parametrize(
    "config", [{"audit_log_retention_days": -1}, {"audit_log_retention_days": "ninety"}, {"retention": 90}]
)
def test_bad_config_fails_before_anything_is_deleted(service: Service, config: dict[str, Any]) -> None:
    add_entry(service, "ingestion_log", service.days_ago(91))

    result = service.run("clear_audit", **config)

    assert result.status is Status.FAILED
    assert next(iter(config)) in (result.error or "")
    assert service.count("ingestion_log") == 1


def test_a_bad_value_in_the_environment_is_refused_by_the_variables_name(service: Service) -> None:
    service.environ["CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS"] = "-1"
    add_entry(service, "ingestion_log", service.days_ago(91))

    result = service.run("clear_audit")

    assert result.status is Status.FAILED
    assert "CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS" in (result.error or "")
    assert service.count("ingestion_log") == 1


def test_max_rows_bounds_all_logs_together(service: Service) -> None:
    for log in LOGS:
        add_entry(service, log, service.days_ago(91))
        add_entry(service, log, service.days_ago(91))

    result = service.run("clear_audit", max_rows=3)

    assert result.status is Status.SUCCESS
    assert sum(outcome(result, log).deleted for log in LOGS) == 3
    assert sum(service.count(log) for log in LOGS) == 3
    assert any("max_rows" in note for note in result.notes)


def test_the_run_after_one_that_max_rows_stopped_deletes_the_rest(service: Service) -> None:
    add_ingestions(service, 7, service.days_ago(91))
    service.run("clear_audit", max_rows=3)

    assert outcome(service.run("clear_audit"), "ingestion_log").deleted == 4
    assert service.count("ingestion_log") == 0


def test_max_rows_of_none_deletes_none(service: Service) -> None:
    add_entry(service, "ingestion_log", service.days_ago(91))

    result = service.run("clear_audit", max_rows=0)

    assert result.status is Status.SUCCESS
    assert service.count("ingestion_log") == 1


def test_max_rows_as_many_as_match_leaves_nothing_to_tell(service: Service) -> None:
    add_ingestions(service, 3, service.days_ago(91))

    result = service.run("clear_audit", max_rows=3)

    assert outcome(result, "ingestion_log").deleted == 3
    assert outcome(result, "ingestion_log").skipped == 0
    assert result.notes == ()


def test_refuses_to_delete_more_than_half_of_a_large_log(service: Service) -> None:
    add_ingestions(service, BLAST_ROWS + 1, service.days_ago(91))
    add_entry(service, "audit_log", service.days_ago(91))
    add_entry(service, "notification_audit_log", service.days_ago(91))

    result = service.run("clear_audit")

    assert result.status is Status.REFUSED
    assert service.count("ingestion_log") == BLAST_ROWS + 1
    assert service.count("audit_log") == service.count("notification_audit_log") == 1


def test_a_refusal_tells_the_counts_and_how_to_allow_it(service: Service) -> None:
    add_ingestions(service, BLAST_ROWS + 1, service.days_ago(91))

    error = service.run("clear_audit").error or ""

    assert "ingestion_log" in error
    assert f"{BLAST_ROWS + 1:,}" in error
    assert "allow_large" in error


def test_dry_run_tells_that_the_run_would_be_refused(service: Service) -> None:
    add_ingestions(service, BLAST_ROWS + 1, service.days_ago(91))

    preview = service.run("clear_audit", dry_run=True)

    assert preview.status is Status.SUCCESS
    assert "ingestion_log" in (preview.would_refuse or "")
    assert outcome(preview, "ingestion_log").matched == BLAST_ROWS + 1


def test_deletes_more_than_half_of_a_large_log_where_allowed(service: Service) -> None:
    add_ingestions(service, BLAST_ROWS + 1, service.days_ago(91))

    result = service.run("clear_audit", allow_large=True)

    assert result.status is Status.SUCCESS
    assert outcome(result, "ingestion_log").deleted == BLAST_ROWS + 1
    assert service.count("ingestion_log") == 0


def test_deletes_all_of_ten_thousand_rows_unasked(service: Service) -> None:
    add_ingestions(service, BLAST_ROWS, service.days_ago(91))

    assert outcome(service.run("clear_audit"), "ingestion_log").deleted == BLAST_ROWS


def test_deletes_exactly_half_of_a_large_log_unasked(service: Service) -> None:
    add_ingestions(service, BLAST_ROWS + 1, service.days_ago(91))
    add_ingestions(service, BLAST_ROWS + 1, service.days_ago(1))

    result = service.run("clear_audit")

    assert result.status is Status.SUCCESS
    assert service.count("ingestion_log") == BLAST_ROWS + 1


@pytest.mark.parametrize(
    ("log", "column"),
    [("notification_audit_log", "created_at"), ("audit_log", "timestamp"), ("ingestion_log", "timestamp")],
)
def test_keeps_an_entry_that_becomes_young_while_its_batch_waits(service: Service, log: str, column: str) -> None:
    add_entry(service, log, service.days_ago(91))
    add_entry(service, log, service.days_ago(92))
    oldest = f'"{column}" = (SELECT min("{column}") FROM {log})'

    result = run_into(service, f'UPDATE {log} SET "{column}" = %s WHERE {oldest}', service.days_ago(1))

    assert result.status is Status.SUCCESS
    assert outcome(result, log).deleted == 1
    assert service.rows(f'SELECT "{column}" FROM {log}') == [(service.days_ago(1),)]


def test_counts_an_entry_once_that_somebody_else_deletes(service: Service) -> None:
    add_ingestions(service, 2, service.days_ago(91))
    add_ingestions(service, 1, service.days_ago(91), source_system="ELSE")

    result = run_into(service, "DELETE FROM ingestion_log WHERE source_system = 'ELSE'")

    assert result.status is Status.SUCCESS
    assert outcome(result, "ingestion_log").deleted == 2
    assert service.count("ingestion_log") == 0


def test_finishes_after_its_connection_was_cut(service: Service) -> None:
    add_ingestions(service, 200, service.days_ago(91))
    with ThreadPoolExecutor(1) as pool, psycopg.connect(service.url) as writer:
        writer.execute("SELECT FROM ingestion_log OFFSET 150 LIMIT 1 FOR UPDATE")
        running = pool.submit(service.run, "clear_audit")
        service.connection.execute("SELECT pg_terminate_backend(%s)", (await_waiter(service, running),))
        writer.rollback()
        result = running.result(timeout=PATIENCE_SECONDS)

    assert result.status is Status.SUCCESS
    assert outcome(result, "ingestion_log").deleted == 200
    assert service.count("ingestion_log") == 0
    assert service.ledger(result.run_id)["ingestion_log"][3] == 200


def test_is_refused_while_another_run_is_at_work_and_names_that(service: Service) -> None:
    add_entry(service, "ingestion_log", service.days_ago(91))
    with ThreadPoolExecutor(1) as pool, psycopg.connect(service.url) as writer:
        writer.execute("SELECT FROM ingestion_log FOR UPDATE")
        running = pool.submit(service.run, "clear_audit", run_id="the-first-run")
        await_waiter(service, running)
        second = service.run("clear_audit")
        writer.rollback()
        first = running.result(timeout=PATIENCE_SECONDS)

    assert second.status is Status.REFUSED
    assert "the-first-run" in (second.error or "")
    assert outcome(first, "ingestion_log").deleted == 1


def test_dry_run_goes_on_beside_another_run(service: Service) -> None:
    add_entry(service, "ingestion_log", service.days_ago(91))
    with ThreadPoolExecutor(1) as pool, psycopg.connect(service.url) as writer:
        writer.execute("SELECT FROM ingestion_log FOR UPDATE")
        running = pool.submit(service.run, "clear_audit")
        await_waiter(service, running)
        preview = service.run("clear_audit", dry_run=True)
        writer.rollback()
        running.result(timeout=PATIENCE_SECONDS)

    assert preview.status is Status.SUCCESS
    assert outcome(preview, "ingestion_log").matched == 1


def test_leaves_a_ledger_row_for_each_log(service: Service) -> None:
    add_entry(service, "audit_log", service.days_ago(35))
    add_entry(service, "audit_log", service.days_ago(36))

    result = service.run("clear_audit", audit_log_retention_days=30)

    month, quarter = service.as_of - timedelta(days=30), service.as_of - timedelta(days=90)
    assert service.ledger(result.run_id) == {
        "notification_audit_log": (False, quarter, 0, 0, 0, "success"),
        "audit_log": (False, month, 2, 2, 0, "success"),
        "ingestion_log": (False, quarter, 0, 0, 0, "success"),
    }


def test_dry_run_leaves_ledger_rows_that_say_so(service: Service) -> None:
    add_entry(service, "audit_log", service.days_ago(91))

    rows = service.ledger(service.run("clear_audit", dry_run=True).run_id)

    cutoff = service.as_of - timedelta(days=90)
    assert set(rows) == set(LOGS)
    assert rows["audit_log"] == (True, cutoff, 1, 0, 0, "success")


def test_a_refused_run_leaves_ledger_rows_that_say_so(service: Service) -> None:
    add_ingestions(service, BLAST_ROWS + 1, service.days_ago(91))

    rows = service.ledger(service.run("clear_audit").run_id)

    assert set(rows) == set(LOGS)
    assert rows["ingestion_log"][2:] == (BLAST_ROWS + 1, 0, 0, "refused")


def test_fails_clearly_and_deletes_nothing_where_a_log_is_missing(service: Service) -> None:
    add_entry(service, "ingestion_log", service.days_ago(91))
    service.connection.execute("DROP TABLE audit_log")

    result = service.run("clear_audit")

    assert result.status is Status.FAILED
    assert "audit_log" in (result.error or "")
    assert service.count("ingestion_log") == 1


def test_logs_its_start_and_its_completion_and_no_personal_data(service: Service) -> None:
    add_entry(service, "audit_log", service.days_ago(91), user_email="someone@example.com", details="of someone")

    service.run("clear_audit")

    lines = service.reporter.lines
    assert "started" in lines[0]
    assert "completed" in lines[-1]
    assert not any("someone" in line for line in lines)
