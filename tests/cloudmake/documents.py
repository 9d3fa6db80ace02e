"""A server on loopback that answers every request with what a test says."""

from http.server import BaseHTTPRequestHandler
from typing import cast

from cath_dagster.development.simulators.loopback import Loopback, LoopbackServer


class DocumentServer(Loopback):
    """Serves one answer; `hangs` serves none at all."""

    def __init__(self) -> None:
        super().__init__()
        self.status, self.kind, self.body = 200, "application/json", "{}"
        self.headers: dict[str, str] = {}
        self.hangs = False

    @property
    def url(self) -> str:
        return f"http://{self.address}/openapi.json"

    def _listen(self, port: int) -> LoopbackServer:
        return _Server(self, port)


class _Server(LoopbackServer):
    def __init__(self, documents: DocumentServer, port: int) -> None:
        self.documents = documents
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        documents = cast("_Server", self.server).documents
        if documents.hangs:
            documents.stopping.wait()
            return
        self.send_response(documents.status)
        for name, value in {"Content-Type": documents.kind, **documents.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(documents.body.encode())
