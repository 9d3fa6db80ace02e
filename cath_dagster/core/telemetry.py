"""What a run reports to a tracing system, behind a small protocol: the core knows no telemetry library.

The telemetry in use is a context variable, as in OpenTelemetry itself: what happens deep inside a run is reported without
being handed through every function in between.
"""

import contextlib
import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Protocol

from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar

PARENT = "TRACEPARENT"
"""The environment variable with the W3C trace context of whoever started the process."""
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


class Span(Protocol):
    """A stretch of a run's work that is being timed."""

    def set_attributes(self, **attributes: Scalar) -> None:
        """Add attributes: numbers and ids."""

    def set_outcome(self, outcome: Outcome) -> None:
        """Add what came of it."""


class Telemetry(Protocol):
    """Where a run's spans and batches go."""

    @property
    def trace_id(self) -> str | None:
        """The trace in which an operator finds the run; None where nobody keeps one."""

    def span(self, name: str, attributes: Mapping[str, Scalar]) -> AbstractContextManager[Span]: ...

    def batch(self, seconds: float, changed: int, *, timed_out: bool) -> None: ...


class _Silence:
    """Reports to nobody; its own span."""

    trace_id = None

    @contextlib.contextmanager
    def span(self, name: str, attributes: Mapping[str, Scalar]) -> Iterator[Span]:
        del name, attributes
        yield self

    def batch(self, seconds: float, changed: int, *, timed_out: bool) -> None: ...

    def set_attributes(self, **attributes: Scalar) -> None: ...

    def set_outcome(self, outcome: Outcome) -> None: ...


_current: ContextVar[Telemetry] = ContextVar("telemetry", default=_Silence())  # noqa: B039 - it has no state


@contextlib.contextmanager
def reporting_to(telemetry: Telemetry) -> Iterator[None]:
    """Report all that happens within to `telemetry`."""
    token = _current.set(telemetry)
    try:
        yield
    finally:
        _current.reset(token)


def current_trace_id() -> str | None:
    return _current.get().trace_id


def span(name: str, **attributes: Scalar) -> AbstractContextManager[Span]:
    """Return a span within the one that is open."""
    return _current.get().span(name, attributes)


def batch(seconds: float, changed: int, *, timed_out: bool = False) -> None:
    """Report one batch of the open span's work, that ended just now."""
    _current.get().batch(seconds, changed, timed_out=timed_out)


def trace_id(run_id: str, environ: Mapping[str, str]) -> str:
    """Return the id of a run's trace: that of the trace it is started in, else its own run id, without the dashes.

    So the id is known before anything is sent, and the steps of one run, each a process perhaps, share a trace.
    """
    parent = _TRACEPARENT.fullmatch(environ.get(PARENT, ""))
    if parent:
        return parent[1]
    try:
        return uuid.UUID(run_id).hex
    except ValueError:
        return hashlib.sha256(run_id.encode()).hexdigest()[:32]
