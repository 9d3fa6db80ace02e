"""Launch, cancel, enable, hold: each once, on the record before it happens, and only where nothing stands against it."""

import dataclasses
import threading
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from cath_dagster.core.ports.orchestrator import (
    NONCE_TAG,
    PARTITION_TAG,
    OrchestratorError,
    OrchestratorUnavailableError,
)
from cath_dagster.web import control
from tests.web.world import ROOT, World

JOB = "/api/v1/jobs/cath/clear_audit"
RUNS = f"{JOB}/runs"


def launch(world: World, path: str = RUNS, *, key: str | None = None, **body: Any) -> httpx2.Response:
    return world.ask("POST", path, json=body, headers={"Idempotency-Key": key} if key else {})


def test_a_run_is_launched_with_its_settings_and_a_reference_time_and_is_on_record_before(world: World) -> None:
    seen: list[list[tuple[str, str]]] = []
    world.orchestrator.on_launch = lambda *_: seen.append(world.audit())

    answer = launch(world, parameters={"audit_log_retention_days": 30, "undo_days": 0}, max_rows=5, reason="as asked")

    assert answer.status_code == 202
    (launched,) = world.orchestrator.launched
    run_id = launched["run_id"]
    assert answer.json() == {"run_id": run_id, "url": f"/api/v1/runs/{run_id}"}
    assert answer.headers["location"] == f"/api/v1/runs/{run_id}"
    assert launched["config"] == {
        "audit_log_retention_days": 30, "undo_days": 0, "max_rows": 5, "as_of": world.now.isoformat(),
    }  # fmt: skip
    assert seen == [[("run", "requested")]]
    assert world.audit() == [("run", "requested"), ("run", "launched")]
    before, after = world.ask("GET", "/api/v1/audit").json()["items"][::-1]
    assert (before["actor"], before["reason"], before["location"], before["job"]) == (
        "ada",
        "as asked",
        "cath",
        "clear_audit",
    )
    assert (before["run_id"], after["run_id"]) == (None, run_id)
    nonce = world.instance.value("SELECT nonce FROM operations.audit_log WHERE result = 'requested'")
    assert launched["tags"] == {NONCE_TAG: nonce}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"parameters": {"audit_log_retention_days": -1}}, "audit_log_retention_days is -1"),
        ({"parameters": {"audit_log_retention_days": "'; DROP TABLE x; --"}}, "audit_log_retention_days is"),
        ({"parameters": {"retention": 1}}, "no parameter retention; it knows"),
        ({"parameters": {"allow_large": True}}, "allow_large is not taken here"),
        ({"parameters": {"dry_run": True}}, "no parameter dry_run"),
        ({"allow_large": True}, "allow_large"),
        ({"as_of": "2999-01-01T00:00:00Z"}, "in the future"),
        ({"as_of": "2026-11-01T00:00:00"}, "as_of"),
        ({"as_of": "0001-01-01T00:00:00+23:59"}, "outside of the calendar"),
        ({"as_of": "9999-12-31T23:59:59-23:59"}, "outside of the calendar"),
        ({"max_rows": -1}, "max_rows"),
        ({"partition": "2026-11-02"}, "has no partitions"),
        ({"parameters": {"pace": "a\x00b"}}, "no NUL"),
    ],
)
def test_what_no_run_would_take_is_refused_by_name_before_anything_happens(
    world: World, body: dict[str, Any], says: str
) -> None:
    answer = launch(world, **body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert world.orchestrator.launched == []
    assert world.audit() == []


def test_a_click_ten_times_launches_one_run_and_every_answer_names_it(world: World) -> None:
    barrier = threading.Barrier(10)
    answers: list[httpx2.Response] = []

    def click() -> None:
        barrier.wait()
        answers.append(launch(world, key="click-1"))

    clicks = [threading.Thread(target=click) for _ in range(10)]
    for each in clicks:
        each.start()
    for each in clicks:
        each.join()

    assert [answer.status_code for answer in answers] == [202] * 10
    assert len(world.orchestrator.launched) == 1
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    assert world.audit() == [("run", "requested"), ("run", "launched")]


def test_ten_consoles_at_once_launch_one_run_and_nine_are_told_which(world: World) -> None:
    barrier = threading.Barrier(6)
    answers: list[httpx2.Response] = []

    def ask() -> None:
        barrier.wait()
        answers.append(launch(world))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(answer.status_code for answer in answers) == [202, *[409] * 5]
    (launched,) = world.orchestrator.launched
    assert {answer.json()["run_id"] for answer in answers} == {launched["run_id"]}


def test_a_key_is_of_one_request_of_one_person(world: World) -> None:
    first = launch(world, key="k").json()["run_id"]

    assert launch(world, key="k", max_rows=1).status_code == 422
    assert launch(world, key="k", as_of="2026-11-20T01:00:00Z").status_code == 422
    assert world.ask("POST", RUNS, user="bob", json={}, headers={"Idempotency-Key": "k"}).status_code == 409
    # Once it has ended, the key still stands for that run, and another one for a new run.
    world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS'")
    assert launch(world, key="k").json()["run_id"] == first
    assert launch(world, key="l").json()["run_id"] != first


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_run_that_goes_on_outside_dagster_stands_in_the_way_as_well(world: World, dry_run: bool) -> None:
    going = world.add_history(status="running", trigger="cli")

    answer = launch(world, dry_run=dry_run)

    assert (answer.status_code, answer.json()["run_id"]) == (409, going)
    assert launch(world, "/api/v1/jobs/cath/subscriptions/runs").status_code == 202


def test_an_answer_that_is_lost_is_no_second_run(world: World) -> None:
    world.orchestrator.error = OrchestratorUnavailableError("gone")
    world.orchestrator.loses_answers = True

    answer = launch(world, key="k")

    assert answer.status_code == 202
    assert answer.json()["run_id"] == world.orchestrator.launched[0]["run_id"]


@pytest.mark.parametrize(
    ("error", "status", "result"),
    [
        (OrchestratorError("no such job"), 502, "failed: "),
        # It may have been launched all the same.
        (OrchestratorUnavailableError("gone"), 503, "unknown: "),
    ],
)
def test_a_launch_that_fails_says_so_and_may_be_repeated_with_its_key(
    world: World, error: OrchestratorError, status: int, result: str
) -> None:
    world.orchestrator.error = error
    assert launch(world, key="k").status_code == status
    assert world.audit()[-1][1].startswith(result)

    world.orchestrator.error = None
    assert launch(world, key="k").status_code == 202
    # No lock was left behind, and none is waited for.
    here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    assert world.instance.count("pg_locks", f"locktype = 'advisory' AND {here}") == 0


def test_a_kill_between_dagster_s_answer_and_ours_is_no_second_run(world: World) -> None:
    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    world.orchestrator.on_launch = die
    spec = world.console.specs["cath/clear_audit"]
    order = control.Order(spec=spec, config={"as_of": world.now.isoformat()}, key="k")
    with pytest.raises(KeyboardInterrupt):
        control.launch(world.console, dataclasses.replace(ROOT, actor="ada"), order)
    world.orchestrator.on_launch = None
    assert world.audit() == [("run", "requested")]

    answer = launch(world, key="k")

    assert answer.status_code == 202
    assert answer.json()["run_id"] == world.orchestrator.launched[0]["run_id"]
    assert len(world.orchestrator.launched) == 1
    # The log gets what was not written then, once.
    assert launch(world, key="k").status_code == 202
    assert world.audit() == [("run", "requested"), ("run", "launched")]


def test_a_run_that_is_asked_for_again_is_known_by_what_it_was_told_the_last_time(world: World) -> None:
    world.orchestrator.error = OrchestratorUnavailableError("gone")
    launch(world, f"{JOB}/plan", key="k")
    world.later(timedelta(hours=1))
    world.orchestrator.error = None
    run_id = launch(world, f"{JOB}/plan", key="k").json()["run_id"]
    (planned,) = world.orchestrator.launched
    world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS'")
    nonce, outcomes = planned["tags"][NONCE_TAG], [{"target": "audit_log", "matched": 1}]
    world.add_history(run_id=run_id, dry_run=True, parameters=planned["config"], nonce=nonce, outcomes=outcomes)

    assert launch(world, plan=run_id).status_code == 202
    assert world.orchestrator.launched[1]["config"]["as_of"] == planned["config"]["as_of"] == world.now.isoformat()


def test_launches_that_wait_for_a_web_server_that_hangs_leave_connections_for_all_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "BUSY_SECONDS", 0.01)
    while world.console.launching.acquire(blocking=False):
        pass

    answer = launch(world)

    assert (answer.status_code, "try again" in answer.json()["detail"]) == (503, True)
    assert world.audit() == []
    assert world.ask("GET", "/api/v1/jobs").status_code == 200


