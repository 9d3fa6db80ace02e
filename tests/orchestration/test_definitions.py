"""The code location `cath` as Dagster loads it."""

from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cath_dagster.cath.definitions import defs
from tests.support.fresh import declared, load_afresh
from tests.support.inventory import inventory

REPOSITORY = Path(__file__).parents[2]
INVENTORY = REPOSITORY / "docs/jobs.txt"
CRONS = inventory("cath")
CLEAN_UPS = sorted(set(CRONS) - {"media_reporting", "refresh_views"})
VIEWS = ("sdp_mat_view_artefact", "sdp_mat_view_location", "sdp_mat_view_pi_user", "sdp_mat_view_subscription")
REPORT = "media_application_report"
LATE_IMPORTS = ("obstore", "matplotlib", "alembic", "notifications_python_client", "psycopg2", "dagster_postgres")
OPTIONS = {"dry_run", "as_of", "max_rows", "allow_large"}


FIRST_WEEK = """
from cath_dagster.cath.assets import WEEKS
told["first_week"] = WEEKS.get_first_partition_key()
"""


@cache
def loaded_without_any_variable() -> dict[str, Any]:
    return load_afresh("cath", then=FIRST_WEEK)


def key_of(name: str) -> dg.AssetKey:
    return dg.AssetKey(["cath", name])


def schedules() -> dict[str, dg.ScheduleDefinition]:
    return {one.name: one for one in defs.get_repository_def().schedule_defs}


def asset(name: str) -> Any:
    return defs.get_repository_def().asset_graph.get(key_of(name))


def sources_of(name: str) -> set[str]:
    return {"/".join(key.path) for key in asset(name).parent_keys}


def checks_of(name: str) -> set[str]:
    return {key.name for key in asset(name).check_keys}


def config_fields(job: str) -> dict[str, dg.Field]:
    mapping = defs.resolve_job_def(job).config_mapping
    assert mapping is not None
    schema: Any = mapping.config_schema
    fields: dict[str, dg.Field] = schema.config_type.fields
    return fields


def test_loads_in_a_fresh_interpreter_without_variables_network_or_warnings() -> None:
    assert loaded_without_any_variable()["jobs"] == sorted(CRONS)


@pytest.mark.parametrize("module", LATE_IMPORTS)
def test_a_client_that_not_every_run_needs_is_not_imported_at_load(module: str) -> None:
    assert module not in loaded_without_any_variable()["modules"]


def test_is_loadable_as_dagster_judges() -> None:
    dg.Definitions.validate_loadable(defs)


def test_has_exactly_the_jobs_of_the_inventory() -> None:
    names = [name for name in defs.get_repository_def().job_names if not name.startswith("__")]

    assert sorted(names) == sorted(CRONS)


def test_has_exactly_one_schedule_for_each_job() -> None:
    assert {name: one.job_name for name, one in schedules().items()} == {f"{job}_cron": job for job in CRONS}


@pytest.mark.parametrize(("job", "cron"), CRONS.items())
def test_a_schedule_ticks_in_utc_as_decided(job: str, cron: str) -> None:
    schedule = schedules()[f"{job}_cron"]

    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, "UTC")


def test_schedules_run_by_default() -> None:
    assert set(loaded_without_any_variable()["schedules"].values()) == {"RUNNING"}


@pytest.mark.parametrize("word", ["stopped", "standby"])
def test_schedules_are_stopped_by_default_where_the_environment_says_so(word: str) -> None:
    assert set(declared("cath", {"CATH_SCHEDULES": word})["schedules"].values()) == {"STOPPED"}


@pytest.mark.parametrize("job", CRONS)
def test_a_job_carries_the_queues_key(job: str) -> None:
    assert defs.resolve_job_def(job).tags["cath_dagster/job"] == f"cath/{job}"


@pytest.mark.parametrize("job", CRONS)
def test_a_job_names_its_owner(job: str) -> None:
    assert defs.resolve_job_def(job).tags["owner"] == "team:cath"


@pytest.mark.parametrize("job", CRONS)
def test_a_job_may_not_run_for_ever(job: str) -> None:
    assert 0 < int(defs.resolve_job_def(job).tags["dagster/max_runtime"]) <= 24 * 3_600


@pytest.mark.parametrize("job", CRONS)
def test_a_job_says_what_it_does(job: str) -> None:
    assert len(defs.resolve_job_def(job).description or "") > 40


@pytest.mark.parametrize("job", CRONS)
def test_a_job_runs_in_one_process(job: str) -> None:
    assert defs.resolve_job_def(job).executor_def.name == "in_process"


@pytest.mark.parametrize("job", CLEAN_UPS)
def test_a_clean_up_job_has_one_op(job: str) -> None:
    assert len(defs.resolve_job_def(job).nodes) == 1


@pytest.mark.parametrize("job", CRONS)
def test_run_config_is_flat_and_has_the_common_options(job: str) -> None:
    assert set(config_fields(job)) >= OPTIONS


