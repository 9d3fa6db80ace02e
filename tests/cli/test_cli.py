"""The command `cath-dagster`, as a person or a script calls it."""

import json
import re
import signal
import subprocess
import sys
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cath_dagster.core.model.schedule import NO_SCHEDULE
from cath_dagster.orchestration.internals.crons import schedule_execution_time_iterator
from tests.support.cli import (
    SECRET,
    SLOW,
    add_entries,
    findings,
    problems,
    result_of,
    role_without_rights,
    run,
    server_that_refuses_the_password,
)
from tests.support.command import PROGRAM, Done, call, environment
from tests.support.inventory import inventory
from tests.support.service import Service
from tests.support.waiting import PATIENCE_SECONDS, wait_until

JOBS = inventory()
NUMBERS = [
    "matched", "deleted", "archived", "updated", "restored", "notified", "undelivered", "failed", "kept", "skipped",
]  # fmt: skip
UNREACHABLE = f"postgresql://someone:{SECRET}@127.0.0.1:1/cath"


def outcomes_of(done: Done) -> dict[str, dict[str, Any]]:
    return {outcome["target"]: outcome for outcome in result_of(done)["outcomes"]}


def remedies(environ: dict[str, str], start: str) -> list[str]:
    return [item["remedy"] for item in findings(environ) if (item["remedy"] or "").startswith(start)]


def test_jobs_lists_every_job_with_its_cron_next_tick_owner_and_purpose() -> None:
    rows = json.loads(call({}, "jobs", "--json").stdout)

    assert {row["job"]: row["schedule"] for row in rows} == JOBS
    assert {row["job"] for row in rows if row["next_tick"] is None} == {
        job for job, schedule in JOBS.items() if schedule == NO_SCHEDULE
    }
    ticks = [row["next_tick"] for row in rows if row["next_tick"] is not None]
    assert all(datetime.fromisoformat(tick) > datetime.now().astimezone() for tick in ticks)
    assert all(row["owner"] and row["summary"] for row in rows)


def test_jobs_shows_a_table_to_people() -> None:
    done = call({}, "jobs")

    assert done.returncode == 0
    assert [job for job in JOBS if f"/{job}" not in done.stdout] == []


def test_jobs_tells_every_setting_with_its_variable_and_what_it_is_set_to() -> None:
    name = "CATH_CLEAR_AUDIT_AUDIT_LOG_RETENTION_DAYS"

    rows = json.loads(call({name: "30"}, "jobs", "--settings", "--json").stdout)

    (row,) = [row for row in rows if row["variable"] == name]
    assert (row["default"], row["set_to"]) == ("90", "30")
    assert all(row["description"] for row in rows)


def test_jobs_tells_the_tick_that_the_scheduler_will_make() -> None:
    rows = {row["job"]: row for row in json.loads(call({}, "jobs", "--json").stdout)}

    for job, row in rows.items():
        if row["cron"] is None:
            continue
        after = datetime.now(UTC).timestamp()
        coming = schedule_execution_time_iterator(after, row["cron"], row["timezone"])
        told = datetime.fromisoformat(row["next_tick"])
        assert told.astimezone(UTC) <= next(coming).astimezone(UTC), job
        assert told == next(schedule_execution_time_iterator(told.timestamp(), row["cron"], row["timezone"])), job