def test_a_client_s_key_is_none_of_ours(world: World) -> None:
    assert launch(world, key="look 1 2").status_code == 422


def test_a_plan_is_a_dry_run_and_exactly_that_takes_its_settings_its_time_and_its_counts(world: World) -> None:
    answer = launch(world, f"{JOB}/plan", parameters={"audit_log_retention_days": 60})
    (planned,) = world.orchestrator.launched
    assert planned["config"]["dry_run"] is True
    outcomes = [{"target": "audit_log", "matched": 40}, {"target": "ingestion_log", "matched": 2}]
    run_id = answer.json()["run_id"]
    world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS'")
    world.add_history(run_id=run_id, dry_run=True, parameters=planned["config"], outcomes=outcomes)
    world.later(timedelta(minutes=5))

    assert launch(world, plan=run_id, max_rows=3).status_code == 422
    assert launch(world, plan="unknown").status_code == 404
    assert launch(world, "/api/v1/jobs/cath/subscriptions/runs", plan=run_id).status_code == 404
    exactly = launch(world, plan=run_id)

    assert exactly.status_code == 202
    assert world.orchestrator.launched[1]["config"] == {
        "audit_log_retention_days": 60,
        "as_of": planned["config"]["as_of"],
        "max_rows": 42,
    }


def test_only_a_dry_run_that_succeeded_is_a_plan(world: World) -> None:
    real = world.add_history()
    failed = world.add_history(dry_run=True, status="failed")

    assert [launch(world, plan=run_id).status_code for run_id in (real, failed)] == [409, 409]


