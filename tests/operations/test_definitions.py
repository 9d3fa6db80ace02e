"""The code location `operations` as Dagster loads it."""

import re
from pathlib import Path

import dagster as dg
import pytest

from cath_dagster.operations.alerts import RUNBOOK, Kind
from cath_dagster.operations.definitions import defs
from tests.support.fresh import declared, load_afresh
from tests.support.inventory import inventory

REPOSITORY = Path(__file__).parents[2]


def test_loads_in_a_fresh_interpreter_without_variables_network_warnings_or_heavy_clients() -> None:
    loaded = load_afresh("operations")

    assert loaded["jobs"] == sorted(inventory("operations"))
    assert not {"apprise", "psycopg2", "dagster_postgres", "alembic", "obstore"} & set(loaded["modules"])
    assert {*loaded["schedules"].values(), *loaded["sensors"].values()} == {"RUNNING"}


def test_schedules_and_sensors_are_stopped_by_default_where_the_environment_says_so() -> None:
    loaded = declared("operations", {"OPERATIONS_SCHEDULES": "stopped"})

    assert {*loaded["schedules"].values(), *loaded["sensors"].values()} == {"STOPPED"}


def test_is_loadable_as_dagster_judges() -> None:
    dg.Definitions.validate_loadable(defs)


@pytest.mark.parametrize(("job", "cron"), [("clean_instance", "20 0 * * *"), ("self_check", "35 * * * *")])
def test_a_job_has_its_schedule_and_the_queues_key(job: str, cron: str) -> None:
    (schedule,) = [one for one in defs.get_repository_def().schedule_defs if one.job_name == job]

    assert (schedule.cron_schedule, schedule.execution_timezone) == (cron, "UTC")
    assert defs.resolve_job_def(job).tags["cath_dagster/job"] == f"operations/{job}"


def test_every_sensor_says_what_it_does() -> None:
    assert all(len(one.description or "") > 30 for one in defs.get_repository_def().sensor_defs)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_alert_has_its_place_in_the_runbook(kind: Kind) -> None:
    headings = re.findall(r"^## (.+)$", (REPOSITORY / RUNBOOK).read_text(), re.MULTILINE)

    assert kind.value.replace("_", "-") in [heading.lower().replace(" ", "-") for heading in headings]