@pytest.mark.stack
def test_what_foretells_no_tick_does_not_import_dagster() -> None:
    program = (
        "import sys; from cath_dagster.cli.main import main\n"
        "try: main(['jobs', '--settings', '--json'])\n"
        "finally: print([name for name in sys.modules if name.partition('.')[0] == 'dagster'], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0
    assert done.stderr.strip() == "[]"


def test_run_prints_one_object_with_what_it_did(service: Service) -> None:
    add_entries(service, 3)

    done = run(service, "clear_audit", "--json")

    assert done.returncode == 0
    result = result_of(done)
    assert {"job", "run_id", "dry_run", "as_of", "status", "outcomes", "error"} <= set(result)
    assert (result["job"], result["status"], result["dry_run"], result["error"]) == (
        "clear_audit",
        "success",
        False,
        None,
    )
    assert datetime.fromisoformat(result["as_of"]) == service.as_of


def test_an_outcome_names_its_target_by_its_bare_name_and_then_its_numbers(service: Service) -> None:
    add_entries(service, 3)

    outcome = outcomes_of(run(service, "clear_audit", "--json"))["ingestion_log"]

    assert list(outcome)[: len(NUMBERS) + 1] == ["target", *NUMBERS]
    assert {name: outcome[name] for name in NUMBERS} == {**dict.fromkeys(NUMBERS, 0), "matched": 3, "deleted": 3}


def test_a_dry_run_tells_only_what_would_change(service: Service) -> None:
    add_entries(service, 3)

    outcome = outcomes_of(run(service, "clear_audit", "--dry-run", "--json"))["ingestion_log"]

    assert {name: outcome[name] for name in NUMBERS} == {**dict.fromkeys(NUMBERS, 0), "matched": 3}
    assert service.count("ingestion_log") == 3


def test_rows_that_go_by_cascade_are_a_target_of_their_own(service: Service) -> None:
    artefact_id = service.add_artefact(display_to=service.days_ago(2))
    service.insert("artefact_search", id=uuid.uuid4().hex, artefact_id=artefact_id, case_name="R v R")

    assert outcomes_of(run(service, "expired_artefacts", "--json"))["artefact_search"]["deleted"] == 1


def test_run_tells_people_how_and_at_what_pace_it_worked(service: Service) -> None:
    add_entries(service, 12_000)

    done = run(service, "clear_audit", "--allow-large", "--set", "pace=polite", "--set", "vacuum=true")

    assert done.returncode == 0, done.stderr
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("ingestion_log: ")]
    assert told.startswith("ingestion_log: by the heap, polite, at work ")
    assert "s of rest" in done.stdout
    # A page that the closing scan prunes has none any more, and how many it prunes depends on whose snapshots are open.
    (dead,) = re.findall(r"([\d,]+) dead rows to 0", " ".join(done.stdout.split()))
    assert 0 < int(dead.replace(",", "")) <= 12_000


def test_run_shows_a_table_to_people(service: Service) -> None:
    add_entries(service, 3)

    done = run(service, "clear_audit")

    assert done.returncode == 0
    assert "ingestion_log" in done.stdout
    assert "success" in done.stdout


def test_a_refused_run_exits_with_one_and_says_refused(service: Service) -> None:
    add_entries(service, 10_001)

    done = run(service, "clear_audit", "--json")

    assert (done.returncode, result_of(done)["status"]) == (1, "refused")
    assert service.count("ingestion_log") == 10_001


def test_allow_large_lets_a_refused_run_go_ahead(service: Service) -> None:
    add_entries(service, 10_001)

    assert run(service, "clear_audit", "--allow-large").returncode == 0
    assert service.count("ingestion_log") == 0


def test_max_rows_stops_cleanly(service: Service) -> None:
    add_entries(service, 5)

    assert run(service, "clear_audit", "--max-rows", "2").returncode == 0
    assert service.count("ingestion_log") == 3


def test_set_gives_one_of_the_jobs_own_settings(service: Service) -> None:
    add_entries(service, 1, days=40)

    assert run(service, "clear_audit", "--set", "ingestion_log_retention_days=30").returncode == 0
    assert service.count("ingestion_log") == 0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("run", "clear_audits"), "clear_audit"),
        (("run", "clear_audit", "--as-of", "yesterday"), "as_of"),
        (("run", "clear_audit", "--as-of", "2999-01-01"), "as_of"),
        (("run", "clear_audit", "--max-rows", "-1"), "max_rows"),
        (("run", "clear_audit", "--max-rows", "many"), "max-rows"),
        (("run", "clear_audit", "--set", "retention=3"), "retention"),
        (("run", "clear_audit", "--set", "retention"), "KEY=VALUE"),
        (("run", "media_reporting", "--partition", "last week"), "last week"),
        (("plan", "nothing"), "nothing"),
        (("migrate", "elsewhere"), "elsewhere"),
        (("run",), "job"),
    ],
)
def test_wrong_usage_exits_with_two_and_names_what_is_wrong(
    service: Service, arguments: tuple[str, ...], named: str
) -> None:
    add_entries(service, 1, days=9_000)

    done = call(service.environ, *arguments)

    assert done.returncode == 2, done.stderr + done.stdout
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert service.count("ingestion_log") == 1


