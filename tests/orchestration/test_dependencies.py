"""What comes after other jobs, what begins with a deployment, and what operators said of jobs under their old names."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus

from cath_dagster.bon import BON
from cath_dagster.core.model.schedule import Cron, Every
from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.internals.instigators import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
    ScheduleInstigatorData,
    TickStatus,
)
from cath_dagster.orchestration.job_sensors import build_job_sensors
from cath_dagster.orchestration.jobs import build_op_job
from cath_dagster.orchestration.location_sensors import DEPENDENCIES, RENAMED, STARTUP, location_sensor_names
from cath_dagster.orchestration.schedules import build_schedule
from cath_dagster.orchestration.states import carry_over, own_name, read_states, why_held_back
from cath_dagster.registry import find_spec
from tests.support.dagster_internals import RegisteredCodeLocationOrigin, RemoteJobOrigin, TickData

BEFORE, ELSEWHERE = "bon/draft_cleanup", "cath/clear_audit"
MANUAL = replace(find_spec("bon/session_cleanup"), schedule=None, after=(BEFORE, ELSEWHERE))
DAILY = replace(MANUAL, schedule=Cron("0 4 * * *"), after_within=timedelta(hours=1))
REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("bon"), "__repository__")
FORMER = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("books"), "__repository__")


@pytest.fixture(scope="module")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    shared_instance.wipe()
    shared_instance.wipe_all_schedules()
    return shared_instance


def ran(
    instance: dg.DagsterInstance,
    key: str,
    status: DagsterRunStatus = DagsterRunStatus.SUCCESS,
    *,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Leave a run of a job behind, later than those before it."""
    run = dg.DagsterRun(
        key.rpartition("/")[2],
        status=status,
        tags={QUEUE_KEY: key},
        run_config=dict(config or {}),
        remote_job_origin=RemoteJobOrigin(REPOSITORY, key.rpartition("/")[2]),
    )
    instance.add_run(run)
    # SQLite, in place of PostgreSQL, writes down the second alone.
    now = datetime.now(UTC).replace(tzinfo=None)
    storage: Any = instance.run_storage
    with storage.connect() as connection:
        connection.execute(
            sa.text("UPDATE runs SET create_timestamp = :now, update_timestamp = :now WHERE run_id = :run_id"),
            {"now": now.isoformat(" "), "run_id": run.run_id},
        )


def look(
    instance: dg.DagsterInstance, spec: JobSpec, name: str, cursor: str | None = None
) -> tuple[list[dg.RunRequest], str, str]:
    """Return what one of the location's sensors asks for, what it says, and its cursor."""
    sensors = build_job_sensors([(spec, build_op_job(spec))])
    (sensor,) = (one for one in sensors if one.name == name)
    data = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, cursor=cursor))
    return list(data.run_requests or []), data.skip_message or "", data.cursor or ""


def test_runs_once_when_each_of_those_before_it_has_succeeded_since(instance: dg.DagsterInstance) -> None:
    def asked() -> list[str]:
        return [request.job_name or "" for request in look(instance, MANUAL, DEPENDENCIES)[0]]

    assert asked() == []
    ran(instance, BEFORE)
    ran(instance, ELSEWHERE, DagsterRunStatus.FAILURE)
    ran(instance, ELSEWHERE, config={"dry_run": True})
    assert asked() == []
    ran(instance, ELSEWHERE)
    (first,), _, _ = look(instance, MANUAL, DEPENDENCIES)
    (again,), _, _ = look(instance, MANUAL, DEPENDENCIES)
    # Dagster launches a key once: two looks before the run is there are one run.
    assert first.run_key == again.run_key
    ran(instance, MANUAL.key, config={"dry_run": True})
    assert asked() == ["session_cleanup"]
    ran(instance, MANUAL.key)
    assert asked() == []
    ran(instance, BEFORE)
    assert asked() == []
    ran(instance, ELSEWHERE)
    assert asked() == ["session_cleanup"]
    ran(instance, MANUAL.key, DagsterRunStatus.STARTED)
    assert asked() == []