def test_a_job_with_partitions_runs_the_one_that_is_named_else_the_last_that_ended(world: World) -> None:
    path = "/api/v1/jobs/cath/media_reporting/runs"
    assert launch(world, path, partition="2026-11-03").status_code == 422
    launch(world, path, partition="2026-11-02")
    world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS'")
    launch(world, path)

    named, default = (each["tags"][PARTITION_TAG] for each in world.orchestrator.launched)
    assert named == "2026-11-02"
    assert default > named


def test_enabled_is_dagster_s_own_state_and_shown_at_once(world: World) -> None:
    world.add_job("clear_audit", enabled=True, next_run_at=world.now)

    answer = world.ask("PUT", f"{JOB}/enabled", json={"enabled": False, "reason": "incident"})

    assert (answer.status_code, answer.json()["enabled"], answer.json()["next_run_at"]) == (200, False, None)
    assert world.orchestrator.toggled == [("cath", "clear_audit_cron", False, False)]
    assert world.audit() == [("disable", "requested"), ("disable", "done")]
    again = world.ask("PUT", f"{JOB}/enabled", json={"enabled": True}).json()
    assert again["enabled"] is True
    assert again["next_run_at"] > world.now.isoformat()
    # A disabled job may be run by hand.
    assert launch(world).status_code == 202


def test_a_job_without_a_schedule_is_neither_enabled_nor_disabled(world: World) -> None:
    path = "/api/v1/jobs/cloudmake/run_migrations"

    assert world.ask("GET", path).json()["enabled"] is None
    assert world.ask("PUT", f"{path}/enabled", json={"enabled": True}).status_code == 409
    assert world.orchestrator.toggled == []


