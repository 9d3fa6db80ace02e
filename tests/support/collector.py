"""A server that takes telemetry on a real socket, as an OTLP collector and as Application Insights; or does not take it."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

KEY = "00000000-0000-0000-0000-000000000001"


class Mood(Enum):
    TAKES = auto()
    FAILS = auto()
    """Answers 500 to everything."""
    HANGS = auto()
    """Never answers, as long as the test lives."""


@dataclass
class Collector:
    """What was received, as it came, by the path that it was posted to."""

    address: str
    mood: Mood
    posted: list[tuple[str, bytes]] = field(default_factory=list)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of the last request to each path."""
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def otlp(self) -> dict[str, str]:
        """The environment of a run that sends OTLP."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.address}

    @property
    def connection_string(self) -> str:
        return f"InstrumentationKey={KEY};IngestionEndpoint={self.address}/"

    def of(self, path: str) -> list[bytes]:
        return [body for posted, body in self.posted if posted == path]

    @property
    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.of("/v1/traces")]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def metrics(self) -> list[Metric]:
        requests = [ExportMetricsServiceRequest.FromString(body) for body in self.of("/v1/metrics")]
        return [
            metric
            for request in requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    @property
    def logs(self) -> list[LogRecord]:
        requests = [ExportLogsServiceRequest.FromString(body) for body in self.of("/v1/logs")]
        return [
            record
            for request in requests
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def instances(self) -> set[str]:
        """What the senders of metrics call themselves."""
        requests = [ExportMetricsServiceRequest.FromString(body) for body in self.of("/v1/metrics")]
        return {
            attribute.value.string_value
            for request in requests
            for resource in request.resource_metrics
            for attribute in resource.resource.attributes
            if attribute.key == "service.instance.id"
        }

    @property
    def envelopes(self) -> list[dict[str, Any]]:
        """What Application Insights was sent."""
        return [envelope for body in self.of("/v2.1/track") for envelope in json.loads(body)]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def value(self, metric: str, **wanted: str) -> float:
        """Return the one value of a metric with such attributes, named without our prefix; of a histogram the count."""
        found = []
        for each in self.metrics:
            if each.name != f"cath_dagster.{metric}":
                continue
            points = [*each.sum.data_points, *each.gauge.data_points]
            found += [(point.as_double or point.as_int, plain(point.attributes)) for point in points]
            found += [(point.count, plain(point.attributes)) for point in each.histogram.data_points]
        (value,) = [value for value, attributes in found if wanted.items() <= attributes.items()]
        return float(value)


def plain(attributes: Any) -> dict[str, Any]:
    """Return attributes by their names without our prefix."""
    return {each.key.removeprefix("cath_dagster."): _value(each) for each in attributes}


def _value(attribute: KeyValue) -> Any:
    kind = attribute.value.WhichOneof("value")
    return getattr(attribute.value, kind) if kind else None


@contextmanager
def collecting(mood: Mood = Mood.TAKES) -> Iterator[Collector]:
    """Yield a collector that listens until the test is over."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.posted.append((self.path, body))
            collector.headers[self.path] = {name.lower(): value for name, value in self.headers.items()}
            if collector.mood is Mood.HANGS:
                collector.over.wait()
                return
            self.send_response(200 if collector.mood is Mood.TAKES else 500)
            self.end_headers()
            if self.path.endswith("/track"):
                count = len(json.loads(body))
                self.wfile.write(json.dumps({"itemsReceived": count, "itemsAccepted": count, "errors": []}).encode())

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # A sender that is gone must not hold the test up.
    server.daemon_threads = True
    collector = Collector(f"http://127.0.0.1:{server.server_port}", mood)
    # It looks so often whether it should stop; the half second that is usual is longer than most tests.
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield collector
    finally:
        collector.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
