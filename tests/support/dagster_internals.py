"""The tests' one door to what Dagster keeps private, beyond what `orchestration.internals` has for the jobs themselves."""

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.definitions.sensor_definition import SensorType
from dagster._core.events import (
    AssetObservationData,
    EngineEventData,
    JobFailureData,
    RunFailureReason,
    StepMaterializationData,
)
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.execution.plan.objects import StepFailureData, UserFailureData
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.scheduler.instigation import InstigatorStatus, SensorInstigatorData, TickData
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.daemon import SchedulerDaemon
from dagster._daemon.types import DaemonHeartbeat
from dagster._scheduler.scheduler import launch_scheduled_runs

__all__ = [
    "AssetObservationData",
    "BulkActionStatus",
    "DaemonHeartbeat",
    "EngineEventData",
    "FreshnessState",
    "FreshnessStateChange",
    "InstigatorStatus",
    "JobFailureData",
    "ModuleTarget",
    "PartitionBackfill",
    "QueuedRunCoordinator",
    "ReconstructableRepository",
    "RegisteredCodeLocationOrigin",
    "RemoteInstigatorOrigin",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
    "RunFailureReason",
    "SchedulerDaemon",
    "SensorInstigatorData",
    "SensorType",
    "StepFailureData",
    "StepMaterializationData",
    "TickData",
    "UserFailureData",
    "WorkspaceProcessContext",
    "launch_scheduled_runs",
    "report_runless",
]


def report_runless(instance: dg.DagsterInstance, event: FreshnessStateChange) -> None:
    """Record an event as the daemon does, of no run."""
    instance._report_runless_asset_event(event)
