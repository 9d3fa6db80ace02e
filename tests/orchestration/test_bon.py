"""The code location `bon` as Dagster loads it: its jobs, and its schedules over both changes of Israel's clocks."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from cath_dagster.bon.definitions import defs
from cath_dagster.core.run.spec import load_specs
from cath_dagster.orchestration.internals.crons import schedule_execution_time_iterator
from tests.bon.bon import Bon
from tests.support.fresh import load_afresh
from tests.support.inventory import inventory

REPOSITORY = Path(__file__).parents[2]
ISRAEL = ZoneInfo("Asia/Jerusalem")
CRONS = inventory("bon")
NIGHTLY = {"draft_cleanup": 3, "session_cleanup": 4, "overdue_detection": 6}
START, END = datetime(2026, 1, 1, tzinfo=ISRAEL), datetime(2027, 1, 1, tzinfo=ISRAEL)
"""A year with both changes: on 27 March from 2 to 3, on 25 October from 2 back to 1."""
LATE_IMPORTS = ("babel", "oauthlib", "alembic", "psycopg2", "notifications_python_client")


def schedules() -> dict[str, dg.ScheduleDefinition]:
    return {one.job_name: one for one in defs.get_repository_def().schedule_defs}


def ticks(job: str) -> Iterator[datetime]:
    """Yield a year of a schedule's ticks as the daemon sees them."""
    schedule = schedules()[job]
    made = schedule_execution_time_iterator(
        START.timestamp(), str(schedule.cron_schedule), schedule.execution_timezone, ascending=True
    )
    return takewhile(lambda tick: tick < END, made)


@pytest.mark.parametrize("job", CRONS)
def test_a_job_has_its_schedule_in_israel_s_time(job: str) -> None:
    schedule = schedules()[job]

    assert (schedule.name, schedule.cron_schedule) == (f"{job}_cron", CRONS[job])
    assert schedule.execution_timezone == "Asia/Jerusalem"


@pytest.mark.parametrize(("job", "hour"), NIGHTLY.items())
def test_a_nightly_job_runs_once_a_day_at_its_hour_by_the_clock_in_israel(job: str, hour: int) -> None:
    local = [tick.astimezone(ISRAEL) for tick in ticks(job)]

    assert {(tick.hour, tick.minute) for tick in local} == {(hour, 0)}
    assert [tick.date() for tick in local] == [(START + timedelta(days=day)).date() for day in range(365)]


def test_the_days_of_the_changes_have_their_nightly_ticks_at_these_instants() -> None:
    instants = {tick.astimezone(UTC) for tick in ticks("draft_cleanup")}

    # 3 in the morning is the first instant after the change in spring.
    assert {datetime(2026, 3, 26, 1, tzinfo=UTC), datetime(2026, 3, 27, 0, tzinfo=UTC)} <= instants
    assert {datetime(2026, 10, 24, 0, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)} <= instants


def test_tokens_are_refreshed_every_quarter_of_an_hour_whatever_the_clocks_do() -> None:
    instants = [tick.astimezone(UTC) for tick in ticks("shaam_token_refresh")]

    assert len(instants) == 365 * 24 * 4
    assert {later - earlier for earlier, later in pairwise(instants)} == {timedelta(minutes=15)}


@pytest.mark.parametrize("job", CRONS)
def test_a_tick_asks_for_one_run_as_of_its_own_time(job: str) -> None:
    tick = datetime(2026, 10, 25, 6, 0, tzinfo=ISRAEL)
    with dg.instance_for_test(set_dagster_home=False) as instance:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=tick, repository_def=defs.get_repository_def()
        )
        (request,) = schedules()[job].evaluate_tick(context).run_requests or []

    assert request.run_config == {"as_of": "2026-10-25T04:00:00+00:00"}


@pytest.mark.parametrize("job", CRONS)
def test_runs_of_a_job_carry_its_queue_tag(job: str) -> None:
    tags = defs.resolve_job_def(job).tags

    assert (tags["cath_dagster/job"], tags["owner"]) == (f"bon/{job}", "team:bon")


@pytest.mark.parametrize("job", CRONS)
def test_every_table_that_a_job_reports_on_is_an_external_asset(job: str) -> None:
    from cath_dagster.bon import BON

    (spec,) = [spec for spec in load_specs(BON) if spec.name == job]
    graph = defs.get_repository_def().asset_graph

    assert [table for table in spec.targets if not graph.get(dg.AssetKey(["bon", table])).is_external] == []


def test_loads_without_any_variable_without_network_and_without_heavy_clients() -> None:
    loaded = load_afresh("bon")

    assert loaded["jobs"] == sorted(CRONS)
    assert set(loaded["schedules"].values()) == {"RUNNING"}
    assert [name for name in LATE_IMPORTS if name in loaded["modules"]] == []


def test_a_run_in_dagster_does_the_work_and_shows_the_mail_without_personal_data(
    bon: Bon, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bon.environ.items():
        monkeypatch.setenv(name, value)
    owner = bon.add_user(email="planted@example.org", name="Planted Owner")
    bon.add_overdue(bon.add_business(owner, name="Planted Ltd"), customer_name="Planted Customer")

    result = defs.resolve_job_def("overdue_detection").execute_in_process(
        run_config={"as_of": bon.as_of.isoformat()}, raise_on_error=False
    )

    assert result.success
    assert len(bon.smtp.sent) == 1
    events = "\n".join(str(event) for event in result.all_events)
    assert "lanted" not in events
    (output,) = [event for event in result.all_events if event.event_type_value == "STEP_OUTPUT"]
    preview = output.step_output_data.metadata["preview_overdue_digest"]
    assert isinstance(preview, dg.MarkdownMetadataValue)
    assert "חשבונית אחת באיחור" in (preview.md_str or "")
    (observed,) = [event for event in result.all_events if event.event_type_value == "ASSET_OBSERVATION"]
    assert observed.asset_key == dg.AssetKey(["bon", "invoices"])
