"""An HTTP server on loopback that can be stopped at any moment, and what the local stand-ins of providers have in common."""

import socket
import sys
import threading
import traceback
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class LoopbackServer(ThreadingHTTPServer):
    """Serves each connection in a thread, and knows its connections so that it can cut them."""

    # Who stops it waits for the threads, after it has cut their connections.
    daemon_threads = False
    # Clients that come all at once, such as a job's threads, are not turned away.
    request_queue_size = 128

    def __init__(self, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            self._connections.discard(request)
        super().shutdown_request(request)

    def cut_off(self) -> None:
        """End every connection; a client that waits for its answer gets none."""
        for connection in list(self._connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It ended by itself in between.
                continue

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the server's own interface
        """Say nothing of a client that has gone: that is what a time-out in it looks like from here."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            traceback.print_exc()


class Loopback(ABC):
    """A stand-in that listens; `start` and `stop` it, or use it as a context manager. Started again, it has the same port."""

    def __init__(self, port: int = 0) -> None:
        self.stopping = threading.Event()
        """Set when it stops, for requests that hang."""
        self._port = port
        self._server: LoopbackServer | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @abstractmethod
    def _listen(self, port: int) -> LoopbackServer:
        """Return the server, on any port where none is given."""

    @property
    def address(self) -> str:
        """Host and port; raises `RuntimeError` before it is started."""
        if self._server is None:
            raise RuntimeError(f"{type(self).__name__} is not started")
        return f"127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self.stopping.clear()
        self._server = self._listen(self._port)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop at once: requests that hang are cut off."""
        if self._server is None or self._thread is None:
            return
        self.stopping.set()
        self._server.shutdown()
        self._thread.join()
        self._server.cut_off()
        self._server.server_close()
        self._server = self._thread = None
