"""`cath-dagster health`: what a probe is told, and its exit code."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.operations.instance import Instance, open_instance
from tests.support.command import call
from tests.support.dagster_internals import DaemonHeartbeat


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with open_instance(tmp_path_factory.mktemp("home")) as opened:
        yield opened


def environ(instance: Instance, **more: str) -> dict[str, str]:
    return {"DAGSTER_HOME": str(instance.home), "DAGSTER_POSTGRES_URL": instance.url, **more}


def test_an_instance_without_a_daemon_is_not_healthy(instance: Instance) -> None:
    instance.wipe()

    done = call(environ(instance), "health")

    assert done.returncode == 1
    assert "never beat" in done.stdout


def test_an_instance_whose_daemons_beat_is_healthy(instance: Instance) -> None:
    instance.wipe()
    for kind in instance.dagster.get_required_daemon_types():
        instance.dagster.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), kind, "id", []))

    done = call(environ(instance), "health", "--json")

    told = json.loads(done.stdout)
    assert (done.returncode, told["healthy"]) == (0, True)
    assert "daemon scheduler" in {finding["subject"] for finding in told["findings"]}
    assert {finding["level"] for finding in told["findings"]} <= {"ok", "warning"}


def test_a_storage_that_does_not_answer_is_not_healthy_and_shows_no_password(instance: Instance) -> None:
    unreachable = "postgresql://someone:hunter2@127.0.0.1:1/dagster"

    done = call(environ(instance, DAGSTER_POSTGRES_URL=unreachable), "health", "--json")

    assert done.returncode == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert (finding["subject"], finding["level"]) == ("storage", "problem")
    assert "hunter2" not in done.stdout + done.stderr


def test_without_an_instance_it_names_the_variable() -> None:
    done = call({}, "health")

    assert done.returncode == 2
    assert "DAGSTER_HOME" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_clean_up_is_planned_from_the_command_line(instance: Instance) -> None:
    instance.wipe()
    migrated = call(environ(instance), "migrate", "operations")
    assert migrated.returncode == 0, migrated.stderr

    done = call(environ(instance), "plan", "clean_instance", "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "success"


def test_the_doctor_examines_the_instances_database(instance: Instance) -> None:
    call(environ(instance), "migrate", "operations")

    done = call(environ(instance), "doctor", "operations")

    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_was_given_up_fails_the_probe_until_it_is_acknowledged(instance: Instance) -> None:
    instance.wipe()
    call(environ(instance), "migrate", "operations")
    for kind in instance.dagster.get_required_daemon_types():
        instance.dagster.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), kind, "id", []))
    instance.connection.execute(
        "INSERT INTO maintenance.alert (fingerprint, occurrence, kind, title, says, is_over, raised_at, attempts)"
        " VALUES ('run_failed:cath/clear_audit', '1', 'run_failed', 'failed', '{}', false, now() - interval '8 days', 9)"
    )
    instance.connection.execute("UPDATE maintenance.alert SET message_id = alert_id, sealed_at = raised_at")
    channel = {"OPERATIONS_ALERT_URLS": "json://127.0.0.1:9/"}

    before = call(environ(instance, **channel), "health")
    after = call(environ(instance, **channel), "health", "--acknowledge")

    assert (before.returncode, "1 messages did not reach every channel" in before.stdout) == (1, True)
    assert (after.returncode, "1 given up alerts acknowledged" in after.stdout) == (0, True)