def test_wrong_usage_with_json_still_prints_one_object(service: Service) -> None:
    done = call(service.environ, "run", "clear_audits", "--json")

    assert (done.returncode, result_of(done)["status"]) == (2, "failed")
    assert "clear_audits" in result_of(done)["error"]


def test_plan_shows_sample_ids_and_changes_nothing(service: Service) -> None:
    artefact_id = service.add_artefact(display_to=service.days_ago(2))

    done = call(service.environ, "plan", "expired_artefacts", "--as-of", service.as_of.isoformat())

    assert done.returncode == 0
    assert str(artefact_id) in done.stdout
    assert service.count("artefact") == 1


def test_plan_of_a_large_deletion_says_that_the_run_would_be_refused(service: Service) -> None:
    add_entries(service, 10_001)

    done = call(service.environ, "plan", "clear_audit", "--as-of", service.as_of.isoformat())

    assert done.returncode == 0
    assert "allow_large" in done.stdout


def test_migrate_makes_the_schema_in_an_empty_database_and_again_changes_nothing(empty_database: str) -> None:
    environ = {"CATH_DATABASE_URL": empty_database}

    first, second = (call(environ, "migrate", "cath", "--json") for _ in range(2))

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == second.stdout
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT to_regclass('maintenance.purge_ledger')").fetchone() != (None,)


@pytest.mark.parametrize(
    "change",
    ["DROP SCHEMA maintenance CASCADE", "DELETE FROM maintenance.alembic_version WHERE version_num LIKE 'cath_%'"],
    ids=["missing", "behind"],
)
def test_a_schema_that_is_missing_or_behind_names_the_command_that_helps(service: Service, change: str) -> None:
    service.connection.execute(sql.SQL(change))
    add_entries(service, 1)

    done = run(service, "clear_audit", "--json")

    assert done.returncode == 1
    assert "cath-dagster migrate cath" in result_of(done)["error"]
    assert service.count("ingestion_log") == 1


def test_doctor_says_once_that_there_is_no_schema_of_ours(service: Service) -> None:
    service.connection.execute("DROP SCHEMA maintenance CASCADE")

    found = [subject for subject in problems(service.environ) if subject in ("schema maintenance", "CATH_DATABASE_URL")]

    assert found == ["schema maintenance"]


def test_doctor_has_nothing_to_say_about_a_service_in_order(service: Service) -> None:
    assert problems(service.environ) == {}
    assert call(service.environ, "doctor").returncode == 0


def test_the_statements_that_doctor_proposes_make_every_missing_index(service: Service) -> None:
    service.connection.execute("ANALYZE")
    proposed = remedies(service.environ, "CREATE INDEX CONCURRENTLY")

    for statement in proposed:
        service.connection.execute(statement)

    assert any("notification_audit_log" in statement for statement in proposed)
    assert remedies(service.environ, "CREATE INDEX") == []


def test_doctor_names_what_a_new_table_means_for_the_jobs_that_delete(service: Service) -> None:
    service.connection.execute(
        'CREATE TABLE user_note (user_id uuid PRIMARY KEY REFERENCES "user" ON DELETE CASCADE);'
        "CREATE TABLE artefact_mark (artefact_id uuid REFERENCES artefact);"
        "CREATE TABLE artefact_hint (artefact_id uuid REFERENCES artefact ON DELETE SET NULL)"
    )

    found = {item["subject"]: item for item in findings(service.environ) if "index" not in item["says"]}

    assert "user_note_user_id_fkey" in found["job inactive_verification"]["says"]
    assert "allow_cascades" in found["job inactive_verification"]["remedy"]
    assert found["job inactive_verification"]["level"] == "problem"
    assert "artefact_mark_artefact_id_fkey" in found["reference artefact_mark.artefact_id"]["says"]
    assert "set to null" in found["reference artefact_hint.artefact_id"]["says"]


