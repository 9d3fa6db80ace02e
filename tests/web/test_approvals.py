"""Two pairs of eyes: what one person asks for another approves, and then exactly that run, once."""

import dataclasses
import re
import threading
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from dagster import DagsterRunStatus

from cath_dagster.core.ports.orchestrator import NONCE_TAG, OrchestratorUnavailableError
from cath_dagster.web import approvals, audit
from cath_dagster.web.app import create_app
from cath_dagster.web.rights import Kind, Principal, Role
from cath_dagster.web.sessions import FORM_FIELD
from tests.web.approving import PATH, REASON, SHOWN, decide, looks_find, request
from tests.web.world import PROXY, ROOT, World, client_of


@pytest.fixture
def refused(world: World) -> str:
    """Return a run that the blast-radius guard refused."""
    parameters = {"audit_log_retention_days": 30, "as_of": "2026-11-28T01:00:00+00:00"}
    return world.add_history(status="refused", parameters=parameters, outcomes=SHOWN)


def test_a_refused_run_is_requested_by_one_and_launched_by_another_exactly_as_it_was_shown(
    world: World, refused: str
) -> None:
    looks_find(world, SHOWN)
    requested = request(world, refused)
    assert requested.status_code == 201
    shown = requested.json()
    assert requested.headers["location"] == f"{PATH}/{shown['id']}"
    assert (shown["status"], shown["counts"]) == ("pending", {"audit_log": 20_009, "ingestion_log": 5})

    approved = decide(world, shown["id"])

    assert approved.status_code == 200
    look, run = world.orchestrator.launched
    told = {"audit_log_retention_days": 30, "as_of": "2026-11-28T01:00:00+00:00"}
    assert look["config"] == told | {"dry_run": True}
    assert run["config"] == told | {"allow_large": True}
    answer = approved.json()
    assert (answer["status"], answer["decided_by"], answer["approved_run_id"]) == ("approved", "bob", run["run_id"])
    done = [entry for entry in world.audit() if entry[0] != "run"]
    assert done == [("request", "pending"), ("approve", "approved")]
    # It is used up, whatever became of the run.
    world.instance.connection.execute("UPDATE runs SET status = 'FAILURE'")
    assert decide(world, shown["id"], user="cleo").status_code == 409
    assert len(world.orchestrator.launched) == 2


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([{"target": "audit_log", "matched": 22_009}, {"target": "ingestion_log", "matched": 5}], "approved"),
        ([{"target": "audit_log", "matched": 22_010}, {"target": "ingestion_log", "matched": 5}], "refused"),
        ([{"target": "audit_log", "matched": 20_009}, {"target": "ingestion_log", "matched": 6}], "refused"),
        ([{"target": "audit_log", "matched": 1}, {"target": "users", "matched": 1}], "refused"),
        ([], "approved"),
    ],
    ids=["a tenth more", "one above that", "a tenth of five is none", "what was not shown", "nothing left"],
)
def test_a_tenth_more_than_was_shown_may_match_rounded_down_and_no_row_more(
    world: World, refused: str, found: list[dict[str, Any]], status: str
) -> None:
    looks_find(world, found)
    approval_id = request(world, refused).json()["id"]

    answer = decide(world, approval_id)

    assert answer.status_code == (200 if status == "approved" else 409)
    assert world.ask("GET", f"{PATH}/{approval_id}").json()["status"] == status
    launched = [each for each in world.orchestrator.launched if "dry_run" not in each["config"]]
    assert len(launched) == (1 if status == "approved" else 0)


def test_nobody_decides_his_own_request_nor_with_too_low_a_role_nor_by_a_token(world: World, refused: str) -> None:
    approval_id = request(world, refused, groups="cath-admin").json()["id"]
    bearer = {"Authorization": f"Bearer {world.token(Role.ADMIN)}"}

    for how in ("approve", "reject"):
        assert decide(world, approval_id, how, user="ada", groups="all-admin").status_code == 403
        assert decide(world, approval_id, how, groups="cath-operator").status_code == 403
        assert decide(world, approval_id, how, groups="bon-approver").status_code == 403
        answer = world.stranger.post(f"{PATH}/{approval_id}/{how}", json=REASON, headers=bearer)
        assert answer.status_code == 403
    assert world.ask("GET", f"{PATH}/{approval_id}").json()["status"] == "pending"
    assert world.orchestrator.launched == []


