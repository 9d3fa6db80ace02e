"""The pages: every one shows what is, escapes what others wrote, and its forms do what the API does, for whoever may."""

import html
import re
from datetime import timedelta

import httpx2
import pytest

from cath_dagster.web.sessions import FORM_COOKIE, FORM_FIELD, form_token
from tests.web.test_approvals import SHOWN, looks_find
from tests.web.world import SETTINGS, World

HTML = {"Accept": "text/html"}
SCRIPT = "<script>alert('x')</script>"
JOB = "/jobs/cath/clear_audit"
PAGES = ["/", JOB, "/calendar", "/approvals", "/audit", "/tokens", "/runs/run-1", "/runs/run-1/live"]


def see(world: World, path: str, *, user: str = "ada", groups: str = "all-admin") -> str:
    answer = world.ask("GET", path, user=user, groups=groups, headers=HTML)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return answer.text


def send(
    world: World, path: str, *, user: str = "ada", groups: str = "all-admin", token: str | None = None, **fields: str
) -> httpx2.Response:
    """Send a form as a browser does that has seen a page before."""
    if FORM_COOKIE not in world.proxy.cookies:
        see(world, "/")
    cookie = world.proxy.cookies[FORM_COOKIE]
    fields[FORM_FIELD] = form_token(cookie, user) if token is None else token
    return world.ask("POST", path, user=user, groups=groups, data=fields, headers=HTML)


def fill(world: World) -> None:
    """Leave something on every page, all that others may write as hostile as they can."""
    world.add_job(
        "clear_audit", last_status="failed", last_error=SCRIPT, last_run_at=world.now, last_duration_ms=61_000
    )
    world.add_history(
        run_id="run-1", status="failed", error=SCRIPT, actor=SCRIPT, parameters={SCRIPT: SCRIPT},
        outcomes=[{"target": SCRIPT, "matched": 3, "deleted": 2, "details": {SCRIPT: SCRIPT}}], trigger="api",
    )  # fmt: skip
    world.add_history(run_id=None, status="skipped", error=SCRIPT, skipped_ticks=3)
    until = (world.now + timedelta(days=1)).isoformat()
    world.ask("PUT", f"/api/v1{JOB}/hold", user="eve" + SCRIPT, json={"reason": SCRIPT, "until": until})
    refused = world.add_history("subscriptions", run_id="run-2", status="refused", outcomes=SHOWN)
    world.ask("POST", "/api/v1/approvals", user="eve", json={"run_id": refused, "reason": SCRIPT})
    world.token()


def test_every_page_escapes_what_others_wrote_and_has_nothing_inline_and_nothing_of_another_host(world: World) -> None:
    fill(world)
    for path in PAGES:
        text = see(world, path)
        assert SCRIPT not in text, path
        assert not re.search(r"<script(?! src=\"/static/)|<style|\son\w+=|\sstyle=|javascript:", text), path
        for address in re.findall(r"(?:src|href|action)=\"([^\"]*)\"", text):
            assert html.unescape(address).startswith(("/", "#", SETTINGS.ui_url)), (path, address)
    assert sum("&lt;script&gt;" in see(world, path) for path in PAGES) == len(PAGES) - 1


@pytest.mark.parametrize(
    "path", ["/static/console.css", "/static/console.js", "/static/htmx-2.0.11.min.js", "/static/icon.svg"]
)
def test_what_pages_refer_to_is_in_the_package(world: World, path: str) -> None:
    answer = world.stranger.get(path)

    assert answer.status_code == 200
    assert "max-age" in answer.headers["cache-control"]
    assert world.stranger.get("/static/../app.py").status_code == 404


def test_a_viewer_is_shown_no_form_that_he_may_not_send(world: World) -> None:
    fill(world)
    for path in [*PAGES[:5], "/runs/run-1"]:
        assert 'method="post"' not in see(world, path, groups="all-viewer"), path
    assert "/tokens" not in see(world, "/", groups="all-viewer")
    assert world.ask("GET", "/tokens", groups="all-viewer", headers=HTML).status_code == 403
    assert 'method="post"' in see(world, JOB, groups="cath-operator")