def test_a_job_at_an_interval_looks_for_itself(instance: dg.DagsterInstance) -> None:
    spec = replace(MANUAL, schedule=Every(timedelta(minutes=1)))

    assert location_sensor_names([spec]) == frozenset()
    assert look(instance, spec, "session_cleanup_every")[1].startswith(
        f"waits for {BEFORE}, {ELSEWHERE}: no success since"
    )
    ran(instance, BEFORE)
    ran(instance, ELSEWHERE)
    assert len(look(instance, spec, "session_cleanup_every")[0]) == 1


def add_tick(instance: dg.DagsterInstance, spec: JobSpec, at: datetime, reason: str) -> None:
    """Leave a skipped tick of a job's schedule, which runs."""
    state = InstigatorState(
        RemoteInstigatorOrigin(REPOSITORY, spec.schedule_name),
        InstigatorType.SCHEDULE,
        InstigatorStatus.DECLARED_IN_CODE,
        ScheduleInstigatorData(spec.cron or "", at.timestamp()),
    )
    if own_name(spec) not in read_states(instance):
        instance.add_instigator_state(state)
    instance.create_tick(
        TickData(
            state.instigator_origin_id, spec.schedule_name, InstigatorType.SCHEDULE, TickStatus.SKIPPED, at.timestamp(),
            skip_reason=reason, selector_id=state.selector_id,
        )
    )  # fmt: skip


def tick_reason(instance: dg.DagsterInstance, at: datetime) -> str:
    schedule = build_schedule(DAILY, build_op_job(DAILY))
    return schedule.evaluate_tick(dg.build_schedule_context(instance, at)).skip_message or ""


def test_a_tick_waits_for_those_before_it_and_is_then_skipped_by_name(instance: dg.DagsterInstance) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    ran(instance, ELSEWHERE)

    waits = tick_reason(instance, now)
    add_tick(instance, DAILY, now - timedelta(minutes=59), waits)

    assert waits.startswith(f"waits until {now + timedelta(hours=1):%Y-%m-%d %H:%M:%S %Z} for {BEFORE}: no success")
    assert look(instance, DAILY, DEPENDENCIES)[0] == []
    ran(instance, BEFORE)
    (asked,), _, _ = look(instance, DAILY, DEPENDENCIES)
    assert asked.run_config["as_of"] == (now - timedelta(minutes=59)).isoformat()
    assert tick_reason(instance, now) == ""


def test_a_tick_that_waited_in_vain_is_told_once(instance: dg.DagsterInstance) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=61)
    add_tick(instance, DAILY, at, tick_reason(instance, at))

    requests, says, cursor = look(instance, DAILY, DEPENDENCIES)
    again = look(instance, DAILY, DEPENDENCIES, cursor)

    assert requests == again[0] == []
    assert f"the tick of {at:%Y-%m-%d %H:%M:%S %Z} is skipped after 1:00:00; {BEFORE}, {ELSEWHERE}: no success" in says
    assert again[1] == "nothing has become possible"


@pytest.mark.parametrize("by", ["stopped", "overlap", "own run"])
def test_nothing_waits_of_a_schedule_that_is_stopped_nor_where_it_was_skipped_otherwise(
    instance: dg.DagsterInstance, by: str
) -> None:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    reason = "run x is going; this tick is skipped" if by == "overlap" else tick_reason(instance, at)
    add_tick(instance, DAILY, at, reason)
    if by == "stopped":
        state = read_states(instance)[own_name(DAILY)]
        instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    if by == "own run":
        ran(instance, DAILY.key)
    ran(instance, BEFORE)
    ran(instance, ELSEWHERE)

    assert look(instance, DAILY, DEPENDENCIES)[0] == []


# Start-up


