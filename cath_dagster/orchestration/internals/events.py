"""What a run's log lines carry, and what an op's context raises that has no run."""

import dagster as dg
from dagster._core.errors import DagsterInvalidPropertyError
from dagster._core.events import EVENT_TYPE_TO_DISPLAY_STRING
from dagster._core.log_manager import get_log_record_metadata

__all__ = ["DagsterInvalidPropertyError", "event_name", "get_log_record_metadata"]


def event_name(event: dg.DagsterEvent) -> str:
    """Return what the UI calls an event's type."""
    return EVENT_TYPE_TO_DISPLAY_STRING.get(event.event_type, event.event_type_value)
