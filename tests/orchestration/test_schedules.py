"""What a tick asks for, and when it is skipped."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from cath_dagster.cath import CATH
from cath_dagster.cath.definitions import defs
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.orchestration.stopped import default_status
from tests.support.dagster_internals import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

JOBS = (
    "clear_audit",
    "expired_artefacts",
    "inactive_verification",
    "media_reporting",
    "no_match_artefacts",
    "refresh_views",
    "subscriptions",
)
TICK = datetime(2026, 3, 30, 0, 0, tzinfo=UTC)
"""A Monday; the twelve weeks before it begin with the first that is reported, 2026-01-05."""
ORIGIN = RegisteredCodeLocationOrigin("cath")
"""Where a queued run comes from, without which Dagster keeps none."""
ASSET_PAGE = "__ASSET_JOB"
"""The job of a run that was launched from the page of an asset."""
REPORT = dg.AssetKey(["cath", "media_application_report"])
VIEW = dg.AssetKey(["cath", "sdp_mat_view_location"])


@pytest.fixture(scope="module")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    """Yield an instance that a tick can refer to, which an ephemeral one is not."""
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    shared_instance.wipe()
    return shared_instance


def tick(instance: dg.DagsterInstance, job: str, at: datetime = TICK) -> dg.SkipReason | Sequence[dg.RunRequest]:
    """Return what the job's schedule answers to a tick."""
    (schedule,) = [one for one in defs.get_repository_def().schedule_defs if one.job_name == job]
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=at, repository_def=defs.get_repository_def()
    )
    data = schedule.evaluate_tick(context)
    return dg.SkipReason(data.skip_message) if data.skip_message else data.run_requests or []


def requests(instance: dg.DagsterInstance, job: str, at: datetime = TICK) -> Sequence[dg.RunRequest]:
    answer = tick(instance, job, at)
    assert not isinstance(answer, dg.SkipReason), answer
    return answer


def skipped_because(instance: dg.DagsterInstance, job: str, at: datetime = TICK) -> str:
    answer = tick(instance, job, at)
    assert isinstance(answer, dg.SkipReason), answer
    return answer.skip_message or ""


def add_run(
    instance: dg.DagsterInstance,
    job: str,
    status: DagsterRunStatus,
    *,
    assets: frozenset[dg.AssetKey] | None = None,
    tags: Mapping[str, str] | None = None,
) -> str:
    """Leave a run of a job in the instance, with the tags that every launch of it gets; return its id."""
    own = {} if job == ASSET_PAGE else defs.resolve_job_def(job).run_tags
    run = dg.DagsterRun(
        job,
        status=status,
        tags={**own, **(tags or {})},
        asset_selection=assets,
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(ORIGIN, "__repository__"), job),
    )
    instance.add_run(run)
    return run.run_id


def report_weeks(instance: dg.DagsterInstance, *weeks: str) -> None:
    for week in weeks:
        instance.report_runless_asset_event(dg.AssetMaterialization(REPORT, partition=week))


