"""An HTTP server on loopback that can be stopped at any moment, for the local stand-ins of providers."""

import socket
import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


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
