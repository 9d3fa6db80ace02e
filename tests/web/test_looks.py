"""What the API shows: jobs, runs page by page, what is going, what comes, and what it says when it does not know."""

import asyncio
import base64
import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus

from cath_dagster.adapters.postgres import open_pool
from cath_dagster.core.ports.orchestrator import OrchestratorUnavailableError
from cath_dagster.web.api import events
from cath_dagster.web.api.events import LATE, Watch
from cath_dagster.web.app import create_app
from cath_dagster.web.console import Console
from cath_dagster.web.rights import Role
from cath_dagster.web.shield import MAX_BODY
from tests.support.inventory import inventory
from tests.web.world import PROXY, SETTINGS, FakeOrchestrator, World, client_of

HOUR = timedelta(hours=1)


def get(world: World, path: str, groups: str = "all-viewer") -> Any:
    answer = world.ask("GET", path, groups=groups)
    assert answer.status_code == 200, answer.text
    return answer.json()


def names(world: World, query: str) -> list[str]:
    return [job["name"] for job in get(world, f"/api/v1/jobs?{query}")["items"]]


def test_lists_every_job_of_the_registry_before_any_has_run(world: World) -> None:
    listed = get(world, "/api/v1/jobs")

    assert {job["name"] for job in listed["items"]} == set(inventory())
    assert (listed["next_cursor"], listed["scheduling"]) == (None, "running")
    cleared = next(job for job in listed["items"] if job["name"] == "clear_audit")
    assert (cleared["schedule"], cleared["timezone"], cleared["enabled"]) == ("0 1 * * *", "UTC", True)
    assert cleared["next_run_at"] > world.now.isoformat()
    assert (cleared["total_runs"], cleared["last_status"], cleared["hold"]) == (0, None, None)


def test_jobs_are_filtered_sorted_and_paged(world: World) -> None:
    world.add_job("clear_audit", last_status="failed", last_run_at=world.now - HOUR, enabled=False)
    world.add_job("subscriptions", last_status="success", last_run_at=world.now)
    world.add_job("session_cleanup", "bon", last_status="failed", last_run_at=world.now - 2 * HOUR)
    world.add_job("vanished", registered=False, total_runs=7)
    going = world.add_history("refresh_views", status="running")

    assert names(world, "status=failed") == ["clear_audit", "session_cleanup"]
    assert names(world, "status=failed&location=bon") == ["session_cleanup"]
    assert names(world, "status=running") == ["refresh_views"]
    assert names(world, "enabled=false&location=cath") == ["clear_audit"]
    assert names(world, "sort=-last_run_at")[:3] == ["subscriptions", "clear_audit", "session_cleanup"]
    assert names(world, "location=cath")[-1] == "vanished"
    assert get(world, "/api/v1/jobs/cath/refresh_views")["running_run_id"] == going
    seen, cursor = [], ""
    while cursor is not None:
        page = get(world, f"/api/v1/jobs?limit=4{f'&cursor={quote(cursor)}' if cursor else ''}")
        seen += [f"{job['location']}/{job['name']}" for job in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen)) == len(inventory()) + 1


def test_what_the_daemon_has_not_written_down_yet_the_calendar_knows_and_where_nothing_ticks_nothing_comes_next(
    world: World,
) -> None:
    world.add_job("clear_audit", enabled=True)
    world.add_job("subscriptions", enabled=True, next_run_at=world.now - HOUR)
    world.add_job("refresh_views", enabled=False)
    following = {job["name"]: job["next_run_at"] for job in get(world, "/api/v1/jobs?location=cath")["items"]}
    assert min(following["clear_audit"], following["subscriptions"]) > world.now.isoformat()
    assert following["refresh_views"] is None

    stopped = dataclasses.replace(world.console, settings=dataclasses.replace(SETTINGS, is_scheduling=False))
    headers = {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "all-viewer"}
    listed = client_of(create_app(stopped), PROXY).get("/api/v1/jobs", headers=headers).json()
    assert (listed["scheduling"], {job["next_run_at"] for job in listed["items"]}) == ("stopped", {None})
    assert listed["items"][0]["enabled"] is True


