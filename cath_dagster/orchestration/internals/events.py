"""What a run's log lines carry, and what an op's context raises that has no run."""

from dagster._core.errors import DagsterInvalidPropertyError
from dagster._core.events import EVENT_TYPE_TO_DISPLAY_STRING
from dagster._core.log_manager import get_log_record_metadata

__all__ = ["EVENT_TYPE_TO_DISPLAY_STRING", "DagsterInvalidPropertyError", "get_log_record_metadata"]