def test_doctor_tells_what_goes_on_costs_without_the_index(service: Service) -> None:
    service.connection.execute("ANALYZE")

    keys = [item for item in findings(service.environ) if item["subject"].startswith("foreign key")]

    assert keys
    assert all(" ms" in item["says"] for item in keys)


def test_doctor_names_a_missing_privilege_with_the_grant_that_helps(service: Service) -> None:
    with role_without_rights(service) as (role, url):
        service.connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA maintenance TO {}").format(role))
        for schema in ("public", "maintenance"):
            every = sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA {} TO {}")
            service.connection.execute(every.format(sql.Identifier(schema), role))
        service.connection.execute(sql.SQL("REVOKE DELETE ON ingestion_log FROM {}").format(role))
        environ = {**service.environ, "CATH_DATABASE_URL": url}

        (grant,) = remedies(environ, "GRANT DELETE")
        service.connection.execute(grant)

        assert "DELETE" in grant
        assert problems(environ) == {}


def test_doctor_tells_who_cannot_see_what_others_wait_for_how_to_see_it(service: Service) -> None:
    with role_without_rights(service) as (role, url):
        environ = {**service.environ, "CATH_DATABASE_URL": url}
        (grant,) = remedies(environ, "GRANT pg_read_all_stats")
        service.connection.execute(grant)

        assert role.as_string(service.connection) in grant
        assert remedies(environ, "GRANT pg_read_all_stats") == []


def test_the_grants_that_doctor_names_are_all_that_a_new_role_needs(service: Service) -> None:
    add_entries(service, 1)
    with role_without_rights(service) as (_, url):
        environ = {**service.environ, "CATH_DATABASE_URL": url}
        for _ in range(3):
            for grant in remedies(environ, "GRANT"):
                service.connection.execute(grant)

        assert problems(environ) == {}
        done = call(environ, "run", "clear_audit", "--as-of", service.as_of.isoformat(), "--json")
        assert result_of(done)["error"] is None
    assert service.count("ingestion_log") == 0


def test_doctor_tells_of_a_blob_store_that_cannot_be_reached(service: Service) -> None:
    environ = {**service.environ, "CATH_BLOB_URL": (service.blob_root / "nowhere").as_uri()}

    assert {name for name in problems(environ) if name.startswith("CATH_BLOB_URL")} == {
        "CATH_BLOB_URL, container artefact",
        "CATH_BLOB_URL, container publications",
        "CATH_BLOB_URL, container files",
    }
    assert call(environ, "doctor").returncode == 1


def test_doctor_tells_what_each_job_does_without_a_notify_key(service: Service) -> None:
    environ = {**service.environ, "CATH_NOTIFY_API_KEY": ""}

    (finding,) = [item for item in findings(environ) if item["subject"] == "mail"]

    assert finding["level"] == "warning"
    assert "CATH_NOTIFY_API_KEY" in finding["remedy"]
    told = dict(part.split(": ") for part in finding["says"].split("; ")[1:])
    assert set(told) == {"inactive_verification", "media_reporting", "no_match_artefacts"}
    assert "nobody is deleted" in told["inactive_verification"]


def test_doctor_examines_the_rest_where_the_database_cannot_be_reached(service: Service) -> None:
    subjects = {item["subject"] for item in findings({**service.environ, "CATH_DATABASE_URL": UNREACHABLE})}

    assert {"CATH_DATABASE_URL", "CATH_BLOB_URL, container artefact", "mail"} <= subjects


