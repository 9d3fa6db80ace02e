"""The code location `hay` in Dagster: what it loads, when it runs, and a day of analytics as a materialisation."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from cath_dagster.core.ports.orchestrator import WITHHELD
from cath_dagster.core.run.spec import load_specs
from cath_dagster.hay import HAY, assets
from cath_dagster.hay.definitions import analytics_job, defs
from cath_dagster.hay.jobs import conversation_retention
from cath_dagster.orchestration.stopped import runs_by_default, withheld
from tests.hay.hay import Hay
from tests.support.fresh import load_afresh
from tests.support.inventory import inventory

SPECS = {spec.name: spec for spec in load_specs(HAY)}
OFF = {"conversation_retention_cron", "dpop_cache_cleanup_every"}


@pytest.mark.stack
def test_loads_in_a_fresh_interpreter_with_what_is_not_ours_to_do_switched_off() -> None:
    loaded = load_afresh("hay", {"HAY_RETENTION_OWNS": "false"})

    states = {**loaded["schedules"], **loaded["sensors"]}
    assert loaded["jobs"] == sorted(inventory("hay"))
    assert {name for name, state in states.items() if state == "STOPPED"} == OFF
    assert {spec.schedule_name for spec in SPECS.values()} <= set(states)
    assert {"obstore", "jinja2.environment", "alembic", "psycopg2"} & set(loaded["modules"]) == set()


def test_retention_runs_by_itself_once_the_servers_own_job_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, found = conversation_retention.SPEC, {}
    for said in ("true", "false", "yes"):
        monkeypatch.setenv("HAY_RETENTION_OWNS", said)
        found[said] = (runs_by_default(spec), withheld(spec))

    not_yet = (False, {WITHHELD: "HAY_RETENTION_OWNS"})
    assert found == {"true": (True, {}), "false": not_yet, "yes": not_yet}
    assert withheld(SPECS["dpop_cache_cleanup"]) == {}


def test_the_schedule_of_what_is_not_ours_to_do_says_so_to_whoever_would_start_it() -> None:
    schedule = next(each for each in defs.schedules or () if each.name == "conversation_retention_cron")

    assert dict(schedule.metadata or {})[WITHHELD].value == "HAY_RETENTION_OWNS"


def test_is_loadable_as_dagster_judges_and_checks_stand_on_assets_that_are_there() -> None:
    dg.Definitions.validate_loadable(defs)
    keys = {spec.key for spec in assets.TABLE_SPECS} | {assets.ANALYTICS_KEY}

    checks = {key.name: key.asset_key for each in defs.asset_checks or () for key in each.check_keys}

    assert set(checks.values()) <= keys
    assert set(checks) == {check.name for spec in SPECS.values() for check in spec.checks}
    targets = {target for spec in SPECS.values() for target in spec.targets}
    assert targets <= {key.path[-1] for key in keys}


def test_a_tick_asks_for_yesterday_and_the_two_days_before_the_newest_first() -> None:
    tick = datetime(2026, 1, 4, 1, 0, tzinfo=UTC)
    with dg.DagsterInstance.ephemeral() as instance, dg.build_schedule_context(instance, tick) as context:
        asked = [
            [each.partition_key for each in assets.last_days(context, tick - timedelta(days=back))] for back in (0, 1)
        ]

    # Before the first day there is nothing to be asked for.
    assert asked == [["2026-01-03", "2026-01-02", "2026-01-01"], ["2026-01-02", "2026-01-01"]]


def test_a_day_is_materialised_with_its_counts_and_a_dry_run_observes(
    hay: Hay, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in hay.environ.items():
        monkeypatch.setenv(name, value)
    hay.add_conversation(hay.add_tenant(), status="resolved", created_at=datetime(2026, 11, 17))
    job = defs.resolve_job_def(analytics_job.name)
    with dg.DagsterInstance.ephemeral() as instance:

        def launch(*, dry_run: bool) -> dg.ExecuteInProcessResult:
            config = {"as_of": "2026-11-18T01:00:00Z", "dry_run": dry_run}
            return job.execute_in_process(run_config=config, partition_key="2026-11-17", instance=instance)

        dry, done = launch(dry_run=True), launch(dry_run=False)
        record = instance.get_latest_materialization_event(assets.ANALYTICS_KEY)
        days = instance.get_materialized_partitions(assets.ANALYTICS_KEY)

    assert (dry.success, done.success, days) == (True, True, {"2026-11-17"})
    assert len(dry.get_asset_observation_events()) == 1
    assert record is not None
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["rows_updated"].value == 1
    assert hay.count("maintenance.hay_daily_analytics") == 1
