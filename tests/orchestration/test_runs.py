"""Jobs run through Dagster, in this process: what they take, and what they leave behind in Dagster."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import psycopg
import pytest

from cath_dagster.cath.definitions import defs
from tests.support.dagster_internals import ReconstructableRepository
from tests.support.service import Service

CODE = ReconstructableRepository.for_module("cath_dagster.cath.definitions", "defs")
REPORT = dg.AssetKey(["cath", "media_application_report"])
VIEWS = ("sdp_mat_view_artefact", "sdp_mat_view_location", "sdp_mat_view_pi_user", "sdp_mat_view_subscription")
WEEK = "2026-11-09"
"""The last week that ended before the service's `as_of`."""
JOBS = (
    "clear_audit",
    "expired_artefacts",
    "inactive_verification",
    "media_reporting",
    "no_match_artefacts",
    "refresh_views",
    "subscriptions",
)


@pytest.fixture(scope="module")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    shared_instance.wipe()
    return shared_instance


@pytest.fixture
def cath(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """Return the service, with the environment of its jobs in this process."""
    service.as_of = min(service.as_of, datetime.now(UTC))
    for name, value in service.environ.items():
        monkeypatch.setenv(name, value)
    return service


def launch(
    service: Service, instance: dg.DagsterInstance, job: str, *, week: str | None = None, **config: Any
) -> dg.JobExecutionResult:
    return execute(instance, job, {"as_of": service.as_of.isoformat(), **config}, week=week)


def execute(
    instance: dg.DagsterInstance,
    job: str,
    config: Mapping[str, Any],
    *,
    week: str | None = None,
    schedule: str | None = None,
) -> dg.JobExecutionResult:
    """Run a job in this process, the way of `dagster job execute`; with a schedule as if that had asked for it."""
    tags = {"dagster/partition": week, "dagster/schedule_name": schedule}
    return dg.execute_job(
        CODE.get_reconstructable_job(job),
        instance,
        run_config=config,
        tags={name: value for name, value in tags.items() if value},
    )


def plain(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def observed(result: dg.JobExecutionResult) -> dict[str, dict[str, Any]]:
    """Return the metadata of every observation by the last part of its asset's key."""
    seen = [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    assert len({one.asset_key for one in seen}) == len(seen)
    return {one.asset_key.path[-1]: plain(one.metadata) for one in seen}


def materialised(result: dg.JobExecutionResult) -> dict[str, dict[str, Any]]:
    made = [event.materialization for event in result.get_asset_materialization_events()]
    return {one.asset_key.path[-1]: plain(one.metadata) for one in made}


def failure(result: dg.JobExecutionResult) -> tuple[str, dict[str, Any]]:
    """Return how a run's only failed step describes its failure, and with which metadata."""
    assert not result.success
    (event,) = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data.user_failure_data
    assert data is not None
    return data.description or "", plain(data.metadata)


def check_results(result: dg.JobExecutionResult, name: str) -> dict[str, dg.AssetCheckEvaluation]:
    found = [one for one in result.get_asset_check_evaluations() if one.check_name == name]
    return {one.asset_key.path[-1]: one for one in found}


def logged(instance: dg.DagsterInstance, result: dg.JobExecutionResult) -> list[str]:
    return [entry.user_message for entry in instance.all_logs(result.run_id)]


def add_entries(service: Service, count: int, days: float) -> None:
    service.connection.execute(
        'INSERT INTO ingestion_log (id, "timestamp", source_system, court_id, status)'
        " SELECT gen_random_uuid(), %s, 'SNL', '1', 'SUCCESS' FROM generate_series(1, %s)",
        (service.days_ago(days), count),
    )


def test_a_run_observes_every_table_it_works_on(cath: Service, instance: dg.DagsterInstance) -> None:
    assert set(observed(launch(cath, instance, "clear_audit"))) == {
        "notification_audit_log",
        "audit_log",
        "ingestion_log",
        "purge_ledger",
    }


def test_a_run_tells_what_each_rule_has_deleted_today_whoever_ran_it(
    cath: Service, instance: dg.DagsterInstance
) -> None:
    add_entries(cath, 3, 91)
    cath.run("clear_audit")
    add_entries(cath, 4, 91)

    metadata = observed(launch(cath, instance, "clear_audit"))["purge_ledger"]

    assert metadata == {
        "clear_audit: audit_log rows older than 90 days": 0,
        "clear_audit: ingestion_log rows older than 90 days": 7,
        "clear_audit: notification_audit_log rows older than 90 days": 0,
    }


@pytest.mark.parametrize(("schedule", "pace"), [("clear_audit_cron", "polite"), (None, "bulk")])
def test_only_a_run_that_a_schedule_asked_for_is_polite_by_itself(
    cath: Service, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, schedule: str | None, pace: str
) -> None:
    monkeypatch.setattr("cath_dagster.core.purge.pace.LARGE_TABLE_BYTES", 1)
    add_entries(cath, 3, 91)

    result = execute(instance, "clear_audit", {"as_of": cath.as_of.isoformat()}, schedule=schedule)

    assert observed(result)["ingestion_log"]["pace"] == pace


def test_a_dry_run_adds_nothing_to_the_plot_of_the_ledger(cath: Service, instance: dg.DagsterInstance) -> None:
    add_entries(cath, 3, 91)

    assert "purge_ledger" not in observed(launch(cath, instance, "clear_audit", dry_run=True))


def test_an_observation_tells_what_was_deleted_what_is_left_and_how_old_the_oldest_is(
    cath: Service, instance: dg.DagsterInstance
) -> None:
    add_entries(cath, 3, 91)
    add_entries(cath, 2, 12.5)

    metadata = observed(launch(cath, instance, "clear_audit"))["ingestion_log"]

    assert (metadata["rows_deleted"], metadata["rows_left"], metadata["oldest_age_days"]) == (3, 2, 12.5)


def test_an_empty_table_is_observed_with_zeroes_so_that_its_plot_goes_on(
    cath: Service, instance: dg.DagsterInstance
) -> None:
    metadata = observed(launch(cath, instance, "clear_audit"))["audit_log"]

    assert (metadata["rows_deleted"], metadata["rows_left"]) == (0, 0)


@pytest.mark.parametrize(
    "job", ["clear_audit", "expired_artefacts", "inactive_verification", "no_match_artefacts", "subscriptions"]
)
def test_every_observation_is_of_an_asset_of_the_location(
    cath: Service, instance: dg.DagsterInstance, job: str
) -> None:
    cath.add_artefact(display_to=cath.days_ago(2))

    result = launch(cath, instance, job)

    known = defs.get_repository_def().asset_graph.get_all_asset_keys()
    keys = {event.asset_observation_data.asset_observation.asset_key for event in result.get_asset_observation_events()}
    assert result.success
    assert keys
    assert keys <= known


def test_a_dry_run_observes_what_would_go_and_deletes_nothing(cath: Service, instance: dg.DagsterInstance) -> None:
    add_entries(cath, 3, 91)

    result = launch(cath, instance, "clear_audit", dry_run=True)

    metadata = observed(result)["ingestion_log"]
    assert metadata["rows_matched"] == 3
    assert metadata.get("rows_deleted", 0) == 0
    assert cath.count("ingestion_log") == 3


@pytest.mark.parametrize("job", sorted(set(JOBS) - {"media_reporting"}))
def test_a_job_without_anything_to_do_succeeds(cath: Service, instance: dg.DagsterInstance, job: str) -> None:
    assert launch(cath, instance, job).success


@pytest.mark.parametrize("job", JOBS)
def test_a_job_logs_its_start_and_its_completion(cath: Service, instance: dg.DagsterInstance, job: str) -> None:
    result = launch(cath, instance, job, week=WEEK if job == "media_reporting" else None)

    lines = [line for line in logged(instance, result) if f"cath/{job}" in line]
    assert any("started" in line for line in lines)
    assert any("completed in" in line for line in lines)


def test_a_run_without_an_as_of_measures_from_now(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.as_of = datetime.now(UTC)
    add_entries(cath, 1, 91)
    add_entries(cath, 1, 89)

    assert execute(instance, "clear_audit", {}).success
    assert cath.count("ingestion_log") == 1


def test_a_large_deletion_is_refused_and_the_failure_says_so(cath: Service, instance: dg.DagsterInstance) -> None:
    add_entries(cath, 10_001, 91)

    result = launch(cath, instance, "clear_audit")

    said, metadata = failure(result)
    assert metadata["status"] == "refused"
    assert "allow_large" in said
    assert cath.count("ingestion_log") == 10_001
    seen = observed(result)["ingestion_log"]
    assert (seen["ended"], seen["rows_matched"], seen["rows_deleted"]) == ("refused", 10_001, 0)


def test_what_a_run_did_before_it_failed_is_observed(cath: Service, instance: dg.DagsterInstance) -> None:
    add_entries(cath, 3, 91)
    cath.connection.execute(
        'INSERT INTO audit_log (id, "timestamp", action, user_id, user_email, user_role, user_provenance)'
        " VALUES ('1', %s, 'x', 'x', 'x', 'x', 'x')",
        (cath.days_ago(91),),
    )
    cath.connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
        "CREATE TRIGGER refuse BEFORE DELETE ON audit_log FOR EACH ROW EXECUTE FUNCTION refuse()"
    )

    result = launch(cath, instance, "clear_audit")

    assert not result.success
    seen = {table: (each["ended"], each["rows_deleted"]) for table, each in observed(result).items() if "job" in each}
    assert (seen["ingestion_log"], seen["audit_log"]) == (("failed", 3), ("failed", 0))
    assert "ended" not in observed(launch(cath, instance, "clear_audit", audit_log_enabled=False))["ingestion_log"]


def test_a_run_beside_another_is_refused_and_names_it(cath: Service, instance: dg.DagsterInstance) -> None:
    add_entries(cath, 1, 91)
    with psycopg.connect(cath.url, application_name="clear_audit:the-other-run") as holder:
        holder.execute("SELECT pg_advisory_lock(hashtextextended('cath/clear_audit', 0))")
        said, metadata = failure(launch(cath, instance, "clear_audit"))

    assert metadata["status"] == "refused"
    assert "the-other-run" in said
    assert cath.count("ingestion_log") == 1


def test_a_run_that_fails_says_so_in_its_metadata(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.connection.execute("DROP TABLE audit_log")

    said, metadata = failure(launch(cath, instance, "clear_audit"))

    assert metadata["status"] == "failed"
    assert "audit_log" in said


def test_a_failed_run_is_never_repeated_by_a_retry_policy(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.connection.execute("DROP TABLE audit_log")
    job = defs.resolve_job_def("clear_audit").with_hooks(set())
    retried = dg.JobDefinition(
        graph_def=job.graph,
        config=job.config_mapping,
        op_retry_policy=dg.RetryPolicy(max_retries=2),
        executor_def=dg.in_process_executor,
    )

    result = retried.execute_in_process(instance=instance, raise_on_error=False)

    assert not result.success
    assert [event for event in result.all_events if event.is_step_up_for_retry] == []


def test_a_missing_variable_is_named_before_anything_is_done(
    cath: Service, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CATH_DATABASE_URL")

    assert "CATH_DATABASE_URL" in failure(launch(cath, instance, "clear_audit"))[0]


def test_no_observation_or_failure_holds_the_databases_password(
    cath: Service, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATH_DATABASE_URL", "postgresql://someone:hunter2@127.0.0.1:1/cath")

    result = launch(cath, instance, "clear_audit")

    assert not result.success
    assert "hunter2" not in str(result.all_events) + "\n".join(logged(instance, result))


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"retention": 90}, "retention"),
        ({"max_rows": -1}, "max_rows"),
        ({"audit_log_retention_days": -1}, "audit_log_retention_days"),
        ({"as_of": "2999-01-01T00:00:00+00:00"}, "as_of"),
        ({"as_of": "yesterday"}, "as_of"),
    ],
)
def test_bad_config_is_refused_before_there_is_a_run(
    cath: Service, instance: dg.DagsterInstance, config: dict[str, Any], named: str
) -> None:
    del cath
    with pytest.raises(dg.DagsterError, match=named):
        execute(instance, "clear_audit", config)

    assert instance.get_runs() == []


def test_bad_config_of_the_report_is_refused_before_there_is_a_run(instance: dg.DagsterInstance) -> None:
    with pytest.raises(dg.DagsterError, match="report_retention_weeks"):
        execute(instance, "media_reporting", {"report_retention_weeks": -1}, week=WEEK)

    assert instance.get_runs() == []


def test_a_week_of_the_report_takes_flat_config(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.add_application(applied_date=datetime(2026, 11, 11, 9))

    result = launch(cath, instance, "media_reporting", week=WEEK, delete_reported=True)

    assert result.success
    assert cath.count("media_application") == 0


def test_a_week_is_materialised_with_what_was_done(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.add_application(applied_date=datetime(2026, 11, 11, 9))

    result = launch(cath, instance, "media_reporting", week=WEEK)

    (event,) = result.get_asset_materialization_events()
    assert event.partition == WEEK
    assert plain(event.materialization.metadata)["status"] == "success"
    assert plain(event.materialization.metadata)["rows_kept"] == 1


def test_a_materialised_week_lies_in_the_report_store(cath: Service, instance: dg.DagsterInstance) -> None:
    result = launch(cath, instance, "media_reporting", week=WEEK)

    folder = cath.report_root / "media_application_report" / WEEK
    assert {file.name for file in folder.iterdir()} == {f"{result.run_id}.{kind}" for kind in ("csv", "json", "png")}


def test_a_dry_run_of_a_week_is_observed_and_not_materialised(cath: Service, instance: dg.DagsterInstance) -> None:
    result = launch(cath, instance, "media_reporting", week=WEEK, dry_run=True)

    assert result.success
    assert materialised(result) == {}
    assert set(observed(result)) == {"media_application_report"}
    assert list(cath.report_root.rglob("*.csv")) == []


def test_the_report_without_a_week_is_refused_with_a_word_on_what_to_choose(
    cath: Service, instance: dg.DagsterInstance
) -> None:
    cath.add_application(applied_date=datetime(2026, 11, 11, 9))

    result = launch(cath, instance, "media_reporting")

    assert "choose a partition" in failure(result)[0]
    assert list(cath.report_root.rglob("*.csv")) == []


def test_runs_of_different_weeks_do_not_exclude_each_other(cath: Service, instance: dg.DagsterInstance) -> None:
    with psycopg.connect(cath.url) as holder:
        holder.execute("SELECT pg_advisory_lock(hashtextextended('cath/media_reporting/2026-11-02', 0))")

        assert launch(cath, instance, "media_reporting", week=WEEK).success
        assert not launch(cath, instance, "media_reporting", week="2026-11-02").success


def test_every_view_is_materialised_with_its_counts(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.add_location(1)

    made = materialised(launch(cath, instance, "refresh_views"))

    assert set(made) == set(VIEWS)
    assert (made["sdp_mat_view_location"]["view_rows"], made["sdp_mat_view_location"]["source_rows"]) == (1, 1)


def test_a_dry_run_of_the_views_is_observed_and_not_materialised(cath: Service, instance: dg.DagsterInstance) -> None:
    result = launch(cath, instance, "refresh_views", dry_run=True)

    assert result.success
    assert materialised(result) == {}
    assert set(observed(result)) == set(VIEWS)


def test_a_refreshed_view_passes_both_its_checks(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.add_location(1)

    result = launch(cath, instance, "refresh_views")

    for name in ("counts_equal_source", "verified_within_a_day"):
        assert {view: one.passed for view, one in check_results(result, name).items()} == dict.fromkeys(VIEWS, True)


def test_the_check_of_counts_tells_both(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.add_location(1)

    check = check_results(launch(cath, instance, "refresh_views"), "counts_equal_source")["sdp_mat_view_location"]

    assert plain(check.metadata) == {"view_rows": 1, "source_rows": 1}


def run_check(instance: dg.DagsterInstance, *keys: dg.AssetCheckKey) -> dict[dg.AssetKey, dg.AssetCheckEvaluation]:
    """Run checks alone, as the UI's Execute does."""
    whole = defs.resolve_implicit_global_asset_job_def()
    subset = whole.get_subset(asset_selection=set(), asset_check_selection=set(keys))
    done = subset.execute_in_process(instance=instance)
    return {one.asset_key: one for one in done.get_asset_check_evaluations()}


def views_verified(instance: dg.DagsterInstance) -> dict[str, bool]:
    keys = [dg.AssetCheckKey(dg.AssetKey(["cath", view]), "verified_within_a_day") for view in VIEWS]
    return {key.path[-1]: one.passed for key, one in run_check(instance, *keys).items()}


def test_a_view_that_was_never_created_fails_its_check(cath: Service, instance: dg.DagsterInstance) -> None:
    del cath

    assert views_verified(instance) == dict.fromkeys(VIEWS, False)


@pytest.mark.parametrize(("age", "passed"), [(timedelta(hours=23), True), (timedelta(hours=25), False)])
def test_a_view_must_have_been_verified_within_a_day(
    cath: Service, instance: dg.DagsterInstance, age: timedelta, *, passed: bool
) -> None:
    launch(cath, instance, "refresh_views")
    cath.connection.execute(
        "UPDATE maintenance.view_state SET verified_at = now() - %s WHERE view_name = 'sdp_mat_view_location'", [age]
    )

    assert views_verified(instance) == {view: passed or view != "sdp_mat_view_location" for view in VIEWS}


def test_the_check_of_one_view_can_be_run_alone(cath: Service, instance: dg.DagsterInstance) -> None:
    launch(cath, instance, "refresh_views")
    key = dg.AssetKey(["cath", "sdp_mat_view_location"])

    done = run_check(instance, dg.AssetCheckKey(key, "verified_within_a_day"))

    assert {key: one.passed for key, one in done.items()} == {key: True}


def test_missing_weeks_are_named(instance: dg.DagsterInstance) -> None:
    partitions = defs.get_repository_def().asset_graph.get(REPORT).partitions_def
    assert partitions is not None
    missing = ["2026-01-12", "2026-03-02"]
    for week in partitions.get_partition_keys():
        if week not in missing:
            instance.report_runless_asset_event(dg.AssetMaterialization(REPORT, partition=week))

    check = run_check(instance, dg.AssetCheckKey(REPORT, "no_missing_weeks"))[REPORT]

    assert not check.passed
    assert plain(check.metadata)["missing_weeks"] == missing
    assert all(week in (check.description or "") for week in missing)


def test_no_week_is_missing_once_all_that_ended_are_reported(instance: dg.DagsterInstance) -> None:
    partitions = defs.get_repository_def().asset_graph.get(REPORT).partitions_def
    assert partitions is not None
    for week in partitions.get_partition_keys():
        instance.report_runless_asset_event(dg.AssetMaterialization(REPORT, partition=week))

    assert run_check(instance, dg.AssetCheckKey(REPORT, "no_missing_weeks"))[REPORT].passed


def test_nothing_of_a_person_is_left_in_dagster(cath: Service, instance: dg.DagsterInstance) -> None:
    cath.add_application(applied_date=datetime(2026, 11, 11, 9), name="Ada Lovelace", email="ada@example.com")

    result = launch(cath, instance, "media_reporting", week=WEEK)

    everything = json.dumps([str(event) for event in result.all_events]) + "\n".join(logged(instance, result))
    assert result.success
    assert "Lovelace" not in everything
    assert "ada@" not in everything
