"""VACUUM after a purge, where that is asked for and worth it."""

from typing import Any

import pytest
import sqlalchemy as sa

from cath_dagster.core.model.outcome import Status
from cath_dagster.core.postgres.vacuum import find_obstacle, is_worthwhile
from tests.support.entries import Entries, entry
from tests.support.service import Service, outcome

FILL = (
    "INSERT INTO audit_log (id, timestamp, action, details, user_id, user_email, user_role, user_provenance) "
    "SELECT n::text, '2026-01-01', 'a', repeat('x', 200), 'u', 'e', 'r', 'p' FROM generate_series(1, 20000) n"
)


@pytest.mark.parametrize(
    ("deleted", "left", "worth"), [(9_999, 0, False), (10_000, 90_000, True), (10_000, 90_001, False), (0, 0, False)]
)
def test_is_worth_it_from_ten_thousand_rows_and_a_tenth(deleted: int, left: int, *, worth: bool) -> None:
    assert is_worthwhile(deleted, left) is worth


def test_tells_what_the_table_took_up_before_and_after(service: Service) -> None:
    service.connection.execute(FILL)

    result = service.run("clear_audit", vacuum=True, allow_large=True)
    details: Any = outcome(result, "audit_log").details

    assert result.status is Status.SUCCESS
    assert (details["dead_rows_before"], details["dead_rows_after"]) == (20_000, 0)
    assert details["heap_bytes_before"] > 4_000_000
    assert details["heap_bytes_after"] < 100_000
    assert details["index_bytes_before"] > 0
    assert "heap_bytes_before" not in outcome(result, "ingestion_log").details


def test_vacuums_nothing_unasked(service: Service) -> None:
    service.connection.execute(FILL)

    result = service.run("clear_audit", allow_large=True)

    assert "heap_bytes_before" not in outcome(result, "audit_log").details
    assert service.value("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'audit_log'") == 0


def test_leaves_the_file_its_length_at_the_polite_pace(service: Service) -> None:
    service.connection.execute(FILL)

    details: Any = outcome(
        service.run("clear_audit", vacuum=True, allow_large=True, pace="polite"), "audit_log"
    ).details

    assert details["dead_rows_after"] == 0
    assert details["heap_bytes_after"] == details["heap_bytes_before"]


def test_tells_a_role_that_could_not_vacuum_what_it_lacks(entries: Entries) -> None:
    def find(connection: sa.Connection) -> str | None:
        connection.execute(sa.text("SET LOCAL ROLE pg_read_all_data"))
        return find_obstacle(connection, entry)

    obstacle: Any = entries.database.transaction(find)

    assert "pg_read_all_data may not VACUUM entry" in obstacle
    assert "GRANT " in obstacle
    assert entries.database.transaction(lambda connection: find_obstacle(connection, entry)) is None
