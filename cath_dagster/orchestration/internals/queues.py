"""The queue of runs as the instance makes it of its configuration."""

from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._serdes import ConfigurableClassData

__all__ = ["ConfigurableClassData", "QueuedRunCoordinator"]
