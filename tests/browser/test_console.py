"""The console's pages in a real browser: by keyboard, on a telephone, in the dark, without JavaScript, and for whoever cannot see them."""

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from cath_dagster.adapters.postgres import open_pool
from cath_dagster.development.postgres import free_port
from cath_dagster.operations.backends import open_backends
from tests.operations.instance import open_instance
from tests.web.world import SIGN_IN_CODE, World, open_world

pytestmark = [pytest.mark.browser, pytest.mark.stack, pytest.mark.timeout(300), pytest.mark.xdist_group("browser")]

JOB = "/jobs/cath/clear_audit"
PAGES = ["/", JOB, "/runs/run-1", "/runs/run-2", "/calendar", "/approvals", "/audit", "/tokens", "/jobs/cath/nothing"]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
NARROW, WIDE = {"width": 360, "height": 740}, {"width": 1400, "height": 900}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, str]]:
    """Yield a console that listens on this machine, with something on every page, and its address."""
    with open_instance(tmp_path_factory.mktemp("home")) as instance:
        open_backends(instance.dagster).prepare()
        with (
            open_pool(instance.url, variable="URL", application_name="console", size=10) as engine,
            open_world(instance, engine) as world,
        ):
            fill(world)
            port = free_port()
            config = uvicorn.Config(world.local.app, port=port, proxy_headers=False, log_level="error")
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run)
            thread.start()
            yield world, f"http://127.0.0.1:{port}"
            server.should_exit = True
            thread.join(20)


def fill(world: World) -> None:
    long = "a word that goes on " * 20 + "x" * 200
    outcomes = [{"target": "audit_log", "matched": 20_000, "details": {"cutoff": "2026-08-31"}}]
    for number in range(30):
        status = ("success", "failed", "timeout", "success", "success")[number % 5]
        at = world.now - timedelta(days=number)
        world.add_history(
            status=status, started_at=at, outcomes=[{"target": "audit_log", "matched": 9, "deleted": number}]
        )
    world.add_history("subscriptions", run_id="run-1", status="refused", error=long, outcomes=outcomes, actor="ada")
    world.add_history("subscriptions", run_id="run-2", dry_run=True, outcomes=outcomes)
    world.add_history("refresh_views", run_id=None, status="skipped", error="another goes on", skipped_ticks=4)
    world.instance.connection.execute(
        "UPDATE operations.scheduled_job SET last_status = 'failed', last_error = %s, last_run_at = %s,"
        " last_duration_ms = 1500, total_runs = 30, total_failures = 12 WHERE name = 'clear_audit'",
        [long, world.now],
    )
    until = (world.now + timedelta(days=1)).isoformat()
    world.ask("PUT", "/api/v1/jobs/cath/expired_artefacts/hold", json={"reason": long[:300], "until": until})
    world.ask("POST", "/api/v1/approvals", user="bob", json={"run_id": "run-1", "reason": "the backlog"})
    world.token()


@pytest.fixture(scope="module")
def state(browser: Browser, served: tuple[World, str]) -> Iterator[BrowserContext]:
    """Yield a browser that came in by the link, which no second one does."""
    world, base = served
    with browser.new_context(base_url=base) as context:
        page = context.new_page()
        page.goto(f"/sign-in?code={SIGN_IN_CODE}")
        expect(page).to_have_url(f"{base}/")
        assert page.evaluate("document.cookie") == ""
        page.close()
        yield context
    assert world.local.get(f"/sign-in?code={SIGN_IN_CODE}").status_code == 401


@pytest.fixture
def page(state: BrowserContext, tmp_path: Path) -> Iterator[Page]:
    del tmp_path  # where the picture of a failure is left
    page = state.new_page()
    page.set_viewport_size(WIDE)  # type: ignore[arg-type]
    yield page
    page.close()


def test_every_page_passes_axe_in_the_light_and_in_the_dark_fits_a_telephone_and_asks_no_other_host(
    page: Page, served: tuple[World, str]
) -> None:
    _, base = served
    asked: list[Request] = []
    said: list[str] = []

    def remember(request: Request) -> None:
        asked.append(request)

    page.on("request", remember)
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    axe = Axe()
    wrong: list[tuple[object, ...]] = []
    for path in PAGES:
        page.goto(path)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            found = axe.run(page)
            wrong += [
                (path, scheme, each["id"], [node["html"][:150] for node in each["nodes"]])
                for each in found.response["violations"]
            ]
        page.set_viewport_size(NARROW)  # type: ignore[arg-type]
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        wrong += [(path, "wider than a telephone", too_wide)] if too_wide > 0 else []
        page.set_viewport_size(WIDE)  # type: ignore[arg-type]

    assert wrong == []
    assert {request.url for request in asked if not request.url.startswith(f"{base}/")} == set()
    # Of the page that is not there the browser says so itself.
    assert [text for text in said if "404" not in text] == []


def test_a_job_is_planned_by_keyboard_alone_and_its_run_tells_its_end_by_itself(
    page: Page, served: tuple[World, str]
) -> None:
    world, base = served
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.get_by_role("link", name="cath/clear_audit").first.focus()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{base}{JOB}")
    page.get_by_label("At most so many rows").focus()
    page.keyboard.type("7")
    page.get_by_role("button", name="Dry run").focus()
    page.keyboard.press("Enter")

    page.wait_for_url("**/runs/*")
    expect(page.get_by_role("status")).to_contain_text("queued")
    (launched,) = world.orchestrator.launched
    assert launched["config"]["max_rows"] == 7
    world.instance.connection.execute("UPDATE runs SET status = 'SUCCESS'")
    outcomes = [{"target": "audit_log", "matched": 5}]
    world.add_history(run_id=launched["run_id"], dry_run=True, parameters=launched["config"], outcomes=outcomes)
    expect(page.get_by_role("button", name="Run exactly this")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("audit_log 5"))).to_be_visible()


def test_without_javascript_a_job_is_held_and_let_go(
    browser: Browser, state: BrowserContext, served: tuple[World, str]
) -> None:
    _, base = served
    with browser.new_context(base_url=base, java_script_enabled=False, storage_state=state.storage_state()) as context:
        page = context.new_page()
        page.goto("/jobs/cath/no_match_artefacts")
        page.get_by_label("Hold it because").fill("without a script")
        page.get_by_role("button", name="Hold").click()
        expect(page.get_by_text("without a script")).to_be_visible()
        page.get_by_role("button", name="Lift the hold").click()
        expect(page.get_by_text("without a script")).to_be_hidden()