def test_views_are_dropped_and_created_again(service: Service) -> None:
    views = "pg_matviews WHERE schemaname = 'maintenance' AND matviewname LIKE 'sdp_mat_view_%'"
    assert call(service.environ, "views", "create").returncode == 0
    assert service.value(f"SELECT count(*) FROM {views}") == 4

    assert call(service.environ, "views", "drop").returncode == 0

    assert service.value(f"SELECT count(*) FROM {views}") == 0


def test_dropping_views_that_are_not_there_is_no_error(service: Service) -> None:
    assert call(service.environ, "views", "drop").returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "clear_audit"),
        ("run", "clear_audit", "--json"),
        ("migrate",),
        ("doctor",),
        ("views", "drop"),
        ("indexes", "build"),
    ],
)
def test_an_unreachable_database_is_told_without_its_password(arguments: tuple[str, ...]) -> None:
    done = call({"CATH_DATABASE_URL": UNREACHABLE}, *arguments)

    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr + done.stdout
    assert SECRET not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("run", "clear_audit"), ("migrate",), ("doctor",), ("views", "drop"), ("indexes", "build")]
)
def test_a_wrong_password_is_told_and_never_printed(arguments: tuple[str, ...]) -> None:
    with server_that_refuses_the_password() as port:
        url = f"postgresql://someone:{SECRET}@127.0.0.1:{port}/cath?sslmode=disable"
        done = call({"CATH_DATABASE_URL": url}, *arguments)

    assert done.returncode == 1
    assert "password authentication failed" in done.stderr + done.stdout
    assert SECRET not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("run", "clear_audit"), ("migrate",), ("doctor",), ("views", "drop"), ("indexes", "build")]
)
def test_a_missing_variable_is_named(arguments: tuple[str, ...]) -> None:
    done = call({}, *arguments)

    assert done.returncode in (1, 2)
    assert "CATH_DATABASE_URL" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.stack
def test_sigterm_in_mid_purge_ends_the_query_and_leaves_complete_batches(service: Service) -> None:
    add_entries(service, 3_000)
    service.connection.execute(SLOW)
    arguments = [PROGRAM, "run", "clear_audit", "--as-of", service.as_of.isoformat(), "--quiet"]
    with subprocess.Popen(arguments, env=environment(service.environ), stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: service.count("ingestion_log") < 3_000 or process.poll() is not None)
            assert process.poll() is None, "the purge never got under way"
            process.send_signal(signal.SIGTERM)
            mine = "application_name LIKE 'clear_audit:%' AND datname = current_database()"
            wait_until(lambda: not service.count("pg_stat_activity", mine), "the query runs on")
            assert process.wait(timeout=PATIENCE_SECONDS) == 143
        finally:
            process.kill()

    ((deleted, ending),) = service.rows(
        "SELECT deleted, outcome FROM maintenance.purge_ledger WHERE table_name = 'ingestion_log'"
    )
    assert service.count("ingestion_log") == 3_000 - deleted > 0
    assert ending == "interrupted"


def test_a_run_takes_its_secrets_from_mounted_files(service: Service, tmp_path: Path) -> None:
    add_entries(service, 1)
    file = tmp_path / "database-url"
    file.write_text(f"{service.environ.pop('CATH_DATABASE_URL')}\n")

    done = run(
        replace(service, environ=service.environ | {"CATH_DATABASE_URL_FILE": str(file)}), "clear_audit", "--json"
    )

    assert result_of(done)["error"] is None
    assert service.count("ingestion_log") == 0


def test_a_mounted_file_that_cannot_be_read_is_named_before_anything_is_done(service: Service, tmp_path: Path) -> None:
    del service.environ["CATH_DATABASE_URL"]
    missing = replace(service, environ=service.environ | {"CATH_DATABASE_URL_FILE": str(tmp_path / "nowhere")})

    done = [run(missing, "clear_audit"), call(missing.environ, "doctor"), call(missing.environ, "migrate")]

    assert [each.returncode for each in done] == [1, 2, 2]
    assert all("CATH_DATABASE_URL_FILE names" in each.stderr for each in done)