def weeks_until(at: datetime) -> list[str]:
    """Return the Mondays of all weeks that have ended, from the first one reported on."""
    first = datetime(2026, 1, 5, tzinfo=UTC)
    return [(first + timedelta(weeks=n)).date().isoformat() for n in range((at - first) // timedelta(weeks=1))]


@pytest.mark.parametrize("job", JOBS)
def test_a_run_measures_from_the_time_of_its_tick(instance: dg.DagsterInstance, job: str) -> None:
    asked = requests(instance, job)

    assert {datetime.fromisoformat(request.run_config["as_of"]) for request in asked} == {TICK}


@pytest.mark.parametrize("job", sorted(set(JOBS) - {"media_reporting"}))
def test_a_tick_asks_for_one_run(instance: dg.DagsterInstance, job: str) -> None:
    assert len(requests(instance, job)) == 1


def test_a_tick_measured_in_another_zone_is_the_same_instant(instance: dg.DagsterInstance) -> None:
    from zoneinfo import ZoneInfo

    (asked,) = requests(instance, "clear_audit", TICK.astimezone(ZoneInfo("Asia/Tokyo")))

    assert asked.run_config["as_of"] == TICK.isoformat()


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize(
    "status",
    [
        DagsterRunStatus.QUEUED,
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    ],
)
def test_a_tick_that_finds_a_run_of_the_job_is_skipped_and_names_it(
    instance: dg.DagsterInstance, job: str, status: DagsterRunStatus
) -> None:
    run_id = add_run(instance, job, status)

    assert run_id in skipped_because(instance, job)


@pytest.mark.parametrize("status", [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED])
def test_a_run_that_has_ended_skips_nothing(instance: dg.DagsterInstance, status: DagsterRunStatus) -> None:
    add_run(instance, "clear_audit", status)

    assert len(requests(instance, "clear_audit")) == 1


def test_a_run_of_another_job_skips_nothing(instance: dg.DagsterInstance) -> None:
    add_run(instance, "subscriptions", DagsterRunStatus.STARTED)

    assert len(requests(instance, "clear_audit")) == 1


def test_a_run_that_a_person_launched_with_a_tag_of_their_own_skips_the_tick(instance: dg.DagsterInstance) -> None:
    run_id = add_run(instance, "clear_audit", DagsterRunStatus.STARTED, tags={"why": "by hand"})

    assert run_id in skipped_because(instance, "clear_audit")


@pytest.mark.parametrize(("job", "key"), [("media_reporting", REPORT), ("refresh_views", VIEW)])
def test_a_run_from_the_asset_page_skips_the_tick(instance: dg.DagsterInstance, job: str, key: dg.AssetKey) -> None:
    run_id = add_run(instance, ASSET_PAGE, DagsterRunStatus.STARTED, assets=frozenset({key}))

    assert run_id in skipped_because(instance, job)


def test_a_run_of_other_assets_skips_nothing(instance: dg.DagsterInstance) -> None:
    add_run(instance, ASSET_PAGE, DagsterRunStatus.STARTED, assets=frozenset({VIEW}))

    assert requests(instance, "media_reporting")


def test_a_run_from_the_asset_page_is_found_behind_many_others(instance: dg.DagsterInstance) -> None:
    run_id = add_run(instance, ASSET_PAGE, DagsterRunStatus.STARTED, assets=frozenset({REPORT}))
    for _ in range(110):
        add_run(instance, "clear_audit", DagsterRunStatus.QUEUED)

    assert run_id in skipped_because(instance, "media_reporting")


def test_the_report_asks_for_the_week_that_has_just_ended(instance: dg.DagsterInstance) -> None:
    report_weeks(instance, *weeks_until(TICK)[:-1])

    assert [request.partition_key for request in requests(instance, "media_reporting")] == ["2026-03-23"]


def test_the_report_asks_for_every_week_that_is_missing_oldest_first(instance: dg.DagsterInstance) -> None:
    missing = ["2026-01-12", "2026-02-09", "2026-03-23"]
    report_weeks(instance, *(week for week in weeks_until(TICK) if week not in missing))

    assert [request.partition_key for request in requests(instance, "media_reporting")] == missing


def test_the_report_asks_for_no_week_that_goes_on(instance: dg.DagsterInstance) -> None:
    asked = requests(instance, "media_reporting", TICK + timedelta(days=6, hours=23))

    assert max(request.partition_key or "" for request in asked) == "2026-03-23"


def test_the_report_asks_for_the_twelve_newest_weeks_at_most(instance: dg.DagsterInstance) -> None:
    at = TICK + timedelta(weeks=8)

    asked = [request.partition_key for request in requests(instance, "media_reporting", at)]

    assert asked == weeks_until(at)[-12:]


def test_the_report_skips_where_no_week_is_missing(instance: dg.DagsterInstance) -> None:
    report_weeks(instance, *weeks_until(TICK))

    assert "missing" in skipped_because(instance, "media_reporting")


def test_a_dry_run_of_a_week_leaves_the_week_missing(instance: dg.DagsterInstance) -> None:
    report_weeks(instance, *weeks_until(TICK)[:-1])
    instance.report_runless_asset_event(dg.AssetObservation(REPORT, partition="2026-03-23"))

    assert [request.partition_key for request in requests(instance, "media_reporting")] == ["2026-03-23"]


def test_a_requested_run_of_the_report_carries_its_week(instance: dg.DagsterInstance) -> None:
    assert [request.tags["dagster/partition"] for request in requests(instance, "media_reporting")] == weeks_until(TICK)


def test_a_week_whose_run_failed_is_asked_for_again_by_the_next_tick(instance: dg.DagsterInstance) -> None:
    report_weeks(instance, *weeks_until(TICK)[:-1])
    first = requests(instance, "media_reporting")[0]

    again = requests(instance, "media_reporting", TICK + timedelta(weeks=1))[0]

    assert first.partition_key == again.partition_key == "2026-03-23"
    # Dagster launches a run key once and never again.
    assert first.run_key is None or first.run_key != again.run_key


@pytest.mark.parametrize("job", JOBS)
def test_no_tick_asks_for_a_run_on_a_cluster_that_stands_by(
    instance: dg.DagsterInstance, job: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATH_SCHEDULES", "standby")

    assert skipped_because(instance, job) == "CATH_SCHEDULES is standby: another cluster runs the schedules"


def test_a_word_that_says_nothing_about_the_schedules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CATH_SCHEDULES", "runing")

    with pytest.raises(ConfigurationError, match="running, stopped, standby"):
        default_status(CATH)
