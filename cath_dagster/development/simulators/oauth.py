"""An OAuth 2 provider on loopback, for samples and tests: it refreshes tokens, and fails on demand."""

import argparse
import base64
import json
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import cast
from urllib.parse import parse_qs, unquote_plus

from cath_dagster.development.simulators.loopback import Loopback, LoopbackServer

JSON, HTML = "application/json", "text/html"


@dataclass(frozen=True)
class TokenRequest:
    """One request as it came."""

    form: Mapping[str, str]
    client: tuple[str, str]
    is_basic: bool

    @property
    def refresh_token(self) -> str:
        return self.form.get("refresh_token", "")


@dataclass(frozen=True)
class _Fault:
    """What happens to one request: an answer of its own, or none at all after `seconds`."""

    status: int | None = None
    body: str = ""
    kind: str = JSON
    seconds: float = 0
    spends: bool = False


class OAuthProvider(Loopback):
    """A token endpoint on 127.0.0.1; `start` and `stop` it, or use it as a context manager.

    Every refresh token is good for one refresh, if it was not revoked; which ones it gave out itself does not matter.
    """

    def __init__(
        self,
        *,
        client: tuple[str, str] = ("client", "secret"),
        lifetime: int | str | None = 3600,
        rotates: bool = True,
        is_single_use: bool = True,
        seconds: float = 0,
        revoked: Sequence[str] = (),
        port: int = 0,
    ) -> None:
        """`lifetime` is what `expires_in` says; with `rotates` a new refresh token comes; an answer takes `seconds`."""
        super().__init__(port)
        self.client = client
        self.lifetime = lifetime
        self.rotates = rotates
        self.extra: dict[str, object] = {}
        self.is_single_use = is_single_use
        self.seconds = seconds
        self.before_answer: Callable[[], None] = lambda: None
        """Called when a refresh token is spent and the answer not yet sent."""
        self._lock = threading.Lock()
        self._revoked = set(revoked)
        self._spent: list[str] = []
        self._requests: list[TokenRequest] = []
        self._faults: deque[_Fault] = deque()
        self._by_token: dict[str, _Fault] = {}
        self._under_way = 0
        self.most_at_once = 0

    @property
    def token_url(self) -> str:
        return f"http://{self.address}/token"

    @property
    def requests(self) -> list[TokenRequest]:
        """What was asked so far."""
        with self._lock:
            return list(self._requests)

    @property
    def spent(self) -> list[str]:
        """The refresh tokens that were spent, in order; one twice is a mistake of the client's."""
        with self._lock:
            return list(self._spent)

    def _listen(self, port: int) -> LoopbackServer:
        return _Server(self, port)

    def revoke(self, *refresh_tokens: str) -> None:
        """Refuse these from now on."""
        with self._lock:
            self._revoked.update(refresh_tokens)

    def fail_next(self, status: int, error: str | None = None, *, times: int = 1) -> None:
        """Answer the next requests with this status, and this error code in JSON or a page of HTML."""
        self._add(_failure(status, error), times)

    def answer_next(self, status: int, body: str, kind: str = JSON) -> None:
        """Answer the next request so."""
        self._add(_Fault(status, body, kind), 1)

    def fail_for(self, refresh_token: str, status: int, error: str | None = None) -> None:
        """Answer so whenever this refresh token comes."""
        self._by_token[refresh_token] = _failure(status, error)

    def hang_for(self, refresh_token: str, seconds: float) -> None:
        """Give no answer whenever this refresh token comes, and close the connection in the end."""
        self._by_token[refresh_token] = _Fault(seconds=seconds)

    def recover(self) -> None:
        """Answer as usual again."""
        self._by_token.clear()
        with self._lock:
            self._faults.clear()

    def close_next(self, *, spends: bool = False, times: int = 1) -> None:
        """Close the next requests without an answer, with `spends` after the refresh token was spent."""
        self._add(_Fault(spends=spends), times)

    def _add(self, fault: _Fault, times: int) -> None:
        with self._lock:
            self._faults.extend([fault] * times)

    def take(self, request: TokenRequest) -> tuple[int, str, str] | None:
        """Return the answer to a request as status, body and kind; None for no answer."""
        with self._lock:
            self._requests.append(request)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
            fault = self._faults.popleft() if self._faults else self._by_token.get(request.refresh_token)
        try:
            self.stopping.wait(self.seconds)
            return self._answer(request, fault)
        finally:
            with self._lock:
                self._under_way -= 1

    def _answer(self, request: TokenRequest, fault: _Fault | None) -> tuple[int, str, str] | None:
        if fault is not None and not fault.spends:
            self.stopping.wait(fault.seconds)
            return None if fault.status is None else (fault.status, fault.body, fault.kind)
        if request.client != self.client:
            return _refusal(401, "invalid_client")
        if request.form.get("grant_type") != "refresh_token":
            return _refusal(400, "unsupported_grant_type")
        with self._lock:
            token = request.refresh_token
            if token in self._revoked or (self.is_single_use and token in self._spent):
                return _refusal(400, "invalid_grant")
            self._spent.append(token)
            number = len(self._spent)
        self.before_answer()
        if fault is not None:
            return None
        answer: dict[str, object] = {"access_token": f"access-{number}-{token}", "token_type": "Bearer", **self.extra}
        if self.lifetime is not None:
            answer["expires_in"] = self.lifetime
        if self.rotates:
            answer["refresh_token"] = f"next-{number}-{token}"
        return 200, json.dumps(answer), JSON


def _failure(status: int, error: str | None) -> _Fault:
    if error is None:
        return _Fault(status, "<html><body>planted page</body></html>", HTML)
    return _Fault(status, json.dumps({"error": error, "error_description": "planted description"}))


def _refusal(status: int, error: str) -> tuple[int, str, str]:
    return status, json.dumps({"error": error}), JSON


class _Server(LoopbackServer):
    def __init__(self, provider: OAuthProvider, port: int) -> None:
        self.provider = provider
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet, or the client waits for the second.
    wbufsize = -1

    @property
    def provider(self) -> OAuthProvider:
        return cast("_Server", self.server).provider

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        form = {name: values[0] for name, values in parse_qs(content).items()}
        answer = self.provider.take(_read_request(form, self.headers.get("Authorization")))
        if answer is None:
            self.close_connection = True
            return
        status, body, kind = answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        self.send_error(405)


def _read_request(form: Mapping[str, str], authorization: str | None) -> TokenRequest:
    if authorization and authorization.startswith("Basic "):
        name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return TokenRequest(form, (unquote_plus(name), unquote_plus(secret)), is_basic=True)
    return TokenRequest(form, (form.get("client_id", ""), form.get("client_secret", "")), is_basic=False)


def main() -> None:
    """Serve until the process is ended, saying where on standard output."""
    parser = argparse.ArgumentParser(prog="python -m cath_dagster.development.simulators.oauth", description=__doc__)
    parser.add_argument("--seconds", type=float, default=0, help="how long each answer takes")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with OAuthProvider(seconds=given.seconds) as provider:
        print(provider.token_url, flush=True)  # noqa: T201 - who started it reads the address
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