def test_what_is_decided_or_expired_is_decided_no_more(world: World, refused: str) -> None:
    rejected = request(world, refused).json()["id"]
    assert decide(world, rejected, "reject").json()["status"] == "rejected"
    assert [decide(world, rejected, how).status_code for how in ("approve", "reject")] == [409, 409]

    expired = request(world, refused).json()["id"]
    world.later(timedelta(hours=24))
    assert [decide(world, expired, how).status_code for how in ("approve", "reject")] == [409, 409]
    assert world.ask("GET", f"{PATH}/{expired}").json()["status"] == "expired"
    assert [each["id"] for each in world.ask("GET", f"{PATH}?status=expired").json()["items"]] == [expired]
    assert decide(world, "unknown").status_code == 404
    assert world.orchestrator.launched == []


def test_what_was_not_shown_to_anybody_cannot_be_requested(world: World, refused: str) -> None:
    done = world.add_history(outcomes=SHOWN)
    failed = world.add_history(status="failed", dry_run=True, outcomes=SHOWN)
    blind = world.add_history(status="refused", outcomes=[])
    shown = world.add_history("subscriptions", dry_run=True, outcomes=SHOWN)

    statuses = [request(world, run_id).status_code for run_id in (done, failed, blind, "unknown", shown, refused)]

    assert statuses == [409, 409, 422, 404, 201, 201]
    assert request(world, refused, user="cleo").status_code == 409


