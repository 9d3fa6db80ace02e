"""Of two clusters exactly one runs the schedules, by the daemon's own scheduler and real code servers."""

import contextlib
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cath_dagster.orchestration.internals.instigators import TickStatus
from tests.support.dagster_internals import (
    ModuleTarget,
    SchedulerDaemon,
    WorkspaceProcessContext,
    launch_scheduled_runs,
)

pytestmark = [pytest.mark.daemon, pytest.mark.stack]

NIGHT = datetime(2026, 3, 31, 0, 59, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
AT_ONE = ["clear_audit", "expired_artefacts", "no_match_artefacts", "subscriptions"]
QUEUE = {"run_coordinator": {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}}
"""Runs stay in the queue: this is about who asks for them."""


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dg.DagsterInstance]:
    """Yield the instance of a cluster: each has a database of its own."""
    folder.mkdir()
    with dg.instance_for_test(overrides=QUEUE, set_dagster_home=False, temp_dir=str(folder)) as instance:
        yield instance


@contextlib.contextmanager
def deployed(instance: dg.DagsterInstance, schedules: str) -> Iterator[WorkspaceProcessContext]:
    """Start a code server that is told whether its schedules run."""
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("CATH_SCHEDULES", schedules)
        target = ModuleTarget("cath_dagster.cath.definitions", None, None, "cath")
        with WorkspaceProcessContext(instance, target) as workspace:
            yield workspace


def look(workspace: WorkspaceProcessContext, at: datetime) -> None:
    """Let the scheduler look once what is due."""
    logger = logging.getLogger(SchedulerDaemon.daemon_type())
    with ThreadPoolExecutor(1) as pool:
        futures: dict[str, Future[Any]] = {}
        errors = [
            error
            for error in launch_scheduled_runs(
                workspace, logger, at, {}, threadpool_executor=pool, scheduler_run_futures=futures
            )
            if error is not None
        ]
    assert errors == []


def asked_for(instance: dg.DagsterInstance) -> list[str]:
    return sorted(run.job_name for run in instance.get_runs())


def test_only_the_cluster_whose_schedules_run_asks_for_runs(tmp_path: Path) -> None:
    with cluster(tmp_path / "first") as first, cluster(tmp_path / "second") as second:
        with deployed(first, "running") as running, deployed(second, "standby") as standby:
            for at in (NIGHT, NIGHT + MINUTE):
                look(running, at)
                look(standby, at)

            assert asked_for(first) == AT_ONE
            assert asked_for(second) == []

        # The schedules move: first the one stops, then the other starts. No tick falls to both or to none.
        with deployed(first, "standby") as standby, deployed(second, "running") as running:
            for at in (NIGHT + timedelta(hours=12), NIGHT + timedelta(hours=24) + MINUTE):
                look(standby, at)
                look(running, at)

            assert asked_for(first) == AT_ONE
            assert asked_for(second) == AT_ONE


def test_a_schedule_that_somebody_starts_on_a_standby_cluster_skips_its_ticks(tmp_path: Path) -> None:
    with cluster(tmp_path / "second") as instance, deployed(instance, "standby") as workspace:
        repository = workspace.create_request_context().get_code_location("cath").get_repository("__repository__")
        schedule = repository.get_schedule("clear_audit_cron")
        instance.start_schedule(schedule)
        started_at = datetime.now(UTC)
        tomorrow = (started_at + timedelta(days=1)).replace(hour=1, minute=0, second=5)

        look(workspace, tomorrow)

        (tick,) = instance.get_ticks(schedule.get_remote_origin_id(), schedule.selector_id)
        assert tick.status == TickStatus.SKIPPED
        assert tick.tick_data.skip_reason == "CATH_SCHEDULES is standby: another cluster runs the schedules"
        assert asked_for(instance) == []
