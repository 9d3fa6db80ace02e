"""Record a run with OpenTelemetry's SDK: its spans, metrics and log lines, and send them off in the background.

Imported only where telemetry is sent. The providers are the run's own and not the process's: what is sent carries the
run's id, and is gone when the run has ended.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.metrics import Histogram
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cath_dagster.adapters.exporters import Exporters, run_all
from cath_dagster.adapters.instruments import (
    BATCH_DURATION,
    INSTRUMENTS,
    INTERRUPTED,
    PREFIX,
    RUN_DURATION,
    Instrument,
    Kind,
    Measurement,
    Observed,
    measure_result,
)
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.telemetry import PARENT, trace_id

SERVICE = "cath-dagster"
FLUSH_SECONDS = 2.0
"""The longest that the end of a run waits for what is still to be sent."""
MAX_BATCH_SPANS = 64
"""Of one purge: enough to see where its time went, and no flood where it does hundreds of batches a second."""

Attributes = dict[str, str | bool | int | float | Sequence[str]]


class Recorder:
    """The telemetry of one run, as `core.telemetry.Telemetry` and what else a run's end has to tell."""

    def __init__(self, run: Observed, environ: Mapping[str, str], destinations: Sequence[Exporters]) -> None:
        self.trace_id = trace_id(run.run_id, environ)
        self._observed = run
        self._job = _named({"location": run.spec.location.name, "job": run.spec.name})
        self._run = {**self._job, **_named({"run_id": run.run_id, "step": run.step})}
        resource = Resource.create(
            {
                # Every run is an instance of its own, so that its counters, which begin at zero, are its own series.
                "service.instance.id": run.instance,
                "service.name": environ.get("OTEL_SERVICE_NAME") or SERVICE,
                "service.version": version("cath-dagster"),
            }
        )
        # What is still to be sent is our own concern at the end: at the interpreter's exit nobody waits for it.
        self._tracing = TracerProvider(
            resource=resource, shutdown_on_exit=False, id_generator=_OneTrace(int(self.trace_id, 16))
        )
        self._logging = LoggerProvider(resource=resource, shutdown_on_exit=False)
        readers = [PeriodicExportingMetricReader(exporters.metrics) for exporters in destinations]
        self._metering = MeterProvider(readers, resource, shutdown_on_exit=False)
        processors = [BatchSpanProcessor(exporters.spans) for exporters in destinations]
        log_processors = [BatchLogRecordProcessor(exporters.logs) for exporters in destinations]
        for processor in processors:
            self._tracing.add_span_processor(processor)
        for log_processor in log_processors:
            self._logging.add_log_record_processor(log_processor)
        self._endings: list[Callable[[], object]] = [
            *(each.shutdown for each in processors),
            *(each.shutdown for each in log_processors),
            *(each.shutdown for each in readers),
        ]
        self._tracer = self._tracing.get_tracer(SERVICE)
        self._logger = self._logging.get_logger(SERVICE)
        meter = self._metering.get_meter(SERVICE)
        self._counters = {
            each.name: meter.create_counter(each.name, each.unit, each.description) for each in _of(Kind.COUNTER)
        }
        self._gauges = {
            each.name: meter.create_gauge(each.name, each.unit, each.description) for each in _of(Kind.GAUGE)
        }
        self._histograms = {
            each.name: meter.create_histogram(
                each.name, each.unit, each.description, explicit_bucket_boundaries_advisory=each.bounds
            )
            for each in _of(Kind.HISTOGRAM)
        }
        self._batches = _Batches(self._tracer, self._histograms[BATCH_DURATION.name])
        self._started = time.perf_counter()
        self._ended = False
        parent = TraceContextTextMapPropagator().extract(
            {"traceparent": environ.get(PARENT, ""), "tracestate": environ.get("TRACESTATE", "")}, Context()
        )
        # A consumer takes up what another has asked for; Application Insights shows it as a request that succeeds or fails.
        self._root = self._tracer.start_span(run.name, parent, SpanKind.CONSUMER, self._run)
        self._context = trace.set_span_in_context(self._root, parent)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Scalar]) -> Iterator["_Told"]:
        outer = self._context
        span = self._tracer.start_span(name, outer, attributes={**self._run, **_named(attributes)})
        self._context = trace.set_span_in_context(span, outer)
        self._batches.begin(self._context, {**self._job, **_named({"target": attributes.get("target")})})
        try:
            yield _Told(span)
        except BaseException as error:
            span.set_status(StatusCode.ERROR, _reason(error))
            raise
        finally:
            span.end()
            self._context = outer

    def batch(self, seconds: float, changed: int, *, timed_out: bool) -> None:
        self._batches.add(seconds, changed, timed_out=timed_out)

    def say(self, message: str, severity: str) -> None:
        """Send one of the run's lines; `severity` as OpenTelemetry names it."""
        self._logger.emit(
            timestamp=time.time_ns(),
            context=self._context,
            severity_number=SeverityNumber[severity],
            severity_text=severity,
            body=message,
            attributes=self._run,
        )

    def ended(self, result: RunResult) -> None:
        """Tell what came of a run that came to its end."""
        self._ended = True
        as_of = result.as_of.isoformat() if result.as_of else None
        self._root.set_attributes(_named({"status": result.status.value, "dry_run": result.dry_run, "as_of": as_of}))
        for outcome in result.outcomes:
            self._root.add_event("outcome", _outcome_attributes(outcome))
        if result.status is not Status.SUCCESS:
            self._root.set_status(StatusCode.ERROR, result.error)
        for measurement in measure_result(self._observed, result, datetime.now(UTC)):
            self._measure(measurement)

    def close(self, error: BaseException | None) -> bool:
        """End the trace and send what is left; return whether that was done within the time it has."""
        if not self._ended:
            self._root.set_attributes(_named({"status": INTERRUPTED}))
            self._root.set_status(StatusCode.ERROR, _reason(error) if error else INTERRUPTED)
            self._measure(Measurement(RUN_DURATION, time.perf_counter() - self._started, status=INTERRUPTED))
        self._root.end()
        return run_all(self._endings, within=FLUSH_SECONDS)

    def _measure(self, measurement: Measurement) -> None:
        attributes = {**self._job, **_named(measurement.attributes)}
        name, value = measurement.instrument.name, measurement.value
        match measurement.instrument.kind:
            case Kind.COUNTER:
                self._counters[name].add(value, attributes)
            case Kind.GAUGE:
                self._gauges[name].set(value, attributes)
            case Kind.HISTOGRAM:
                self._histograms[name].record(value, attributes)