def test_begins_once_with_each_deployment(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(DAILY, after=(), run_on_startup=True)
    monkeypatch.setenv("CATH_DAGSTER_DEPLOYMENT", "v1")

    first, _, cursor = look(instance, spec, STARTUP)
    second = look(instance, spec, STARTUP, cursor)
    monkeypatch.delenv("CATH_DAGSTER_DEPLOYMENT")
    monkeypatch.setenv("DAGSTER_CURRENT_IMAGE", "registry/cath-dagster:v2")
    ran(instance, spec.key, DagsterRunStatus.STARTED)
    busy, _, cursor = look(instance, spec, STARTUP, cursor)

    assert [(one.job_name, one.run_key) for one in first] == [("session_cleanup", "bon/session_cleanup in v1")]
    assert (second[0], second[1]) == ([], "every job has had its start in deployment v1")
    # It begins once the run that goes on is over.
    assert (busy, json.loads(cursor)) == ([], {"session_cleanup": "v1"})


def test_does_not_begin_with_a_deployment_what_somebody_has_stopped(instance: dg.DagsterInstance) -> None:
    spec = replace(DAILY, after=(), run_on_startup=True)
    add_tick(instance, spec, datetime.now(UTC), "")
    instance.update_instigator_state(read_states(instance)[own_name(spec)].with_status(InstigatorStatus.STOPPED))

    assert look(instance, spec, STARTUP)[0] == []
    assert len(look(instance, replace(spec, name="other"), STARTUP)[0]) == 1
    assert look(instance, replace(spec, name="other", enabled=False), STARTUP)[0] == []


# New names


def said(instance: dg.DagsterInstance, repository: RemoteRepositoryOrigin, name: str, status: InstigatorStatus) -> None:
    state = InstigatorState(
        RemoteInstigatorOrigin(repository, name), InstigatorType.SCHEDULE, status, ScheduleInstigatorData("0 1 * * *")
    )
    instance.add_instigator_state(state)


@pytest.mark.parametrize(
    ("repository", "name", "changes"),
    [
        (REPOSITORY, "sweep_cron", {"formerly": ("sweep",)}),
        (FORMER, "session_cleanup_cron", {"location": replace(BON, formerly=("books",))}),
        (FORMER, "sweep_cron", {"formerly": ("sweep",), "location": replace(BON, formerly=("books",))}),
        (
            REPOSITORY,
            "session_cleanup_cron",
            {"formerly": ("session_cleanup",), "schedule": Every(timedelta(minutes=5))},
        ),
    ],
)
def test_what_somebody_said_of_the_old_name_counts_for_the_new_one(
    instance: dg.DagsterInstance, repository: RemoteRepositoryOrigin, name: str, changes: dict[str, Any]
) -> None:
    spec = replace(DAILY, **{"after": (), **changes})
    said(instance, repository, name, InstigatorStatus.STOPPED)

    held_back = why_held_back(instance, spec) or ""
    # The daemon makes the state of what runs by default, and stumbles over one that is there.
    assert list(carry_over(instance, [spec], REPOSITORY, datetime.now(UTC))) == []
    said(instance, REPOSITORY, spec.schedule_name, InstigatorStatus.DECLARED_IN_CODE)
    carried = list(carry_over(instance, [spec], REPOSITORY, datetime.now(UTC)))

    assert held_back.startswith(f"{repository.code_location_origin.location_name}/{name} was stopped by somebody")
    assert len(carried) == 1
    states = read_states(instance)
    assert {key: state.status for key, state in states.items()} == {own_name(spec): InstigatorStatus.STOPPED}
    # What is said from now on is what counts.
    instance.update_instigator_state(states[own_name(spec)].with_status(InstigatorStatus.RUNNING))
    assert list(carry_over(instance, [spec], REPOSITORY, datetime.now(UTC))) == []
    assert why_held_back(instance, spec) is None


def test_a_job_that_somebody_started_goes_on_under_its_new_name(instance: dg.DagsterInstance) -> None:
    spec = replace(DAILY, after=(), formerly=("sweep",), enabled=False)
    said(instance, REPOSITORY, "sweep_cron", InstigatorStatus.RUNNING)

    list(carry_over(instance, [spec], REPOSITORY, datetime.now(UTC)))

    state = read_states(instance)[own_name(spec)]
    assert state.status is InstigatorStatus.RUNNING
    assert isinstance(state.instigator_data, ScheduleInstigatorData)
    assert state.instigator_data.start_timestamp is not None
    assert location_sensor_names([spec]) == {RENAMED}


def test_what_nobody_said_anything_of_is_as_the_code_says(instance: dg.DagsterInstance) -> None:
    spec = replace(DAILY, after=(), formerly=("sweep",))
    said(instance, REPOSITORY, "sweep_cron", InstigatorStatus.DECLARED_IN_CODE)

    assert why_held_back(instance, spec) is None
    assert list(carry_over(instance, [spec], REPOSITORY, datetime.now(UTC))) == []
