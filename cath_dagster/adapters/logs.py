"""Log lines as JSON, one object a line, for machines that collect them; on standard error, as all that is no result.

The form is Pino's, by which collectors and viewers know them: `level` as a word, `time` in ISO 8601, `msg`, then our own.
"""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.run.summary import summary
from cath_dagster.core.telemetry import trace_id

VARIABLE = "CATH_DAGSTER_LOG_FORMAT"
TEXT, JSON = "text", "json"
VALUES = "told_values"
"""Of a log record of Python's, the attribute that has what a run tells by name beside its message."""
LEVELS = {"warning": "warn", "critical": "fatal"}
"""Pino's words for the levels that Python calls otherwise."""


def is_json(environ: Mapping[str, str]) -> bool:
    """Return whether log lines should be JSON; raise `ConfigurationError` for a format that we do not know."""
    wanted = environ.get(VARIABLE) or TEXT
    if wanted not in (TEXT, JSON):
        raise ConfigurationError(f"{VARIABLE} is {wanted!r}; it may be {TEXT} or {JSON}")
    return wanted == JSON


def run_fields(location: str | None, job: str | None, run_id: str | None, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what every line about a run has, by which it is found."""
    return {
        "location": location,
        "job": job,
        "run_id": run_id,
        "trace_id": trace_id(run_id, environ) if run_id else None,
    }


def json_line(level: str, message: str, at: datetime, **fields: Any) -> str:
    """Return one line in Pino's form; fields without a value are left out."""
    told = {name: value for name, value in fields.items() if value is not None}
    name = LEVELS.get(level.lower(), level.lower())
    head = {"level": name, "time": at.isoformat(timespec="milliseconds"), "msg": message}
    return json.dumps(head | told, default=str)


class JsonReporter:
    """Writes what a run says as JSON lines; `quiet` leaves out all but warnings and the end."""

    def __init__(self, spec: JobSpec, run_id: str, environ: Mapping[str, str], *, quiet: bool = False) -> None:
        self._fields = run_fields(spec.location.name, spec.name, run_id, environ)
        self._quiet = quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._write("error", f"interrupted by {kind.__name__}", status="interrupted")

    def info(self, message: str, **values: Scalar) -> None:
        if not self._quiet:
            self._write("info", message, **values)

    def warning(self, message: str) -> None:
        self._write("warning", message)

    def progress(self, target: str, done: int, total: int) -> None:
        """Say nothing: a collector of logs draws no bars, and the metrics tell how a run gets on."""

    def ended(self, result: RunResult) -> None:
        level = "info" if result.status is Status.SUCCESS else "error"
        outcomes = [{"target": outcome.target, **outcome.counts()} for outcome in result.outcomes]
        seconds = round(result.seconds, 3)
        self._write(level, summary(result), status=result.status.value, seconds=seconds, outcomes=outcomes)

    def _write(self, level: str, message: str, **fields: Any) -> None:
        # In one piece: an interrupt between a line and its end would put two objects on one line.
        sys.stderr.write(json_line(level, message, datetime.now(UTC), **self._fields, **fields) + "\n")
        sys.stderr.flush()
