"""Dagster's web server when it is away, or is something else: nobody knows whether it did what it was asked for."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cath_dagster.adapters.dagster_graphql import DagsterGraphQL
from cath_dagster.core.ports.orchestrator import WITHHELD, OrchestratorError, OrchestratorUnavailableError
from cath_dagster.development.postgres import free_port


@contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[str]:
    """Yield the address of a server that has one answer for everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_server_that_does_not_listen_is_unavailable() -> None:
    client = DagsterGraphQL(f"http://127.0.0.1:{free_port()}")

    assert client.is_alive() is False
    with pytest.raises(OrchestratorUnavailableError, match="does not answer: ConnectionError"):
        client.launch("cath", "clear_audit", config={}, tags={})


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (502, b"<html>hunter2</html>", OrchestratorUnavailableError, "does not answer"),
        (200, b"[]", OrchestratorError, "refuses the request"),
        (400, json.dumps({"errors": [{"message": "hunter2"}]}).encode(), OrchestratorError, "status 400"),
        (302, b"", OrchestratorUnavailableError, "does not answer"),
        (
            200,
            json.dumps({"data": {"launchRun": {"__typename": "PythonError", "message": "hunter2"}}}).encode(),
            OrchestratorError,
            "does not launch cath/clear_audit: PythonError",
        ),
    ],
)
def test_what_it_says_otherwise_is_passed_on_by_its_kind_alone(
    status: int, body: bytes, error: type[OrchestratorError], says: str
) -> None:
    elsewhere = {"Location": "http://127.0.0.1:1/"} if status == 302 else None
    with answering(status, body, elsewhere) as address, pytest.raises(error) as raised:
        DagsterGraphQL(address).launch("cath", "clear_audit", config={}, tags={})

    assert type(raised.value) is error
    assert says in str(raised.value)
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(("is_sensor", "kind"), [(False, "Schedule"), (True, "Sensor")])
def test_what_its_code_location_withholds_is_not_started_and_the_variable_is_named(is_sensor: bool, kind: str) -> None:
    found = {"__typename": kind, "metadataEntries": [{"label": WITHHELD, "text": "HAY_RETENTION_OWNS"}]}
    body = json.dumps({"data": {"found": found}}).encode()

    with answering(200, body) as address, pytest.raises(OrchestratorError, match="before HAY_RETENTION_OWNS=true"):
        DagsterGraphQL(address).set_enabled("hay", "conversation_retention_cron", is_sensor=is_sensor, enabled=True)
