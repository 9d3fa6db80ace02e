"""What a Dagster run prints: Dagster's own lines or, where `CATH_DAGSTER_LOG_FORMAT` says so, JSON."""

import logging
import os
import sys
import weakref
from datetime import UTC, datetime
from typing import TextIO

import dagster as dg

from cath_dagster.adapters.logs import VALUES, json_line, run_fields
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.orchestration.config import CONSOLE
from cath_dagster.orchestration.internals.events import event_name, get_log_record_metadata


@dg.logger
def json_logger(context: dg.InitLoggerContext) -> logging.Logger:
    """Print one JSON object a line on standard error, with the run's id, job, location and trace."""
    del context
    logger = logging.getLogger("cath_dagster.console")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handler = _StandardError()
    handler.setFormatter(_RunFormatter())
    # A process may do several runs, one after the other.
    logger.handlers = [handler]
    return logger


LOGGERS = {CONSOLE: json_logger}
"""For `dg.Definitions(loggers=…)`, of every code location."""


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes where standard error led before Dagster began to capture the steps' output.

    While a step runs, Dagster sends standard error to a file, which a `tail` copies to where it led; that
    `tail` is killed at the step's end, at times before it has copied the last lines: those that say why it
    failed. In the UI nothing is missing: it shows these lines as the run's events.
    """

    def __init__(self) -> None:
        try:
            copy = os.dup(sys.stderr.fileno())
        except OSError:  # it is no file: the caller collects what is printed
            super().__init__(sys.stderr)
            return
        stream = os.fdopen(copy, "w", buffering=1, encoding="utf-8")
        super().__init__(stream)
        # Not in close(): Dagster configures `logging` after it has made its loggers, which closes every handler.
        weakref.finalize(self, stream.close)


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
            **run_fields(location or None, job or told["job_name"], told["run_id"], MountedEnvironment()),
            step=told["step_key"],
            event=event_name(event) if event is not None else None,
            error=error.to_string() if error is not None else None,
            **getattr(record, VALUES, {}),
        )
