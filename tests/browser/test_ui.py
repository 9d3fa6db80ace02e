"""The UI as a person uses it, in a real browser: what is clicked there happens in the database and the instance."""

import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from cath_dagster.adapters.dagster_graphql import DagsterGraphQL
from cath_dagster.cath.assets import WEEKS
from cath_dagster.core.ports.orchestrator import OrchestratorError, OrchestratorUnavailableError
from tests.browser.conftest import PATIENCE_MS
from tests.support.stack import Dagster, add_entries, cath_stack, weeks_reported

# A step that takes too long should fail by its own wait, with a picture, and not by the suite's limit.
pytestmark = [
    pytest.mark.browser,
    pytest.mark.daemon,
    pytest.mark.stack,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("browser"),
]

BACKFILL_MS = 120_000
"""The daemon looks for backfills every few seconds, and each week is a run of its own."""
CONFIG = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { runConfigYaml } } }"
SCHEDULE = """
query ($selector: ScheduleSelector!) { scheduleOrError(scheduleSelector: $selector) {
  ... on Schedule { scheduleState { status } }
} }
"""
OBSERVED = """
query ($key: AssetKeyInput!) { assetOrError(assetKey: $key) {
  ... on Asset { assetObservations(limit: 10) { metadataEntries { label ... on IntMetadataEntry { intValue } } } }
} }
"""
HAS_LINE = """
canvas => {
  const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < data.length; at += 4)
    if (data[at + 3] > 200 && Math.abs(data[at + 2] - data[at + 1]) > 80) return true;
  return false;
}
"""
"""Whether something in colour is drawn: axes and labels are grey."""