def test_a_form_is_taken_only_with_the_token_of_a_page_of_this_person(world: World) -> None:
    def toggle(**fields: str | None) -> int:
        return send(world, f"{JOB}/enabled", enabled="false", **fields).status_code  # type: ignore[arg-type]

    assert toggle() == 303
    assert toggle(token="") == 403
    assert toggle(token="0" * 64) == 403
    assert toggle(token="ü") == 403
    see(world, "/")
    of_another = form_token(world.proxy.cookies[FORM_COOKIE], "bob")
    assert toggle(token=of_another) == 403
    world.proxy.cookies.clear()
    # Without the cookie nothing fits, not even what was made from an empty one.
    answer = world.ask("POST", f"{JOB}/enabled", data={"enabled": "false", FORM_FIELD: form_token("", "ada")})
    assert answer.status_code == 403
    assert len(world.orchestrator.toggled) == 1


def test_a_form_of_another_site_is_refused_even_with_its_token(world: World) -> None:
    see(world, "/")
    fields = {"enabled": "false", FORM_FIELD: form_token(world.proxy.cookies[FORM_COOKIE], "ada")}
    for more in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        assert world.ask("POST", f"{JOB}/enabled", data=fields, headers=more).status_code == 403
    assert world.ask("POST", f"{JOB}/enabled", json=fields).status_code == 422
    assert world.orchestrator.toggled == []


def test_the_cookie_of_forms_is_read_by_no_script_and_kept_from_other_sites(world: World) -> None:
    plain = world.ask("GET", "/", headers=HTML).headers["set-cookie"]
    world.proxy.cookies.clear()
    secure = world.ask("GET", "/", headers=HTML | {"X-Forwarded-Proto": "https"}).headers["set-cookie"]

    assert "HttpOnly" in plain
    assert "SameSite=strict" in plain
    assert "Secure" not in plain
    assert "Secure" in secure


def test_from_the_form_to_the_plan_to_exactly_that(world: World) -> None:
    page = see(world, JOB)
    (key,) = re.findall(r'name="key" value="(\w+)"', page)
    fields = {
        "key": key,
        "p.audit_log_retention_days": "60",
        "p.vacuum": "true",
        "p.pace": "",
        "max_rows": "",
        "as_of": "",
    }
    clicks = [send(world, f"{JOB}/plan", **fields) for _ in range(3)]
    (planned,) = world.orchestrator.launched
    run_id = planned["run_id"]
    assert [(click.status_code, click.headers["location"]) for click in clicks] == [(303, f"/runs/{run_id}")] * 3
    assert planned["config"]["audit_log_retention_days"] == 60
    assert planned["config"]["vacuum"] is True
    waits = see(world, f"/runs/{run_id}")
    assert "queued" in waits
    assert f'hx-get="/runs/{run_id}/live"' in waits

    world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS'")
    outcomes = [{"target": "audit_log", "matched": 12_345}]
    world.add_history(run_id=run_id, dry_run=True, parameters=planned["config"], outcomes=outcomes)
    shown = see(world, f"/runs/{run_id}")
    assert "12,345" in shown
    assert "hx-get" not in shown
    assert "Run exactly this" in shown
    (key,) = re.findall(r'name="key" value="(\w+)"', shown)

    assert send(world, f"{JOB}/run", plan=run_id, key=key, reason="as planned").status_code == 303
    real = world.orchestrator.launched[1]["config"]
    assert real == {name: value for name, value in planned["config"].items() if name != "dry_run"} | {
        "max_rows": 12_345
    }


def test_what_a_form_cannot_do_is_said_on_a_page(world: World) -> None:
    for path, fields, status, says in (
        (f"{JOB}/plan", {"p.audit_log_retention_days": "many"}, 422, "audit_log_retention_days"),
        (f"{JOB}/plan", {"max_rows": "many"}, 422, "write a whole number"),
        (f"{JOB}/plan", {"as_of": "soon"}, 422, "write an instant"),
        (f"{JOB}/hold", {"reason": " ", "until": "2999-01-01T00:00"}, 422, "a reason is needed"),
        (f"{JOB}/hold", {"reason": "r", "until": "2999-01-01T00:00"}, 422, "within 90 days"),
        (f"{JOB}/run", {"plan": "unknown"}, 404, "there is no run"),
        ("/jobs/cath/nothing/plan", {}, 404, "there is no such job"),
        ("/tokens", {"name": "a b", "role": "viewer"}, 422, "a token is named by"),
        ("/tokens", {"name": "a", "role": "owner"}, 422, "there is no role"),
    ):
        answer = send(world, path, **fields)
        assert answer.status_code == status, (path, answer.text)
        assert says in html.unescape(answer.text)
        assert answer.headers["content-type"].startswith("text/html")
    assert world.orchestrator.launched == []


