"""Where telemetry goes, by the environment: an OTLP collector, Application Insights, both or, by default, nowhere.

The libraries are imported only where they are needed: a run without telemetry does not pay for them.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cath_dagster.adapters.mounted import hand_down
from cath_dagster.core.errors import ConfigurationError

if TYPE_CHECKING:
    # A run that sends nothing loads none of it.
    from opentelemetry.sdk._logs.export import LogRecordExporter
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.trace.export import SpanExporter

OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT"
PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
SIGNALS_HEADERS = (
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS",
)
HTTP = "http/protobuf"
DISABLED = "OTEL_SDK_DISABLED"
AZURE = ("APPLICATIONINSIGHTS_CONNECTION_STRING", "APPLICATION_INSIGHTS_CONNECTION_STRING")
AZURE_SILENCE = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)
"""By these Microsoft's exporter leaves off telling Microsoft about itself, asking it for instructions, and asking the
process's own telemetry, of which there is none, for a resource.
"""
AZURE_SECONDS = 5.0
"""Of one request, to connect and to answer: the exporter's own limits are 10 s and 5 minutes."""

COMPLAINTS = {"opentelemetry": logging.ERROR, "azure.monitor": logging.WARNING}
"""The loggers of the libraries, with the level from which on something was lost. Others of Azure's may be the compute
logs' clients.
"""


@dataclass(frozen=True)
class Exporters:
    """The three exporters of one destination."""

    spans: "SpanExporter"
    metrics: "MetricExporter"
    logs: "LogRecordExporter"


@dataclass(frozen=True)
class Destination:
    """A destination that the environment names; `variable` is the one that names it."""

    name: str
    variable: str
    value: str
    headers: tuple[str, ...] = field(default=(), repr=False)
    """Of an OTLP endpoint, by signal, as the variables write them: they are where its secrets are."""

    def open(self) -> Exporters:
        """Return its exporters; nothing is sent yet. Raises whatever the library makes of a value it cannot use."""
        return _open_azure(self.value) if self.variable in AZURE else _open_otlp(self.value, self.headers)


def find_destinations(environ: Mapping[str, str]) -> list[Destination]:
    """Return the destinations that the environment names; raise `ConfigurationError` for a protocol we do not speak."""
    if environ.get(DISABLED, "").strip().lower() == "true":
        return []
    found = []
    if endpoint := environ.get(OTLP):
        if environ.get(PROTOCOL, HTTP) != HTTP:
            raise ConfigurationError(f"{PROTOCOL} is {environ[PROTOCOL]!r}; only {HTTP} is spoken here")
        headers = tuple(environ.get(name) or environ.get(HEADERS, "") for name in SIGNALS_HEADERS)
        found.append(Destination("the OTLP endpoint", OTLP, endpoint, headers))
    for variable in AZURE:
        if connection_string := environ.get(variable):
            found.append(Destination("Application Insights", variable, connection_string))
            break
    return found


def _open_otlp(endpoint: str, headers: Sequence[str]) -> Exporters:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.util.re import parse_env_headers

    # Certificates, compression and time limit are read by the exporters, from the usual variables.
    address = endpoint.rstrip("/")
    traces, metrics, logs = (parse_env_headers(each, liberal=True) for each in headers)
    return Exporters(
        OTLPSpanExporter(endpoint=f"{address}/v1/traces", headers=traces),
        OTLPMetricExporter(endpoint=f"{address}/v1/metrics", headers=metrics),
        OTLPLogExporter(endpoint=f"{address}/v1/logs", headers=logs),
    )


def _open_azure(connection_string: str) -> Exporters:
    for variable in AZURE_SILENCE:
        hand_down(variable, "true")
    from azure.monitor.opentelemetry.exporter import (
        AzureMonitorLogExporter,
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )

    options = {
        "connection_string": connection_string,
        # A pod's disk is gone with it, and may be read-only.
        "disable_offline_storage": True,
        "timeout": AZURE_SECONDS,
        "read_timeout": AZURE_SECONDS,
        "retry_total": 2,
    }
    return Exporters(
        AzureMonitorTraceExporter(**options), AzureMonitorMetricExporter(**options), AzureMonitorLogExporter(**options)
    )


class Complaints(logging.Handler):
    """Remembers that a library failed, in place of lines of its own in the run's output."""

    def __init__(self) -> None:
        super().__init__()
        self.any = False
        self._loggers = {logger: logger.propagate for logger in map(logging.getLogger, COMPLAINTS)}
        for logger in self._loggers:
            logger.addHandler(self)
            logger.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        (level,) = (level for name, level in COMPLAINTS.items() if record.name.startswith(name))
        self.any |= record.levelno >= level

    def stop(self) -> None:
        """Let the libraries speak for themselves again."""
        for logger, propagate in self._loggers.items():
            logger.removeHandler(self)
            logger.propagate = propagate


def run_all(tasks: Sequence[Callable[[], object]], *, within: float) -> bool:
    """Run the tasks at once, and return, after so many seconds at most, whether all are done.

    What is not done by then dies with the process.
    """
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    deadline = time.monotonic() + within
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:
        # The process may have no more threads.
        return False
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