@pytest.fixture(scope="module")
def running(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    with cath_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def dagster(running: Dagster) -> Dagster:
    """Return the stack with no rows in the log that its tests purge."""
    running.service.connection.execute("TRUNCATE ingestion_log")
    return running


@pytest.fixture
def page(browser: Browser, dagster: Dagster, tmp_path: Path) -> Iterator[Page]:
    """Yield a page of a person who was never here before."""
    base = f"http://127.0.0.1:{dagster.port}"
    with browser.new_context(base_url=base, viewport={"width": 1500, "height": 1000}) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context.new_page()


def wait_for_line(page: Page, title: str) -> None:
    """Wait until a line is drawn under a title."""
    canvas = page.get_by_text(title, exact=True).locator("xpath=following::canvas[1]")
    expect(canvas).to_be_visible()
    page.wait_for_function(HAS_LINE, arg=canvas.element_handle())


def observed(dagster: Dagster, table: str, label: str) -> list[int]:
    """Return the numbers that are plotted, the newest first."""
    entries = dagster.ask(OBSERVED, key={"path": ["cath", table]})["assetObservations"]
    return [entry["intValue"] for one in entries for entry in one["metadataEntries"] if entry["label"] == label]


def test_a_dry_run_is_launched_from_the_launchpad_and_succeeds_and_deletes_nothing(
    page: Page, dagster: Dagster
) -> None:
    add_entries(dagster.service, 40)

    page.goto("/locations/cath/jobs/clear_audit/playground")
    page.locator(".CodeMirror-code").first.click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("dry_run: true")
    expect(page.get_by_text("No errors")).to_be_visible()
    page.get_by_role("button", name="Launch Run").click()

    page.wait_for_url("**/runs/*")
    run_id = page.url.rpartition("/")[2]
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    assert dagster.ask(CONFIG, id=run_id)["runConfigYaml"].strip() == "dry_run: true"
    assert dagster.status(run_id) == "SUCCESS"
    assert dagster.service.count("ingestion_log") == 40


def test_a_schedule_is_started_and_stopped_by_its_switch(page: Page, dagster: Dagster) -> None:
    def status() -> str:
        where = {"repositoryLocationName": "cath", "repositoryName": "__repository__"}
        answer = dagster.ask(SCHEDULE, selector={**where, "scheduleName": "subscriptions_cron"})
        found: str = answer["scheduleState"]["status"]
        return found

    assert status() == "STOPPED"
    page.goto("/automation")
    link = page.get_by_role("link", name=re.compile("subscriptions_cron.*At 01:00 AM UTC"))
    switch = page.locator("[data-index]").filter(has=link).locator("label[class*=formatSwitch]")
    box = switch.get_by_role("checkbox")
    expect(box).to_be_enabled()

    switch.click()
    expect(box).to_be_checked()
    dagster.wait(lambda: status() == "RUNNING", "the schedule was not started")

    switch.click()
    expect(box).not_to_be_checked()
    dagster.wait(lambda: status() == "STOPPED", "the schedule was not stopped")


def test_what_the_console_asks_for_is_done_by_dagster_s_own_web_server(dagster: Dagster) -> None:
    console = DagsterGraphQL(f"http://127.0.0.1:{dagster.port}")

    def status() -> str:
        where = {"repositoryLocationName": "cath", "repositoryName": "__repository__"}
        found: str = dagster.ask(SCHEDULE, selector={**where, "scheduleName": "clear_audit_cron"})["scheduleState"][
            "status"
        ]
        return found

    going = dagster.purge_underway()
    console.cancel(going)
    dagster.let_go()
    assert dagster.ended(going) == "CANCELED"
    run_id = console.launch(
        "cath", "clear_audit", config={"dry_run": True, "max_rows": 3}, tags={"cath_dagster/nonce": "n"}
    )
    # As often as somebody says it, it is so.
    for enabled, state in ((True, "RUNNING"), (True, "RUNNING"), (False, "STOPPED"), (False, "STOPPED")):
        console.set_enabled("cath", "clear_audit_cron", is_sensor=False, enabled=enabled)
        assert status() == state
    assert dagster.ended(run_id) == "SUCCESS"
    assert dagster.tags(run_id)["cath_dagster/nonce"] == "n"
    assert console.is_alive()
    for refused in (
        lambda: console.launch("cath", "nothing", config={}, tags={}),
        lambda: console.launch("cath", "clear_audit", config={"audit_log_retention_days": "many"}, tags={}),
        lambda: console.cancel(run_id),
        lambda: console.cancel("unknown"),
        lambda: console.set_enabled("cath", "nothing_cron", is_sensor=False, enabled=True),
        lambda: console.set_enabled("cath", "nothing_every", is_sensor=True, enabled=False),
    ):
        with pytest.raises(OrchestratorError) as raised:
            refused()
        assert not isinstance(raised.value, OrchestratorUnavailableError)


def test_a_view_is_materialised_from_its_page(page: Page, dagster: Dagster) -> None:
    for location_id in (1, 2, 3):
        dagster.service.add_location(location_id)
    assert dagster.service.value("SELECT to_regclass('maintenance.sdp_mat_view_location')") is None

    page.goto("/assets/cath/sdp_mat_view_location")
    expect(page.get_by_text("Never materialized")).to_be_visible()
    page.get_by_role("button", name="Materialize").click()

    expect(page.get_by_text("Never materialized")).to_be_hidden()
    # What stands there about the latest materialisation is read when the page is.
    page.reload()
    rows = page.get_by_role("row", name=re.compile("^view_rows"))
    expect(rows.get_by_role("cell", name="3", exact=True)).to_be_visible()
    assert dagster.service.count("maintenance.sdp_mat_view_location") == 3


def test_three_weeks_of_the_report_are_backfilled_from_its_page(page: Page, dagster: Dagster) -> None:
    weeks = WEEKS.get_partition_keys()[-3:]
    for week in weeks:
        noon_of_tuesday = datetime.combine(date.fromisoformat(week) + timedelta(days=1), time(12))
        dagster.service.add_application(applied_date=noon_of_tuesday)

    page.goto("/assets/cath/media_application_report?view=partitions")
    expect(page.get_by_text("Materialized (0)")).to_be_visible()
    page.get_by_role("button", name="Materialize…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill(f"[{weeks[0]}...{weeks[-1]}]")
    dialog.get_by_role("textbox").press("Enter")
    expect(dialog.get_by_text("3 partitions")).to_be_visible()
    dialog.get_by_role("button", name="Launch backfill").click()

    expect(page.get_by_text("Materialized (3)")).to_be_visible(timeout=BACKFILL_MS)
    assert weeks_reported(dagster) == set(weeks)
    folder = dagster.service.report_root / "media_application_report"
    lines = {week: [len(file.read_text().splitlines()) for file in (folder / week).glob("*.csv")] for week in weeks}
    assert lines == {week: [2] for week in weeks}


def test_what_a_purge_deleted_is_plotted_on_the_pages_of_its_table_and_of_the_ledger(
    page: Page, dagster: Dagster
) -> None:
    add_entries(dagster.service, 50)
    # The second waits for the first.
    runs = [dagster.launch(max_rows=30), dagster.launch()]
    assert [dagster.ended(run_id) for run_id in runs] == ["SUCCESS", "SUCCESS"]

    page.goto("/assets/cath/ingestion_log")
    page.get_by_role("button", name="Plots").click()
    wait_for_line(page, "rows_deleted")
    page.goto("/assets/cath/purge_ledger")
    page.get_by_role("button", name="Plots").click()
    wait_for_line(page, "clear_audit: ingestion_log rows older than 90 days")

    assert observed(dagster, "ingestion_log", "rows_deleted")[:2] == [20, 30]
    assert dagster.service.count("ingestion_log") == 0
