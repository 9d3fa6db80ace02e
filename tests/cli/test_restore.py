"""`cath-dagster restore`: a run undone from the command line, by people and by machines."""

import json
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.cli import result_of
from tests.support.command import PROGRAM, call, environment
from tests.support.interrupted import is_asleep
from tests.support.service import Service
from tests.support.subscriptions import TABLES, add_orphan, add_unmatched, archives
from tests.support.waiting import wait_until

# A restore's window is measured by the clock.


def delete(service: Service, job: str = "subscriptions") -> str:
    """Run a job now, and return the run's id."""
    done = call(service.environ, "run", job, "--json")
    assert done.returncode == 0, done.stderr
    return str(result_of(done)["run_id"])


def everything(service: Service) -> dict[str, list[tuple[Any, ...]]]:
    return {table: service.rows(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {outcome["target"]: outcome for outcome in result_of(done)["outcomes"]}


def test_run_tells_how_to_undo_it_and_restore_does(service: Service) -> None:
    add_orphan(service)
    before = everything(service)
    told = call(service.environ, "run", "subscriptions", "--quiet").stdout
    (line,) = [line for line in told.splitlines() if "cath-dagster restore" in line]
    assert everything(service) != before

    done = call(service.environ, *line.partition("cath-dagster ")[2].split())

    assert (done.returncode, done.stderr) == (0, "")
    assert "restored" in done.stdout
    assert everything(service) == before


def test_restore_tells_machines_what_came_back(service: Service) -> None:
    add_unmatched(service)
    run_id = delete(service, "no_match_artefacts")

    done = call(service.environ, "restore", run_id, "--json")

    result = result_of(done)
    assert (done.returncode, result["status"], result["job"]) == (0, "success", "no_match_artefacts")
    assert result["run_id"] != run_id
    assert outcomes(done)["artefact"]["restored"] == 1
    assert outcomes(done)["artefact_search"]["restored"] == 2
    assert outcomes(done)["ingestion_log"]["updated"] == 1


def test_restore_twice_is_no_failure(service: Service) -> None:
    add_orphan(service)
    run_id = delete(service)
    call(service.environ, "restore", run_id)

    again = call(service.environ, "restore", run_id, "--json")

    assert again.returncode == 0
    assert (outcomes(again)["subscription"]["restored"], outcomes(again)["subscription"]["skipped"]) == (0, 1)


def test_restore_dry_run_changes_nothing(service: Service) -> None:
    add_orphan(service)
    run_id = delete(service)

    done = call(service.environ, "restore", run_id, "--dry-run", "--json")

    assert (done.returncode, outcomes(done)["subscription"]["matched"]) == (0, 1)
    assert service.count("subscription") == 0


def test_restore_takes_a_table_and_a_condition(service: Service) -> None:
    one, _ = add_orphan(service), add_orphan(service)
    run_id = delete(service)

    done = call(service.environ, "restore", run_id, "--table", "subscription", "--where", f"subscription_id = '{one}'")

    assert done.returncode == 0
    assert service.rows("SELECT subscription_id FROM subscription") == [(one,)]
    assert service.count("notification_audit_log") == 0


def test_restore_says_what_is_wrong_with_a_condition_and_exits_with_2(service: Service) -> None:
    add_orphan(service)
    run_id = delete(service)

    done = call(service.environ, "restore", run_id, "--where", "colour = 'red'", "--json")

    assert done.returncode == 2
    assert 'column "colour" does not exist' in done.stderr
    assert json.loads(done.stdout)["status"] == "failed"


def test_restore_tells_what_can_come_back_and_what_cannot_and_why_with_an_exit_code_of_its_own(
    service: Service,
) -> None:
    lost = service.add_user()
    for number, user_id in enumerate((lost, lost, service.add_user()), start=90):
        add_orphan(service, user_id=user_id, search_value=str(number))
    run_id = delete(service)
    service.connection.execute('DELETE FROM "user" WHERE user_id = %s', (lost,))

    shown = call(service.environ, "restore", run_id, "--dry-run")
    preview = call(service.environ, "restore", run_id, "--dry-run", "--json")
    done = call(service.environ, "restore", run_id, "--json")

    assert [call.returncode for call in (shown, preview, done)] == [3, 3, 3]
    rows = [line.split() for line in shown.stdout.splitlines()]
    assert ["table", "can", "come", "back", "cannot", "come", "back", "skipped"] in rows
    assert {row[0]: row[1:] for row in rows if row[:1] in (["subscription"], ["notification_audit_log"])} == {
        "subscription": ["1", "2", "0"],
        "notification_audit_log": ["2", "4", "0"],
    }
    assert "2: the row that they refer to is gone (subscription_user_id_fkey)" in shown.stdout
    for told in (preview, done):
        outcome = outcomes(told)["subscription"]
        assert (outcome["matched"], outcome["failed"]) == (3, 2)
        assert outcome["details"]["reasons"] == ["2: the row that they refer to is gone (subscription_user_id_fkey)"]
        assert result_of(told)["undoes"] == run_id


def test_restore_refuses_a_run_that_nobody_knows(service: Service) -> None:
    done = call(service.environ, "restore", "no-such-run")

    assert done.returncode == 1
    assert "no-such-run" in done.stderr


def test_restore_says_that_a_job_keeps_nothing(service: Service) -> None:
    service.connection.execute(
        "INSERT INTO ingestion_log (id, timestamp, source_system, court_id, status)"
        " VALUES (gen_random_uuid(), '2020-01-01', 'SNL', '1', 'SUCCESS')"
    )
    done = call(service.environ, "restore", delete(service, "clear_audit"))

    assert done.returncode == 1
    assert "undo_days" in done.stderr


def test_restore_names_the_variable_where_no_database_is_configured(service: Service) -> None:
    done = call({}, "restore", "a-run")

    assert done.returncode == 2
    assert "CATH_DATABASE_URL" in done.stderr


def test_the_ledger_shows_what_was_restored(service: Service) -> None:
    add_orphan(service)
    run_id = delete(service)
    call(service.environ, "restore", run_id)

    shown = call(service.environ, "ledger", "cath").stdout
    rows = json.loads(call(service.environ, "ledger", "--json").stdout)["rows"]

    assert f"restored from run {run_id}" in shown
    restored = {row["table"]: row["restored"] for row in rows if row["restored"]}
    assert restored == {"subscription": 1, "notification_audit_log": 2}


@pytest.mark.stack
def test_a_restore_that_is_killed_midway_is_finished_by_the_next(service: Service) -> None:
    add_orphan(service)
    before = everything(service)
    run_id = delete(service)
    service.connection.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(30); RETURN NEW; END $$;"
        "CREATE TRIGGER slow BEFORE INSERT ON notification_audit_log FOR EACH ROW EXECUTE FUNCTION slow()"
    )
    with subprocess.Popen(
        [PROGRAM, "restore", run_id],
        env=environment(service.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: is_asleep(service))
        process.kill()
    assert (service.count("subscription"), service.count("notification_audit_log")) == (1, 0)
    wait_until(lambda: not is_asleep(service))
    service.connection.execute("DROP TRIGGER IF EXISTS slow ON notification_audit_log")

    done = call(service.environ, "restore", run_id)

    assert done.returncode == 0, done.stderr
    assert everything(service) == before


def test_the_archive_holds_nothing_of_jobs_that_keep_nothing(service: Service) -> None:
    service.add_artefact(display_to=datetime.now(UTC).replace(tzinfo=None).replace(year=2020))

    delete(service, "expired_artefacts")

    assert (service.count("artefact"), archives(service)) == (0, 0)
