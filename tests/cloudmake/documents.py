"""A server on loopback that answers every request with what a test says."""

import threading
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Self, cast

from cath_dagster.development.simulators.loopback import LoopbackServer


class DocumentServer:
    """Serves one answer; `hangs` serves none at all."""

    def __init__(self) -> None:
        self.status, self.kind, self.body = 200, "application/json", "{}"
        self.headers: dict[str, str] = {}
        self.hangs = False
        self.stopping = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/openapi.json"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut_off()
        self._server.server_close()


class _Server(LoopbackServer):
    def __init__(self, documents: DocumentServer) -> None:
        self.documents = documents
        super().__init__(0, _Handler)


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
