"""The four reporting views: created, refreshed, verified, and free of what they must not show."""

import contextlib
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from cath_dagster.core.model.outcome import COUNTS, Outcome, Status
from tests.support.service import Service, outcome
from tests.support.views import (
    ARTEFACT,
    JOB,
    LOCATION,
    NAMES,
    SUBSCRIPTION,
    USER,
    add_rows,
    archive_artefact,
    contents,
    drop_views,
    updated,
)
from tests.support.waiting import wait_until


def existing(service: Service) -> set[str]:
    return {row[0] for row in service.rows("SELECT matviewname FROM pg_matviews WHERE schemaname = 'maintenance'")}


def state(service: Service, name: str) -> tuple[datetime, datetime]:
    """Return when a view was refreshed and when it was verified."""
    (row,) = service.rows("SELECT refreshed_at, verified_at FROM maintenance.view_state WHERE view_name = %s", name)
    return row[0], row[1]


def location_name(service: Service, subscription_id: uuid.UUID) -> Any:
    query = f"SELECT location_name FROM maintenance.{SUBSCRIPTION} WHERE subscription_id = %s"
    return service.value(query, subscription_id)


@contextlib.contextmanager
def held_view_state(service: Service, name: str) -> Iterator[psycopg.Connection[Any]]:
    """Lock a view's state, so that a refresh waits at its end, before it commits."""
    with psycopg.connect(service.url) as holder:
        holder.execute("SELECT FROM maintenance.view_state WHERE view_name = %s FOR UPDATE", [name])
        yield holder