def test_a_job_is_shown_with_the_schema_of_its_parameters_and_its_last_runs(world: World) -> None:
    for number in range(35):
        world.add_history(started_at=world.now - number * HOUR, status="failed" if number == 3 else "success")
    world.add_history(run_id=None, status="skipped", error="another goes on", skipped_ticks=4)

    shown = get(world, "/api/v1/jobs/cath/clear_audit")

    assert len(shown["recent_runs"]) == 30
    assert [run["status"] for run in shown["recent_runs"][:5]] == ["success"] * 3 + ["failed", "success"]
    schema = shown["parameters_schema"]
    assert schema["additionalProperties"] is False
    assert "days" in schema["properties"]["audit_log_retention_days"]["description"].lower()
    assert world.ask("GET", "/api/v1/jobs/cath/nothing").status_code == 404


def test_runs_are_paged_by_a_cursor_that_new_runs_do_not_shift(world: World) -> None:
    # Several at one instant, too.
    ids = [world.add_history(started_at=world.now - (number // 3) * HOUR) for number in range(10)]
    first = get(world, "/api/v1/runs?limit=4")
    world.add_history(started_at=world.now + HOUR)

    seen, cursor = [run["run_id"] for run in first["items"]], first["next_cursor"]
    while cursor:
        page = get(world, f"/api/v1/runs?limit=4&cursor={cursor}")
        seen += [run["run_id"] for run in page["items"]]
        cursor = page["next_cursor"]

    assert sorted(seen) == sorted(ids)
    for wrong in ("x", "e30", "bm8", "WzEsMl0", "%00"):
        assert world.ask("GET", f"/api/v1/runs?cursor={wrong}").status_code == 422


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_cursor_outside_of_the_calendar_is_none_of_ours(world: World, at: str) -> None:
    cursor = base64.urlsafe_b64encode(json.dumps([at, 1]).encode()).decode().rstrip("=")

    assert world.ask("GET", f"/api/v1/runs?cursor={cursor}").status_code == 422
    assert world.ask("GET", "/api/v1/runs", params={"after": at, "before": at}).status_code == 200


def test_runs_are_found_by_what_they_were(world: World) -> None:
    by_ada = world.add_history(trigger="api", actor="ada", started_at=world.now - 3 * HOUR)
    failed = world.add_history("subscriptions", status="failed", error="why", started_at=world.now - 2 * HOUR)
    elsewhere = world.add_history("session_cleanup", location="bon", started_at=world.now - HOUR)
    at = quote((world.now - 2 * HOUR).isoformat())

    def found(query: str) -> list[str]:
        return [run["run_id"] for run in get(world, f"/api/v1/runs?{query}")["items"]]

    assert found("actor=ada") == found("trigger=api") == [by_ada]
    assert found("status=failed") == found("location=cath&job=subscriptions") == [failed]
    assert found("location=bon") == [elsewhere]
    assert found(f"after={at}") == [elsewhere, failed]
    assert found(f"before={at}") == [by_ada]
    assert world.ask("GET", "/api/v1/runs?status=sad").status_code == 422


def test_a_run_is_shown_with_its_attempts_and_one_that_waits_as_queued(world: World) -> None:
    run_id = world.add_history(status="failed", error="<script>alert(1)</script>", attempt=1)
    world.add_history(run_id=run_id, attempt=2, outcomes=[{"target": "audit_log", "matched": 3}])
    queued = world.instance.add_run("subscriptions", DagsterRunStatus.QUEUED, events=0)

    shown = get(world, f"/api/v1/runs/{run_id}")
    waits = get(world, f"/api/v1/runs/{queued}")

    assert (shown["attempt"], shown["status"], [each["attempt"] for each in shown["attempts"]]) == (
        2,
        "success",
        [2, 1],
    )
    assert shown["attempts"][1]["error"] == "<script>alert(1)</script>"
    assert shown["url"] == f"https://dagster.example.org/runs/{run_id}"
    assert (waits["status"], waits["job"], waits["attempts"]) == ("queued", "subscriptions", [])
    assert world.ask("GET", "/api/v1/runs/unknown").status_code == 404


def test_the_forecast_has_every_tick_of_what_is_enabled_in_order(world: World) -> None:
    world.add_job("clear_audit", enabled=False)

    until = quote((world.now + timedelta(days=2)).isoformat())
    items: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = get(world, f"/api/v1/forecast?until={until}&limit=500{f'&cursor={quote(cursor)}' if cursor else ''}")
        items, cursor = items + page["items"], page["next_cursor"]

    times = [item["at"] for item in items]
    assert times == sorted(times)
    assert sum(item["job"] == "subscriptions" for item in items) == 2
    assert not any(item["job"] == "clear_audit" for item in items)
    for wrong in (world.now + timedelta(days=32), world.now - HOUR):
        assert world.ask("GET", f"/api/v1/forecast?until={quote(wrong.isoformat())}").status_code == 422


def test_the_audit_log_is_paged_and_found_in_by_who_and_what(world: World) -> None:
    for number in range(5):
        path = "/api/v1/jobs/cath/clear_audit/hold"
        until = (world.now + HOUR).isoformat()
        world.ask("PUT", path, user=f"user-{number % 2}", json={"reason": "r", "until": until})
    world.token()

    first = get(world, "/api/v1/audit?limit=4")
    rest = get(world, f"/api/v1/audit?limit=4&cursor={first['next_cursor']}")

    assert [entry["sequence"] for entry in first["items"] + rest["items"]] == [6, 5, 4, 3, 2, 1]
    assert rest["next_cursor"] is None
    assert len(get(world, "/api/v1/audit?actor=user-1")["items"]) == 2
    assert [entry["action"] for entry in get(world, "/api/v1/audit?action=token")["items"]] == ["token"]
    assert {entry["action"] for entry in get(world, "/api/v1/audit", groups="cath-viewer")["items"]} == {"hold"}


def test_alerts_are_those_that_operators_were_told(world: World) -> None:
    world.instance.connection.execute(
        "INSERT INTO maintenance.alert (fingerprint, occurrence, kind, title, says, is_over, raised_at)"
        " SELECT 'f', n::text, 'run_failed', 'title ' || n, ARRAY['why'], false, now() FROM generate_series(1, 3) n"
    )

    first = get(world, "/api/v1/alerts?limit=2")

    assert [each["title"] for each in first["items"]] == ["title 3", "title 2"]
    assert [each["title"] for each in get(world, f"/api/v1/alerts?cursor={first['next_cursor']}")["items"]] == [
        "title 1"
    ]


def test_metrics_say_state_and_totals_of_each_job(world: World) -> None:
    world.add_job(
        "clear_audit", total_runs=12, total_failures=3, last_status="failed", last_duration_ms=1_500, enabled=False
    )

    text = world.ask("GET", "/metrics").text

    label = '{job="clear_audit",location="cath"'
    for line in (
        f"cath_dagster_job_runs_total{label}}} 12.0",
        f"cath_dagster_job_failures_total{label}}} 3.0",
        f"cath_dagster_job_enabled{label}}} 0.0",
        f"cath_dagster_job_last_duration_seconds{label}}} 1.5",
        f'cath_dagster_job_last_status{label},status="failed"}} 1.0',
        "cath_dagster_scheduling 1.0",
    ):
        assert line in text.replace('{location="cath",job="clear_audit"', label)


def test_a_stream_tells_each_start_end_and_action_once_and_only_of_what_may_be_seen(world: World) -> None:
    watch = Watch(world.console, ["cath"])
    assert watch.look() == []
    going = world.add_history(status="running", started_at=world.now)
    world.add_history("session_cleanup", location="bon", status="running", started_at=world.now)
    world.ask("PUT", "/api/v1/jobs/cath/clear_audit/enabled", json={"enabled": False})

    told = watch.look()

    assert [(kind, each.get("run_id")) for kind, each in told] == [
        ("run.started", going), ("action.disable", None), ("action.disable", None),
    ]  # fmt: skip
    assert watch.look() == []
    world.later(timedelta(seconds=3))
    # What is committed a moment after the instant that it says is not lost.
    world.instance.connection.execute(
        "UPDATE operations.scheduled_job_history SET status = 'failed', completed_at = %s", [world.now - LATE / 2]
    )
    assert [(kind, each["status"]) for kind, each in watch.look()] == [("run.ended", "failed")]
    world.later(timedelta(seconds=1))
    assert watch.look() == []


def test_the_stream_is_events_as_browsers_read_them(world: World) -> None:
    app = create_app(world.console)
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http", "method": "GET", "path": "/api/v1/events", "query_string": b"", "http_version": "1.1", "scheme": "http",
        "headers": [(b"x-forwarded-user", b"ada"), (b"x-forwarded-groups", b"all-viewer")], "client": ("10.9.8.7", 1),
        "server": ("x", 80),
    }  # fmt: skip
    world.add_history(status="running", started_at=world.now)

    async def work() -> None:
        done = asyncio.Event()

        async def receive() -> dict[str, Any]:
            await done.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)
            if b"run.started" in message.get("body", b""):
                done.set()

        await app(scope, receive, send)

    asyncio.run(asyncio.wait_for(work(), 30))
    body = b"".join(message.get("body", b"") for message in sent).decode()
    assert dict(sent[0]["headers"])[b"content-type"].startswith(b"text/event-stream")
    event, data = body.split("\n\n")[1].split("\n")
    assert event == "event: run.started"
    assert json.loads(data.removeprefix("data: "))["job"] == "clear_audit"


def test_a_stream_ends_where_the_token_that_it_is_heard_by_is_revoked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(events, "BEAT_LOOKS", 2)
    bearer = f"Bearer {world.token(Role.VIEWER)}".encode()
    scope = {
        "type": "http", "method": "GET", "path": "/api/v1/events", "query_string": b"", "http_version": "1.1", "scheme": "http",
        "headers": [(b"authorization", bearer)], "client": ("10.9.8.7", 1), "server": ("x", 80),
    }  # fmt: skip
    beats = []

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        beats.append(message.get("body", b"").count(b": alive"))
        if sum(beats) == 2:
            world.instance.connection.execute("UPDATE operations.console_token SET revoked_at = now()")

    asyncio.run(asyncio.wait_for(create_app(world.console)(scope, receive, send), 30))
    assert sum(beats) == 2


def test_with_its_database_gone_it_says_so_and_with_dagster_gone_it_shows_what_it_knows(world: World) -> None:
    nowhere = "postgresql://nobody:hunter2@127.0.0.1:1/none"
    with open_pool(nowhere, variable="URL", application_name="console", size=1) as engine:
        gone = Console(SETTINGS, engine, world.orchestrator, world.console.clock, world.console.specs)
        client = client_of(create_app(gone), PROXY)
        admin = {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "all-admin"}
        for path in ("/api/v1/jobs", "/api/v1/runs", "/metrics"):
            answer = client.get(path, headers=admin)
            assert answer.status_code == 503
            assert "Dagster's database does not answer" in answer.json()["detail"]
            assert "hunter2" not in answer.text
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200

    world.orchestrator.error = OrchestratorUnavailableError("gone")
    assert get(world, "/api/v1/jobs")["items"]
    assert get(world, "/readyz")["dagster"] is False


def test_a_schema_of_another_version_is_not_ready(world: World) -> None:
    revision = world.instance.value("SELECT max(version_num) FROM maintenance.alembic_version")
    change = "UPDATE maintenance.alembic_version SET version_num = %s WHERE version_num = %s"
    world.instance.connection.execute(change, ["operations_9999", revision])
    try:
        assert world.stranger.get("/readyz").status_code == 503
    finally:
        world.instance.connection.execute(change, [revision, "operations_9999"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b'"\xff"', 400),
        (b"[" * 10_000, 400),
        (b'{"reason": "\\ud800"}', 422),
        (b" " * (MAX_BODY + 1), 413),
        (iter([b" " * MAX_BODY, b" "]), 413),
    ],
    ids=["cut off", "no UTF-8", "deep", "half a pair", "long", "long in pieces"],
)
def test_a_body_that_is_no_request_is_a_problem_and_nothing_else(
    world: World, body: bytes | Iterator[bytes], status: int
) -> None:
    headers = {"Content-Type": "application/json"}

    answer = world.ask("POST", "/api/v1/jobs/cath/clear_audit/runs", content=body, headers=headers)

    assert answer.status_code in {status, 422}
    assert answer.headers["content-type"] == "application/problem+json"
    assert world.ask("GET", "/nowhere").headers["content-type"] == "application/problem+json"
    assert world.ask("PATCH", "/api/v1/jobs").status_code == 405


def test_every_answer_tells_a_browser_to_run_nothing_of_others(world: World) -> None:
    for path in ("/healthz", "/api/v1/jobs", "/nowhere"):
        headers = world.ask("GET", path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_a_mistake_of_ours_shows_nothing_of_it(world: World) -> None:
    class Broken(FakeOrchestrator):
        def is_alive(self) -> bool:
            raise RuntimeError("secret: hunter2")

    engine: sa.Engine = world.console.engine
    app = create_app(Console(SETTINGS, engine, Broken(world.instance), lambda: datetime.now(UTC), {}))

    answer = client_of(app, PROXY, raises=False).get("/readyz")

    assert answer.status_code == 500
    assert "hunter2" not in answer.text