def test_two_who_approve_at_once_launch_one_run(world: World, refused: str) -> None:
    looks_find(world, SHOWN)
    approval_id = request(world, refused).json()["id"]
    barrier = threading.Barrier(2)
    statuses: list[int] = []

    def work(user: str) -> None:
        barrier.wait()
        statuses.append(decide(world, approval_id, user=user).status_code)

    threads = [threading.Thread(target=work, args=[user]) for user in ("bob", "cleo")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sorted(statuses) == [200, 409]
    assert len([each for each in world.orchestrator.launched if "allow_large" in each["config"]]) == 1


@pytest.mark.parametrize("ended", ["failed", "refused"])
def test_a_look_that_does_not_end_well_launches_nothing_and_decides_nothing(
    world: World, refused: str, ended: str
) -> None:
    looks_find(world, SHOWN, status=ended)
    approval_id = request(world, refused).json()["id"]

    assert decide(world, approval_id).status_code == 409
    assert world.ask("GET", f"{PATH}/{approval_id}").json()["status"] == "pending"


def test_a_look_that_does_not_end_in_time_decides_nothing(
    world: World, refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = [0.0]
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        at[0] += approvals.LOOK_SECONDS / 3

    waiting = approvals.Waiting(sleep=sleep, clock=lambda: at[0])
    monkeypatch.setattr(approvals, "Waiting", lambda: waiting)
    approval_id = request(world, refused).json()["id"]

    assert decide(world, approval_id).status_code == 503
    assert len(waits) == 4
    assert world.ask("GET", f"{PATH}/{approval_id}").json()["status"] == "pending"


def test_an_approval_whose_run_dagster_does_not_launch_can_be_given_again(world: World, refused: str) -> None:
    looks_find(world, SHOWN)
    end = world.orchestrator.on_launch
    approval_id = request(world, refused).json()["id"]

    def end_and_vanish(run_id: str, config: dict[str, Any]) -> None:
        end(run_id, config)
        world.orchestrator.error = OrchestratorUnavailableError("gone")

    world.orchestrator.on_launch = end_and_vanish
    # The look is launched and its answer lost; then Dagster is gone.
    assert decide(world, approval_id).status_code == 503
    assert world.ask("GET", f"{PATH}/{approval_id}").json()["status"] == "pending"

    world.orchestrator.error, world.orchestrator.on_launch = None, end
    assert decide(world, approval_id).status_code == 200
    assert len([each for each in world.orchestrator.launched if "allow_large" in each["config"]]) == 1


def test_a_text_that_only_the_audit_log_has_is_taken_from_there_and_none_is_made_up(world: World) -> None:
    told = {"undo_days": 7, "archive_personal_data_because": "the auditors asked for it, case 9"}
    planned = world.ask("POST", "/api/v1/jobs/cath/clear_audit/plan", json={"parameters": told}).json()["run_id"]
    world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS'")
    (look,) = world.orchestrator.launched
    masked = {**look["config"], "archive_personal_data_because": "(text of 33 characters)"}
    nonce = look["tags"]["cath_dagster/nonce"]
    world.add_history(run_id=planned, dry_run=True, parameters=masked, nonce=nonce, outcomes=SHOWN)
    elsewhere = world.add_history(status="refused", parameters=masked, outcomes=SHOWN)
    with world.console.engine.begin() as connection:
        # The command line keeps as little in the audit log as the history has.
        subject = audit.Subject("cath", "clear_audit")
        audit.append(connection, ROOT, "run", subject, nonce="of-cli", parameters=masked, result=audit.REQUESTED)
    by_cli = world.add_history(dry_run=True, nonce="of-cli", parameters=masked, outcomes=SHOWN)

    assert request(world, planned).json()["parameters"] == told
    part = world.add_history(dry_run=True, parameters={"selection": ["location"]}, outcomes=SHOWN)
    assert [request(world, run_id).status_code for run_id in (elsewhere, by_cli, part)] == [422, 422, 422]
    assert world.ask("POST", "/api/v1/jobs/cath/clear_audit/runs", json={"plan": part}).status_code == 422
    exactly = world.ask("POST", "/api/v1/jobs/cath/clear_audit/runs", json={"plan": planned})
    assert exactly.status_code == 202
    assert (
        world.orchestrator.launched[1]["config"]["archive_personal_data_because"]
        == told["archive_personal_data_because"]
    )


@pytest.mark.parametrize("is_launched", [False, True], ids=["before Dagster was asked", "before its answer was kept"])
def test_an_approval_whose_console_is_killed_is_given_again_and_stands_for_one_run(
    world: World, refused: str, monkeypatch: pytest.MonkeyPatch, is_launched: bool
) -> None:
    looks_find(world, SHOWN)
    launch = world.orchestrator.launch
    approval_id = request(world, refused).json()["id"]

    def die(location: str, job: str, **told: Any) -> str:
        is_look = "dry_run" in told["config"]
        run_id = launch(location, job, **told) if is_look or is_launched else ""
        if not is_look:
            raise KeyboardInterrupt
        return run_id

    bob = Principal(actor="bob", kind=Kind.PERSON, roles={"cath": Role.APPROVER})
    with monkeypatch.context() as patched:
        patched.setattr(world.orchestrator, "launch", die)
        with pytest.raises(KeyboardInterrupt):
            approvals.approve(world.console, bob, approval_id, None)
    lost = world.ask("GET", f"{PATH}/{approval_id}").json()
    assert (lost["status"], lost["approved_run_id"]) == ("approved", None)
    assert "Approve it again" in world.ask("GET", "/approvals", user="cleo", groups="cath-approver").text

    # Rejected it can be no more, and the one who asked cannot go on with it himself.
    assert decide(world, approval_id, "reject", user="cleo").status_code == 409
    assert decide(world, approval_id, user="ada").status_code == 403
    again = decide(world, approval_id, user="cleo")

    (run,) = (each for each in world.orchestrator.launched if "allow_large" in each["config"])
    assert (again.status_code, again.json()["approved_run_id"]) == (200, run["run_id"])
    assert decide(world, approval_id).status_code == 409


def test_an_approved_run_that_dagster_launches_after_all_is_launched_once(world: World, refused: str) -> None:
    looks_find(world, SHOWN)
    end = world.orchestrator.on_launch
    approval_id = request(world, refused).json()["id"]

    def end_and_hang(run_id: str, config: dict[str, Any]) -> None:
        end(run_id, config)
        world.orchestrator.error = OrchestratorUnavailableError("slow") if config.get("dry_run") else None
        world.orchestrator.loses_answers = False

    world.orchestrator.on_launch = end_and_hang
    world.orchestrator.error, world.orchestrator.loses_answers = OrchestratorUnavailableError("slow"), True
    assert decide(world, approval_id).status_code == 503
    world.orchestrator.error, world.orchestrator.on_launch = None, end
    nonce = world.instance.value("SELECT nonce FROM operations.audit_log ORDER BY sequence DESC LIMIT 1")
    late = world.instance.add_run(
        "clear_audit", DagsterRunStatus.SUCCESS, location="cath", tags={NONCE_TAG: str(nonce)}, events=0
    )

    assert decide(world, approval_id, "reject", user="cleo").json()["run_id"] == late
    assert decide(world, approval_id, user="cleo").json()["approved_run_id"] == late
    assert [each["config"].get("dry_run") for each in world.orchestrator.launched] == [True]


@pytest.mark.parametrize(("minutes", "looks"), [(9, 1), (10, 2)])
def test_a_look_counts_for_ten_minutes_and_then_another_one_is_made(
    world: World, refused: str, minutes: int, looks: int
) -> None:
    looks_find(world, SHOWN)
    end = world.orchestrator.on_launch
    approval_id = request(world, refused).json()["id"]
    world.orchestrator.error, world.orchestrator.loses_answers = OrchestratorUnavailableError("gone"), True

    def end_and_vanish(run_id: str, config: dict[str, Any]) -> None:
        end(run_id, config)
        world.orchestrator.loses_answers = False

    world.orchestrator.on_launch = end_and_vanish
    assert decide(world, approval_id).status_code == 503
    world.orchestrator.error, world.orchestrator.on_launch = None, end
    ended = world.now - timedelta(minutes=minutes)
    world.instance.connection.execute(
        "UPDATE operations.scheduled_job_history SET completed_at = %s WHERE dry_run", [ended]
    )

    assert decide(world, approval_id).status_code == 200
    assert len([each for each in world.orchestrator.launched if each["config"].get("dry_run")]) == looks


def test_nobody_decides_what_his_own_token_asked_for_nor_under_another_spelling(world: World, refused: str) -> None:
    def bearer(made: httpx2.Response) -> dict[str, str]:
        return {"Authorization": f"Bearer {made.json()['token']}"}

    body = {"name": "first", "role": "admin", "locations": ["cath"]}
    first = bearer(world.ask("POST", "/api/v1/tokens", user="Ada", json=body))
    second = bearer(world.stranger.post("/api/v1/tokens", json=body | {"name": "second"}, headers=first))
    asked = world.stranger.post(PATH, json={"run_id": refused, **REASON}, headers=second).json()
    assert asked["requested_by"] == "token:second"

    assert decide(world, asked["id"], user="ada").status_code == 403
    assert decide(world, asked["id"], "reject", user="ada").status_code == 403
    assert decide(world, asked["id"], "reject").status_code == 200


def test_a_job_that_needs_approval_goes_from_plan_to_request_to_another_s_yes_and_by_no_other_way(world: World) -> None:
    job = "/api/v1/jobs/cath/clear_audit"
    spec = dataclasses.replace(world.console.specs["cath/clear_audit"], needs_approval=True)
    needing = dataclasses.replace(world.console, specs={**world.console.specs, spec.key: spec})
    world = dataclasses.replace(world, console=needing, proxy=client_of(create_app(needing), PROXY))
    looks_find(world, SHOWN)
    assert world.ask("GET", job).json()["needs_approval"] is True

    settings = {"parameters": {"audit_log_retention_days": 30}}
    planned = world.ask("POST", f"{job}/plan", json=settings).json()["run_id"]
    # Nobody is shown a way around: not alone, not by its plan, not by an admin, not by the form.
    alone = [world.ask("POST", f"{job}/runs", json=body).status_code for body in (settings, {"plan": planned})]
    page = world.ask("GET", f"/runs/{planned}", headers={"Accept": "text/html"}).text
    token = re.search(rf'name="{FORM_FIELD}" value="([^"]+)"', page)
    assert token is not None
    by_form = world.ask("POST", "/jobs/cath/clear_audit/run", data={FORM_FIELD: token[1], "plan": planned})
    assert [*alone, by_form.status_code] == [409, 409, 409]
    assert ('/run"' in page, '/request"' in page) == (False, True)
    assert [each["config"].get("dry_run") for each in world.orchestrator.launched] == [True]

    requested = request(world, planned)
    assert requested.json()["counts"] == {"audit_log": 20_009, "ingestion_log": 5}
    assert decide(world, requested.json()["id"], user="ada").status_code == 403
    approved = decide(world, requested.json()["id"])

    assert approved.status_code == 200
    shown, look, run = world.orchestrator.launched
    assert (approved.json()["approved_run_id"], look["config"]) == (run["run_id"], shown["config"])
    as_shown = {name: value for name, value in shown["config"].items() if name != "dry_run"}
    assert run["config"] == as_shown | {"allow_large": True}