@pytest.mark.parametrize("job", CRONS)
def test_every_config_field_is_optional(job: str) -> None:
    assert [name for name, field in config_fields(job).items() if field.is_required] == []


@pytest.mark.parametrize("job", CRONS)
def test_every_config_field_has_a_description(job: str) -> None:
    assert [name for name, field in config_fields(job).items() if len(field.description or "") < 20] == []


@pytest.mark.parametrize("job", CRONS)
def test_a_jobs_own_setting_names_its_environment_variable(job: str) -> None:
    own = {name: field for name, field in config_fields(job).items() if name not in OPTIONS}

    unnamed = [name for name, field in own.items() if f"CATH_{job}_{name}".upper() not in (field.description or "")]
    assert unnamed == []


@pytest.mark.parametrize("name", [REPORT, *VIEWS])
def test_the_report_and_the_views_can_be_materialised(name: str) -> None:
    assert asset(name).is_materializable


def test_nothing_but_the_report_and_the_views_can_be_materialised() -> None:
    graph = defs.get_repository_def().asset_graph

    assert graph.materializable_asset_keys == {key_of(name) for name in (REPORT, *VIEWS)}


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        (REPORT, {"cath/media_application"}),
        ("sdp_mat_view_artefact", {"cath/artefact", "cath/artefact_archive"}),
        ("sdp_mat_view_location", {"cath/location"}),
        ("sdp_mat_view_pi_user", {"cath/user"}),
        ("sdp_mat_view_subscription", {"cath/subscription", "cath/location"}),
    ],
)
def test_an_asset_descends_from_the_tables_it_reads(name: str, sources: set[str]) -> None:
    assert sources_of(name) == sources


@pytest.mark.parametrize("job", CLEAN_UPS)
def test_every_table_that_a_job_reports_on_is_an_external_asset(job: str) -> None:
    from cath_dagster.cath import CATH
    from cath_dagster.core.run.spec import load_specs

    (spec,) = [spec for spec in load_specs(CATH) if spec.name == job]

    assert [table for table in spec.targets if not asset(table).is_external] == []


def test_every_asset_has_a_description() -> None:
    nodes = defs.get_repository_def().asset_graph.asset_nodes

    assert [node.key for node in nodes if not node.description] == []


def test_every_asset_has_its_owner() -> None:
    nodes = defs.get_repository_def().asset_graph.asset_nodes

    assert [node.key for node in nodes if list(node.owners) != ["team:cath"]] == []


@pytest.mark.parametrize(
    ("name", "kind"), [(REPORT, "csv"), *((view, "view") for view in VIEWS), ("audit_log", "table"), ("user", "table")]
)
def test_an_asset_tells_its_kind(name: str, kind: str) -> None:
    assert kind in asset(name).kinds


@pytest.mark.parametrize(
    ("name", "within"), [(REPORT, timedelta(days=8)), *((view, timedelta(hours=26)) for view in VIEWS)]
)
def test_an_asset_has_a_freshness_policy_of_its_schedules_pace(name: str, within: timedelta) -> None:
    window = asset(name).freshness_policy.fail_window

    assert timedelta(days=window.days, seconds=window.seconds) == within


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_checked_against_its_source_and_for_its_age(view: str) -> None:
    assert checks_of(view) == {"counts_equal_source", "verified_within_a_day"}


def test_the_report_is_checked_for_missing_weeks() -> None:
    assert checks_of(REPORT) == {"no_missing_weeks"}


def test_the_reports_partitions_are_weeks_from_monday_in_utc() -> None:
    partitions = asset(REPORT).partitions_def

    assert isinstance(partitions, dg.WeeklyPartitionsDefinition)
    window = partitions.time_window_for_partition_key("2026-02-02")
    assert (window.start.isoformat(), window.end.isoformat()) == (
        "2026-02-02T00:00:00+00:00",
        "2026-02-09T00:00:00+00:00",
    )


def test_the_first_week_is_that_of_the_fifth_of_january_2026() -> None:
    assert loaded_without_any_variable()["first_week"] == "2026-01-05"


def test_the_first_week_comes_from_the_environment_where_it_is_set() -> None:
    told = load_afresh("cath", {"CATH_MEDIA_REPORTING_START_DATE": "2026-03-02"}, then=FIRST_WEEK)

    assert told["first_week"] == "2026-03-02"


def test_the_inventory_lists_every_job() -> None:
    tags = {job: defs.resolve_job_def(job).tags["owner"] for job in CRONS}
    loaded = [f"cath/{job} {schedules()[f'{job}_cron'].cron_schedule} {owner}" for job, owner in tags.items()]

    lines = [" ".join(line.split()) for line in INVENTORY.read_text().splitlines()]
    committed = [line for line in lines if line.startswith("cath/")]

    assert sorted(committed) == sorted(loaded), (
        "docs/jobs.txt differs from what is loaded: write one line a job, `location/name cron owner`, so that the change shows"
    )
