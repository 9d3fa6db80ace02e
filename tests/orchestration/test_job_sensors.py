"""What an interval asks for: one run, where none goes on and something is due; and nothing where scheduling is stopped."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster import DagsterRunStatus

from cath_dagster.bon.tables import sessions
from cath_dagster.core.errors import ConfigurationError, DatabaseUnavailableError
from cath_dagster.core.model.schedule import Cron, Every
from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.core.run.job_parts import DueRows
from cath_dagster.core.run.spec import JobSpec, SpecificationError
from cath_dagster.orchestration.job_sensors import build_interval_sensor, build_job_sensors
from cath_dagster.orchestration.jobs import build_op_job
from cath_dagster.orchestration.schedules import build_schedule
from cath_dagster.orchestration.stopped import OFF
from cath_dagster.registry import find_spec
from tests.support.dagster_internals import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("bon"), "__repository__"), "session_cleanup"
)
EVERY = replace(find_spec("bon/session_cleanup"), schedule=Every(timedelta(seconds=30)))


def asking(predicate: Any) -> JobSpec:
    """Return a job that finds something to do where a session matches."""
    rows = [DueRows(table=sessions, predicate=predicate, index=(sessions.c.expires_at,))]
    assert EVERY.database is not None
    return replace(EVERY, database=replace(EVERY.database, is_due=lambda moment, settings: rows))


def tick(instance: dg.DagsterInstance, spec: JobSpec) -> dg.RunRequest | str:
    """Return what the job's sensor answers: the run that it asks for, or why there is none."""
    (sensor,) = build_job_sensors([(spec, build_op_job(spec))])
    data = sensor.evaluate_tick(dg.build_sensor_context(instance=instance, definitions=None))
    return (data.run_requests or [])[0] if data.run_requests else data.skip_message or ""


@pytest.fixture(scope="module")
def shared_instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made


@pytest.fixture
def instance(shared_instance: dg.DagsterInstance) -> dg.DagsterInstance:
    shared_instance.wipe()
    return shared_instance


def test_is_named_and_started_by_its_specification() -> None:
    stopped = replace(EVERY, name="other", enabled=False)

    sensors = build_job_sensors(
        [(spec, build_op_job(spec)) for spec in (EVERY, stopped, find_spec("bon/draft_cleanup"))]
    )

    assert [(one.name, one.minimum_interval_seconds, one.default_status.value) for one in sensors] == [
        ("session_cleanup_every", 30, "RUNNING"),
        ("other_every", 30, "STOPPED"),
    ]
    assert [one.job_name for one in sensors] == ["session_cleanup", "other"]
    disabled = replace(stopped, schedule=Cron("0 1 * * *"))
    assert build_schedule(disabled, build_op_job(disabled)).default_status is dg.DefaultScheduleStatus.STOPPED
    with pytest.raises(SpecificationError, match="has no interval"):
        build_interval_sensor(find_spec("bon/draft_cleanup"), build_op_job(EVERY))


def test_asks_for_one_run_that_measures_from_now(instance: dg.DagsterInstance) -> None:
    before = datetime.now(UTC).replace(microsecond=0)

    asked = tick(instance, EVERY)

    assert isinstance(asked, dg.RunRequest)
    assert before <= datetime.fromisoformat(asked.run_config["as_of"]) <= datetime.now(UTC)


def test_asks_for_none_while_one_goes_on(instance: dg.DagsterInstance) -> None:
    run = dg.DagsterRun(
        "session_cleanup", status=DagsterRunStatus.QUEUED, tags={QUEUE_KEY: EVERY.key}, remote_job_origin=ORIGIN
    )
    instance.add_run(run)

    assert tick(instance, EVERY) == f"run {run.run_id} of bon/session_cleanup is queued; this tick is skipped"


@pytest.mark.parametrize(
    ("variable", "word", "reason"),
    [
        ("SCHEDULER_ENABLED", "false", OFF),
        ("BON_SCHEDULES", "standby", "BON_SCHEDULES is standby: another cluster runs"),
    ],
)
def test_asks_for_none_where_scheduling_is_stopped(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, variable: str, word: str, reason: str
) -> None:
    monkeypatch.setenv(variable, word)

    assert str(tick(instance, EVERY)).startswith(reason)


def test_a_word_that_neither_stops_nor_starts_is_refused(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULER_ENABLED", "flase")

    with pytest.raises(ConfigurationError, match="SCHEDULER_ENABLED is 'flase'; it may be true, false"):
        tick(instance, EVERY)


def test_asks_for_a_run_only_where_something_is_due(
    instance: dg.DagsterInstance, bon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bon.environ.items():
        monkeypatch.setenv(name, value)
    spec = asking(sessions.c.expires_at < sa.func.now())

    assert tick(instance, spec) == "nothing is due"
    bon.add_session()
    assert isinstance(tick(instance, spec), dg.RunRequest)
    # The question ends by itself, and says what would make it cheap.
    with pytest.raises(DatabaseUnavailableError, match=r"not answered within 1 s .* cath-dagster indexes build bon"):
        tick(instance, asking(sa.func.pg_sleep(30).is_(None)))