def wait_until_blocked(service: Service, holder: psycopg.Connection[Any]) -> None:
    """Return once another session waits for a lock that `holder` has."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    wait_until(lambda: service.value(query, holder.info.backend_pid), "nobody waits")


# Created, refreshed, verified


def test_creates_the_missing_views(service: Service) -> None:
    add_rows(service)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert existing(service) == set(NAMES)
    assert [service.count(f"maintenance.{name}") for name in NAMES] == [2, 1, 1, 1]
    assert updated(result) == set(NAMES)


def test_creates_the_views_of_empty_tables(service: Service) -> None:
    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert [service.count(f"maintenance.{name}") for name in NAMES] == [0, 0, 0, 0]


def test_creates_one_missing_view_and_leaves_the_others(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    service.connection.execute(f"DROP MATERIALIZED VIEW maintenance.{USER}")

    result = service.run(JOB)

    assert updated(result) == {USER}
    assert service.count(f"maintenance.{USER}") == 1


def test_gives_each_view_a_unique_index(service: Service) -> None:
    service.run(JOB)

    # Without an expression and a condition: a concurrent refresh needs it so.
    indexed = service.rows(
        "SELECT indrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid AND relkind = 'm' "
        "WHERE indisunique AND indisvalid AND indpred IS NULL AND indexprs IS NULL"
    )
    assert {row[0] for row in indexed} == {f"maintenance.{name}" for name in NAMES}


def test_refreshes_the_views_whose_source_has_changed(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    changes: dict[LiteralString, set[str]] = {
        "UPDATE artefact SET language = 'WELSH'": {ARTEFACT},
        "UPDATE maintenance.artefact_archive SET superseded_count = 7": {ARTEFACT},
        "UPDATE location SET name = 'Another Court'": {LOCATION, SUBSCRIPTION},
        "UPDATE location SET deleted_at = '2026-11-01'": set(),
        "UPDATE \"user\" SET role = 'SYSTEM_ADMIN'": {USER},
        'UPDATE "user" SET last_signed_in_date = NULL': {USER},
        "UPDATE subscription SET search_value = '2'": {SUBSCRIPTION},
        "DELETE FROM subscription": {SUBSCRIPTION},
    }

    refreshed = {}
    for change in changes:
        service.connection.execute(change)
        refreshed[change] = updated(service.run(JOB))

    assert refreshed == changes


def test_shows_a_row_that_was_added_since(service: Service) -> None:
    service.add_location(1)
    service.run(JOB)
    service.add_location(2)

    service.run(JOB)

    assert service.rows(f"SELECT location_id FROM maintenance.{LOCATION} ORDER BY 1") == [(1,), (2,)]


def test_does_not_refresh_a_view_whose_source_is_unchanged(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    before = {name: (contents(service, name), state(service, name)[0]) for name in NAMES}

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert updated(result) == set()
    assert {name: (contents(service, name), state(service, name)[0]) for name in NAMES} == before


def test_verifies_a_view_that_it_does_not_refresh(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    before = {name: state(service, name)[1] for name in NAMES}

    service.run(JOB)

    assert all(state(service, name)[1] > before[name] for name in NAMES)


def test_does_not_refresh_for_a_change_that_no_view_shows(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    service.connection.execute("UPDATE location SET email = 'new@example.org'")
    service.connection.execute("UPDATE \"user\" SET email = 'new@example.org'")

    assert updated(service.run(JOB)) == set()


def test_details_say_that_counts_equal_the_source(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    service.add_location(2)

    result = service.run(JOB)

    expected = {ARTEFACT: 2, LOCATION: 2, USER: 1, SUBSCRIPTION: 1}
    for name, rows in expected.items():
        details = outcome(result, name).details
        assert (details["view_rows"], details["source_rows"], details["equals_source"]) == (rows, rows, True)


def test_creates_a_view_of_an_older_definition_anew(service: Service) -> None:
    service.add_location(1)
    service.run(JOB)
    service.connection.execute(f"DROP MATERIALIZED VIEW maintenance.{LOCATION}")
    service.connection.execute(f"CREATE MATERIALIZED VIEW maintenance.{LOCATION} AS SELECT 1 AS old")
    service.connection.execute(
        "UPDATE maintenance.view_state SET definition = 'SELECT 1 AS old' WHERE view_name = %s", [LOCATION]
    )

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert updated(result) == {LOCATION}
    assert service.rows(f"SELECT location_id, name FROM maintenance.{LOCATION}") == [(1, "Court 1")]


def test_leaves_a_ledger_row_for_each_view(service: Service) -> None:
    service.run(JOB, run_id="run-1")

    ledger = service.rows("SELECT table_name, updated, outcome FROM maintenance.purge_ledger WHERE run_id = 'run-1'")
    assert sorted(ledger) == sorted((name, 1, "success") for name in NAMES)


# Dry runs


def test_a_dry_run_creates_nothing(service: Service) -> None:
    add_rows(service)

    result = service.run(JOB, dry_run=True)

    assert result.status is Status.SUCCESS
    assert existing(service) == set()
    assert service.count("maintenance.view_state") == 0


def test_a_dry_run_changes_no_view_and_no_state(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    service.add_location(2)
    before = {name: (contents(service, name), state(service, name)) for name in NAMES}

    service.run(JOB, dry_run=True)

    assert {name: (contents(service, name), state(service, name)) for name in NAMES} == before


def test_a_dry_run_says_which_views_the_run_then_refreshes(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    service.add_location(2)

    dry = service.run(JOB, dry_run=True)
    real = service.run(JOB)

    assert {done.target: done.matched for done in dry.outcomes} == {ARTEFACT: 0, LOCATION: 1, USER: 0, SUBSCRIPTION: 0}
    assert updated(real) == {LOCATION}
    assert {done.counts()[name] for done in dry.outcomes for name in COUNTS if name != "matched"} == {0}


# What the views show


def test_shows_live_and_archived_artefacts(service: Service) -> None:
    live, archived = service.add_artefact(), archive_artefact(service)

    service.run(JOB)

    shown = service.rows(f"SELECT artefact_id, is_archived FROM maintenance.{ARTEFACT} ORDER BY 2")
    assert shown == [(live, False), (archived, True)]


def test_moves_an_artefact_that_was_archived_since(service: Service) -> None:
    artefact = service.add_artefact(display_to=service.days_ago(1))
    service.run(JOB)
    service.run("expired_artefacts")

    service.run(JOB)

    assert service.rows(f"SELECT artefact_id, is_archived FROM maintenance.{ARTEFACT}") == [(artefact, True)]


def test_no_view_shows_what_identifies_a_person_or_a_case(service: Service) -> None:
    service.add_location(7, email="MARKER@example.org", contact_no="MARKER 0300")
    service.add_artefact(source_artefact_id="MARKER.pdf", file_extension="MARKER")
    user_id = service.add_user(email="MARKER@example.com", first_name="MARKER", surname="MARKER")
    for search_type, value in (
        ("LOCATION_ID", "7"),
        ("LOCATION_ID", "MARKER in the wrong field"),
        ("CASE_NUMBER", "MARKER-1"),
        ("CASE_NAME", "MARKER v Smith"),
        ("CASE_URN", "MARKER-2"),
    ):
        service.add_subscription(
            user_id, search_type=search_type, search_value=value, case_name="MARKER v Jones", case_number="MARKER-3"
        )

    result = service.run(JOB)

    assert [service.count(f"maintenance.{name}") for name in NAMES] == [1, 1, 1, 5]
    assert [service.count(f"maintenance.{name} v", "v::text ILIKE '%%marker%%'") for name in NAMES] == [0, 0, 0, 0]
    assert "marker" not in "\n".join([*service.reporter.lines, json.dumps(result.as_json())]).lower()


def test_subscriptions_show_the_name_of_their_location(service: Service) -> None:
    service.add_location(7, name="Seventh Court")
    subscription = service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value="7")

    service.run(JOB)

    assert location_name(service, subscription) == "Seventh Court"


def test_a_padded_location_number_is_the_location(service: Service) -> None:
    service.add_location(7, name="Seventh Court")
    subscription = service.add_subscription(service.add_user(), search_type="LOCATION_ID", search_value=" 007 ")

    service.run(JOB)

    assert location_name(service, subscription) == "Seventh Court"


def test_a_value_that_is_no_location_shows_nothing(service: Service) -> None:
    service.add_location(7)
    user_id = service.add_user()
    for value in ("8", "court 7", "", "7.5", "7 7", "9" * 40, "1e1000000"):
        service.add_subscription(user_id, search_type="LOCATION_ID", search_value=value)

    result = service.run(JOB)

    assert result.status is Status.SUCCESS
    assert service.rows(f"SELECT DISTINCT location_name FROM maintenance.{SUBSCRIPTION}") == [(None,)]


def test_a_case_that_looks_like_a_location_shows_nothing(service: Service) -> None:
    service.add_location(7)
    user_id = service.add_user()
    for search_type in ("CASE_NUMBER", "CASE_NAME"):
        service.add_subscription(user_id, search_type=search_type, search_value="7")

    service.run(JOB)

    assert service.rows(f"SELECT DISTINCT location_name FROM maintenance.{SUBSCRIPTION}") == [(None,)]


# Dropped


def test_drops_all_views_and_the_next_run_creates_them(service: Service) -> None:
    add_rows(service)
    service.run(JOB)

    dropped = drop_views(service)
    left = existing(service)
    result = service.run(JOB)

    assert (set(dropped), left) == (set(NAMES), set())
    assert result.status is Status.SUCCESS
    assert [service.count(f"maintenance.{name}") for name in NAMES] == [2, 1, 1, 1]


def test_whoever_could_read_a_view_can_read_the_next_one(service: Service) -> None:
    service.run(JOB)
    role = sql.Identifier(f"reader_{uuid.uuid4().hex[:8]}")
    service.connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    service.connection.execute(sql.SQL("GRANT SELECT ON maintenance.sdp_mat_view_location TO {}").format(role))
    may_read = "SELECT has_table_privilege(%s, 'maintenance.sdp_mat_view_location', 'SELECT')"
    try:
        drop_views(service)
        service.run(JOB)

        assert service.value(may_read, role.as_string(None).strip('"'))
    finally:
        service.connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


def test_drops_nothing_where_there_is_no_view(service: Service) -> None:
    assert drop_views(service) == []


def test_dropped_views_do_not_stand_in_the_way_of_a_migration(service: Service) -> None:
    add_rows(service)
    service.run(JOB)
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        service.connection.execute("ALTER TABLE location ALTER COLUMN name TYPE varchar(500)")

    drop_views(service)

    service.connection.execute("ALTER TABLE location ALTER COLUMN name TYPE varchar(500)")


# Beside others


def test_an_open_reader_does_not_stop_the_refresh(service: Service) -> None:
    service.add_location(1)
    service.run(JOB)
    with psycopg.connect(service.url) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("SET statement_timeout = '2s'")
        before = reader.execute(f"SELECT location_id FROM maintenance.{LOCATION}").fetchall()
        service.add_location(2)

        result = service.run(JOB)

        after = reader.execute(f"SELECT location_id FROM maintenance.{LOCATION}").fetchall()

    assert (result.status, updated(result)) == (Status.SUCCESS, {LOCATION})
    assert before == after == [(1,)]
    assert service.count(f"maintenance.{LOCATION}") == 2


def test_a_refresh_that_has_not_committed_does_not_stop_readers(service: Service) -> None:
    service.add_location(1)
    service.run(JOB)
    service.add_location(2)

    with held_view_state(service, LOCATION) as holder, ThreadPoolExecutor(1) as pool:
        run = pool.submit(service.run, JOB)
        wait_until_blocked(service, holder)
        with psycopg.connect(service.url) as reader:
            reader.execute("SET statement_timeout = '2s'")
            seen = reader.execute(f"SELECT location_id FROM maintenance.{LOCATION}").fetchall()
        holder.rollback()
        result = run.result(60)

    assert seen == [(1,)]
    assert (result.status, updated(result)) == (Status.SUCCESS, {LOCATION})


def test_counts_are_of_one_snapshot_while_others_write(service: Service) -> None:
    service.add_location(1)
    service.run(JOB)
    service.add_location(2)

    with held_view_state(service, LOCATION) as holder, ThreadPoolExecutor(1) as pool:
        run = pool.submit(service.run, JOB)
        wait_until_blocked(service, holder)
        service.add_location(3)
        holder.rollback()
        details = outcome(run.result(60), LOCATION).details

    assert (details["view_rows"], details["source_rows"], details["equals_source"]) == (2, 2, True)
    assert updated(service.run(JOB)) == {LOCATION}


def test_a_second_run_at_once_is_refused_and_names_the_first(service: Service) -> None:
    service.run(JOB)

    with held_view_state(service, ARTEFACT) as holder, ThreadPoolExecutor(1) as pool:
        first = pool.submit(service.run, JOB, run_id="first-run")
        wait_until_blocked(service, holder)
        second = service.run(JOB)
        holder.rollback()
        first_result = first.result(60)

    assert second.status is Status.REFUSED
    assert "first-run" in str(second.error)
    assert first_result.status is Status.SUCCESS


# Faults


@pytest.mark.parametrize("table", ["maintenance.artefact_archive", "public.location"])
def test_names_a_missing_source(service: Service, table: str) -> None:
    schema, name = table.split(".")
    service.connection.execute(f'ALTER TABLE {schema}."{name}" RENAME TO gone')

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert name in str(result.error)
    assert "does not exist" in str(result.error)


def test_a_missing_source_does_not_stop_the_other_views(service: Service) -> None:
    service.add_user()
    service.connection.execute("ALTER TABLE artefact RENAME TO gone")

    result = service.run(JOB)

    assert result.status is Status.FAILED
    assert existing(service) == {LOCATION, USER, SUBSCRIPTION}
    assert service.count(f"maintenance.{USER}") == 1


def test_a_missing_source_leaves_the_view_as_it_was(service: Service) -> None:
    service.add_location(1)
    service.run(JOB)
    service.connection.execute("ALTER TABLE location RENAME TO gone")

    result = service.run(JOB)

    done: Outcome = outcome(result, LOCATION)
    assert (result.status, done.updated) == (Status.FAILED, 0)
    assert service.count(f"maintenance.{LOCATION}") == 1
