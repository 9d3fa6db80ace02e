"""A Kubernetes API that listens: the part of it that Dagster's run launcher and these tests use, and its faults."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml

from tests.kubernetes.cluster import Cluster, ConflictError, NotFoundError

VERSION = "1.31"
TOKEN = "only-for-this-test"
NAMESPACE = "cath-dagster"
MADE_UP = "made up by a test"
KINDS = {
    "jobs": ("batch/v1", "Job"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "secrets": ("v1", "Secret"),
    "configmaps": ("v1", "ConfigMap"),
}
ROUTE = re.compile(
    r"/(?:api/v1|apis/batch/v1)/namespaces/(?P<namespace>[^/]+)/(?P<resource>\w+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<part>log|status))?"
)


@dataclass
class Fault:
    """An answer in place of the right one, so many times, to requests whose path or body contains `of`.

    `after` what was asked for has been done: the answer was lost on the way.
    """

    method: str
    resource: str
    status: int
    of: str
    times: int = 1
    after: bool = False


@dataclass
class KubernetesApi:
    """The listening server; `kubeconfig` leads a client to it."""

    cluster: Cluster
    kubeconfig: Path
    faults: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """The method, path and body of every request."""
    _server: ThreadingHTTPServer | None = None
    _port: int = 0

    def __enter__(self) -> Self:
        self._listen()
        server = {"name": "test", "cluster": {"server": f"http://127.0.0.1:{self._port}"}}
        user = {"name": "test", "user": {"token": TOKEN}}
        context = {"name": "test", "context": {"cluster": "test", "user": "test", "namespace": NAMESPACE}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "test"}
        lists = {"clusters": [server], "users": [user], "contexts": [context]}
        self.kubeconfig.write_text(yaml.safe_dump(config | lists))
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.cluster.stop()

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[None]:
        """Refuse every connection for the block."""
        self._close()
        try:
            yield
        finally:
            self._listen()

    def fault(self, method: str, resource: str, text: str) -> Fault | None:
        """Return the fault that a request meets, and use it up."""
        for fault in self.faults:
            if (fault.method, fault.resource) == (method, resource) and fault.of in text and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def _listen(self) -> None:
        api = self

        class Handler(_Handler):
            server_api = api

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def _close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    server_api: KubernetesApi

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        text = f"{url.path} {json.dumps(body)}"
        self.server_api.requests.append(f"{self.command} {text}")
        route = ROUTE.fullmatch(url.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._refuse(HTTPStatus.UNAUTHORIZED, "Unauthorized")
        elif route is None or route["resource"] not in KINDS:
            self._refuse(HTTPStatus.NOT_FOUND, f"{url.path} is not served here")
        else:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            fault = self.server_api.fault(self.command, route["resource"], text)
            if fault is None or fault.after:
                self._carry_out_or_refuse(route, query, body, fault)
            else:
                self._refuse(fault.status, MADE_UP)

    def _carry_out_or_refuse(
        self, route: re.Match[str], query: dict[str, str], body: dict[str, Any], fault: Fault | None
    ) -> None:
        try:
            status, answer = self._carry_out(route, query, body)
        except NotFoundError as error:
            self._refuse(HTTPStatus.NOT_FOUND, str(error))
        except ConflictError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
        except kubernetes_validate.ValidationError as error:
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, error.message)
        else:
            if fault is None:
                self._send(status, answer)
            else:
                self._refuse(fault.status, MADE_UP)

    def _carry_out(self, route: re.Match[str], query: dict[str, str], body: dict[str, Any]) -> tuple[int, Any]:
        cluster, resource, namespace = self.server_api.cluster, route["resource"], route["namespace"]
        version, kind = KINDS[resource]
        if self.command == "POST":
            kubernetes_validate.validate({"apiVersion": version, "kind": kind, **body}, VERSION, strict=True)
            return HTTPStatus.CREATED, cluster.create(resource, namespace, body)
        if self.command == "DELETE":
            grace = query.get("gracePeriodSeconds") or body.get("gracePeriodSeconds")
            seconds = None if grace is None else float(grace)
            return HTTPStatus.OK, cluster.delete(resource, namespace, route["name"], grace_seconds=seconds)
        if route["part"] == "log":
            lines = cluster.log(namespace, route["name"]).splitlines(keepends=True)
            return HTTPStatus.OK, "".join(lines[-int(query.get("tailLines", len(lines) or 1)) :])
        if route["name"]:
            return HTTPStatus.OK, cluster.read(resource, namespace, route["name"])
        selectors = (selector(query.get("labelSelector")), selector(query.get("fieldSelector")))
        items = cluster.list(resource, namespace, *selectors)
        return HTTPStatus.OK, {"apiVersion": version, "kind": f"{kind}List", "metadata": {}, "items": items}

    def _refuse(self, status: int, message: str) -> None:
        self._send(status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message})

    def _send(self, status: int, answer: Any) -> None:
        text = isinstance(answer, str)
        content = answer.encode() if text else json.dumps(answer).encode()
        # A client that gave up waiting is no fault of ours.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if text else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)


def selector(text: str | None) -> dict[str, str]:
    """Return the equalities of a selector; others are not served here."""
    pairs = [one.partition("=") for one in (text or "").split(",") if one]
    return {key: value.removeprefix("=") for key, _, value in pairs}