def test_a_job_is_held_let_go_and_cancelled_by_its_pages(world: World) -> None:
    going = world.add_history(status="running", run_id="going")
    until = (world.now + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")

    assert send(world, f"{JOB}/hold", reason="incident 7", until=until).headers["location"] == JOB
    assert "incident 7" in see(world, "/")
    assert send(world, f"{JOB}/release").status_code == 303
    assert "incident 7" not in see(world, "/")
    assert send(world, f"/runs/{going}/cancel", reason="why").status_code == 303
    assert world.orchestrator.cancelled == [going]
    assert "incident 7" in see(world, "/audit?action=hold")
    assert "incident 7" not in see(world, "/audit?actor=bob&action=")


def test_all_jobs_are_held_and_let_go_from_the_overview_by_who_may_everywhere(world: World) -> None:
    until = f"{world.now + timedelta(hours=2):%Y-%m-%dT%H:%M}"
    for groups in ("cath-admin", "all-viewer"):
        assert "Hold all jobs" not in see(world, "/", groups=groups)
        assert send(world, "/hold", groups=groups, reason="r", until=until).status_code == 403
    assert "Lift every hold" not in see(world, "/", groups="all-operator")

    assert send(world, "/hold", groups="all-operator", reason="incident 7", until=until).status_code == 303
    assert see(world, "/").count("incident 7") == len(world.console.specs)
    assert "Lift every hold" in see(world, "/", groups="all-operator")
    assert send(world, "/release", groups="all-operator").status_code == 303
    assert "incident 7" not in see(world, "/")


def test_one_asks_and_another_approves_on_their_pages(world: World) -> None:
    looks_find(world, SHOWN)
    refused = world.add_history(status="refused", outcomes=SHOWN)
    assert "Request an approval" in see(world, f"/runs/{refused}", groups="cath-operator")
    asked = send(world, f"/runs/{refused}/request", reason="the backlog", groups="cath-operator")
    assert asked.headers["location"] == "/approvals?status=pending"
    assert "nobody approves his own request" in see(world, "/approvals?status=pending")
    assert "the backlog" in see(world, "/")

    page = see(world, "/approvals", user="bob", groups="cath-approver")
    (approval_id,) = re.findall(r'action="/approvals/(\w+)/approve"', page)
    world.proxy.cookies.clear()
    approved = send(world, f"/approvals/{approval_id}/approve", user="bob", groups="cath-approver")

    assert approved.headers["location"] == f"/runs/{world.orchestrator.launched[-1]['run_id']}"
    assert "bob decided" in see(world, "/approvals?status=")


def test_a_token_is_shown_on_the_one_page_that_made_it(world: World) -> None:
    made = send(world, "/tokens", name="ci", role="viewer", location="cath", expires_in_days="7")

    (token,) = re.findall(r"cdt_\w+_[\w-]+", made.text)
    assert world.stranger.get("/api/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert token not in see(world, "/tokens")
    assert send(world, "/tokens/ci/revoke").status_code == 303
    assert world.stranger.get("/api/v1/jobs", headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_times_have_their_zone_and_what_is_stopped_is_said(world: World) -> None:
    world.add_job(
        "session_cleanup",
        "bon",
        last_run_at=world.now.replace(month=7, day=1, hour=1, minute=0, second=0),
        total_runs=1,
    )

    assert re.search(r"<time datetime=\"\d{4}-07-01T01:00:00\+00:00\">\d{4}-07-01 04:00 IDT</time>", see(world, "/"))
    assert "Scheduling is stopped" not in see(world, "/")
    calendar = see(world, "/calendar")
    assert " IST</time>" in calendar
    assert "288 times that day" in calendar


def test_nobody_is_told_so_on_a_page_and_a_stranger_in_json_by_the_api(world: World) -> None:
    for path in ("/", JOB, "/audit"):
        answer = world.stranger.get(path, headers=HTML)
        assert answer.status_code == 401
        assert answer.headers["content-type"].startswith("text/html")
    assert world.stranger.get("/api/v1/jobs", headers=HTML).headers["content-type"] == "application/problem+json"
    assert world.proxy.get("/nowhere", headers=HTML).status_code == 404