class _OneTrace(RandomIdGenerator):
    """Gives the trace the id that is known beforehand."""

    def __init__(self, trace_id: int) -> None:
        self._trace_id = trace_id

    def generate_trace_id(self) -> int:
        return self._trace_id


class _Told:
    """An open span, as `core.telemetry.Span`."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def set_attributes(self, **attributes: Scalar) -> None:
        self._span.set_attributes(_named(attributes))

    def set_outcome(self, outcome: Outcome) -> None:
        self._span.set_attributes(_outcome_attributes(outcome))


class _Batches:
    """The batches of the span that is open: all of them in the histogram, a few as spans of their own.

    A span goes to the first batch, to each that took longer than all before it, and to each that timed out. Of n
    batches alike that is about log n, and the slowest is among them.
    """

    def __init__(self, tracer: trace.Tracer, duration: Histogram) -> None:
        self._tracer = tracer
        self._duration = duration
        self.begin(Context(), {})

    def begin(self, context: Context, attributes: Attributes) -> None:
        self._context, self._attributes = context, attributes
        self._slowest, self._spans = 0.0, 0

    def add(self, seconds: float, changed: int, *, timed_out: bool) -> None:
        self._duration.record(seconds, self._attributes)
        if self._spans == MAX_BATCH_SPANS or not (timed_out or seconds > self._slowest):
            return
        self._slowest = max(self._slowest, seconds)
        self._spans += 1
        ended_at = time.time_ns()
        attributes: Attributes = {**self._attributes, **_named({"changed": changed, "timed_out": timed_out})}
        span = self._tracer.start_span(
            "batch", self._context, attributes=attributes, start_time=ended_at - int(1e9 * seconds)
        )
        span.end(ended_at)


def _of(kind: Kind) -> list[Instrument]:
    return [instrument for instrument in INSTRUMENTS if instrument.kind is kind]


def _named(attributes: Mapping[str, Scalar]) -> Attributes:
    """Return the attributes under names of our own, without those that have no value."""
    return {f"{PREFIX}{name}": value for name, value in attributes.items() if value is not None}


def _outcome_attributes(outcome: Outcome) -> Attributes:
    counts = {name: count for name, count in outcome.counts().items() if count}
    details = {name: outcome.details.get(name) for name in ("pace", "access_path", "index", "duty")}
    return _named({"target": outcome.target, **counts, "batches": outcome.batches, **details})


def _reason(error: BaseException) -> str:
    """Return what may be said of an error: our own messages hold nothing personal, of others only the kind is told."""
    return str(error) if isinstance(error, MaintenanceError) else type(error).__name__
