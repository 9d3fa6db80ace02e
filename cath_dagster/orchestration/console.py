"""What a Dagster run prints: Dagster's own lines or, where `CATH_DAGSTER_LOG_FORMAT` says so, JSON."""

import logging
import os
from datetime import UTC, datetime

import dagster as dg
from dagster._core.events import EVENT_TYPE_TO_DISPLAY_STRING
from dagster._core.log_manager import get_log_record_metadata  # without a public name

from cath_dagster.adapters.logs import json_line, run_fields
from cath_dagster.orchestration.config import CONSOLE
from cath_dagster.orchestration.jobs import QUEUE_KEY


@dg.logger
def json_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Print one JSON object a line on standard error, with the run's id, job, location and trace."""
    del context
    handler = logging.StreamHandler()
    handler.setFormatter(_RunFormatter())
    logger = logging.getLogger("cath_dagster.console")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    # A process may do several runs, one after the other.
    logger.handlers = [handler]
    return logger


LOGGERS = {CONSOLE: json_logger}
"""For `dg.Definitions(loggers=…)`, of every code location."""


class _RunFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told = get_log_record_metadata(record)
        location, _, job = (told["job_tags"] or {}).get(QUEUE_KEY, "").partition("/")
        event = told["dagster_event"]
        error = getattr(event.event_specific_data, "error", None) if event is not None else None
        return json_line(
            record.levelname,
            told["orig_message"],
            datetime.fromtimestamp(record.created, UTC),
            **run_fields(location or None, job or told["job_name"], told["run_id"], os.environ),
            step=told["step_key"],
            event=EVENT_TYPE_TO_DISPLAY_STRING.get(event.event_type, event.event_type_value)
            if event is not None
            else None,
            error=error.to_string() if error is not None else None,
        )