def test_what_dagster_does_not_do_is_on_record_and_not_shown_as_done(world: World) -> None:
    world.add_job("clear_audit", enabled=True)
    going = world.add_history(status="running", run_id="going")
    for error, status, result in (
        (OrchestratorError("no"), 409, "failed: no"),
        (OrchestratorUnavailableError("gone"), 503, "unknown: gone"),
    ):
        world.orchestrator.error = error
        assert world.ask("PUT", f"{JOB}/enabled", json={"enabled": False}).status_code == status
        assert world.ask("DELETE", f"/api/v1/runs/{going}").status_code == status
        assert [entry[1] for entry in world.audit()[-4:]] == ["requested", result] * 2

    assert world.ask("GET", JOB).json()["enabled"] is True
    world.orchestrator.error = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        control.cancel(world.console, ROOT, "cath", "clear_audit", going, None)
    assert world.audit()[-1] == ("cancel", "unknown: interrupted")


def test_a_run_that_goes_is_cancelled_and_one_that_has_ended_is_not(world: World) -> None:
    going, ended = world.add_history(status="running", run_id="going"), world.add_history()
    queued = launch(world, "/api/v1/jobs/cath/subscriptions/runs").json()["run_id"]

    assert world.ask("DELETE", f"/api/v1/runs/{going}?reason=why").status_code == 202
    assert world.ask("DELETE", f"/api/v1/runs/{queued}").status_code == 202
    assert world.ask("DELETE", f"/api/v1/runs/{ended}").status_code == 409
    assert world.ask("DELETE", "/api/v1/runs/unknown").status_code == 404
    assert world.orchestrator.cancelled == [going, queued]


def test_a_held_job_is_not_run_by_hand_shows_why_and_is_let_go_by_itself(world: World) -> None:
    until = world.now + timedelta(hours=2)
    held = world.ask("PUT", f"{JOB}/hold", json={"reason": "incident 7", "until": until.isoformat()})
    assert held.status_code == 200

    assert world.ask("GET", JOB).json()["hold"]["reason"] == "incident 7"
    listed = {job["name"]: job for job in world.ask("GET", "/api/v1/jobs?location=cath").json()["items"]}
    assert listed["clear_audit"]["hold"]["held_by"] == "ada"
    refused = launch(world)
    assert refused.status_code == 409
    assert "incident 7" in refused.json()["detail"]
    assert launch(world, f"{JOB}/plan").status_code == 202
    world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS'")
    # Enabling is another thing, and lifts nothing.
    world.ask("PUT", f"{JOB}/enabled", json={"enabled": True})
    assert launch(world).status_code == 409
    world.later(timedelta(hours=2))
    assert launch(world).status_code == 202


def test_a_hold_ends_in_the_future_and_within_ninety_days_and_can_be_lifted(world: World) -> None:
    def put(by: timedelta) -> int:
        return world.ask("PUT", f"{JOB}/hold", json={"reason": "r", "until": (world.now + by).isoformat()}).status_code

    assert [put(timedelta()), put(timedelta(days=91)), put(timedelta(days=90))] == [422, 422, 200]
    assert world.ask("DELETE", f"{JOB}/hold").status_code == 200
    assert world.ask("DELETE", f"{JOB}/hold").status_code == 404
    assert launch(world).status_code == 202
    assert world.audit()[:2] == [("hold", "held"), ("release", "released")]


def test_only_a_job_whose_code_is_gone_is_forgotten(world: World) -> None:
    world.add_history("gone")
    world.add_job("clear_audit")
    assert world.ask("DELETE", "/api/v1/jobs/cath/gone").status_code == 404
    world.instance.connection.execute("UPDATE operations.scheduled_job SET registered = false")

    assert world.ask("DELETE", JOB).status_code == 409
    assert world.ask("DELETE", "/api/v1/jobs/cath/gone").status_code == 204
    assert world.instance.count("operations.scheduled_job_history") == 0
