"""A way to the server that can be cut: TCP on loopback, passed on to the server's socket."""

import contextlib
import select
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 1 << 16


class Proxy:
    """Listens on 127.0.0.1 and passes everything on to a unix socket, until it is told to cut the connections."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            # Closing alone does not wake the thread that waits for somebody to come.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._accepting.join()

    def url(self, database: str, user: str) -> str:
        """Return the libpq URL of a database behind it."""
        host, port = self._listener.getsockname()
        return f"postgresql://{user}@{host}:{port}/{database}?sslmode=disable&gssencmode=disable"

    def cut(self) -> int:
        """Cut every connection that stands; return how many there were. New ones may be made at once."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
            for each in (each for pair in pairs for each in pair):
                # Whoever serves it is woken by this, and closes it.
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.socket(socket.AF_UNIX) as far, contextlib.suppress(OSError):
            far.connect(self._target)
            with self._lock:
                self._pairs.add((near, far))
            try:
                _pass_on(near, far)
            finally:
                with self._lock:
                    self._pairs.discard((near, far))


def _pass_on(near: socket.socket, far: socket.socket) -> None:
    """Pass on what either side says, until one of them ends."""
    sinks = {near: far, far: near}
    while True:
        for source in select.select(list(sinks), (), ())[0]:
            said = source.recv(CHUNK)
            if not said:
                return
            sinks[source].sendall(said)
