"""GitHub on loopback, for samples and tests: secrets in sealed boxes, comments, environments, quotas, and faults on demand.

It can open what was sealed for it, and so shows what a value was; GitHub itself never does.
"""

import argparse
import json
import re
import signal
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import cast
from urllib.parse import parse_qs, urlsplit

from cath_dagster.core.ports.github import Place
from cath_dagster.development.simulators.github_repositories import (
    HTML,
    JSON,
    Answer,
    Keeper,
    Repo,
    Repositories,
    Request,
    refusal,
)
from cath_dagster.development.simulators.loopback import Loopback, LoopbackServer

RETRY_AFTER = "Retry-After"


@dataclass(frozen=True)
class Fault:
    """What becomes of one request: an answer of its own, or none; with `is_done` only after it was acted on."""

    answer: Answer | None = None
    seconds: float = 0
    is_done: bool = False


class GitHubServer(Loopback):
    """GitHub's API on 127.0.0.1; `start` and `stop` it, or use it as a context manager.

    Faults are planted for single requests: the first fault whose pattern is found in `METHOD /path` is used up by it.
    """

    def __init__(
        self,
        *,
        token: str = "planted-github-token",  # noqa: S107 - made up
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """With `tls` it speaks https, as GitHub's own client wants it."""
        super().__init__(port)
        self.token = token
        self.limit, self.remaining = 5_000, 5_000
        self.reset_at = int(now().timestamp()) + 3_600
        self.counts = True
        """Whether there are quotas at all; an installation of one's own may have none."""
        self.is_read_only = False
        """Whether the token may read alone, as one of a fork's pull request."""
        self.before_answer: Callable[[Request], None] = lambda _: None
        """Called when a request was acted on and its answer not yet sent."""
        self._ahead = timedelta()
        self._tls = tls
        self._lock = threading.RLock()
        self.repositories = Repositories(now=lambda: now() + self._ahead, url=lambda: self.url)
        self._requests: list[Request] = []
        self._faults: deque[tuple[re.Pattern[str], Fault]] = deque()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.address}"

    @property
    def requests(self) -> list[Request]:
        """What was asked so far."""
        with self._lock:
            return list(self._requests)

    @property
    def writes(self) -> list[str]:
        """What was asked so far that changes anything, as `METHOD /path`."""
        return [str(each) for each in self.requests if each.method != "GET"]

    def _listen(self, port: int) -> LoopbackServer:
        server = _Server(self, port)
        if self._tls is not None:
            server.socket = self._tls.wrap_socket(server.socket, server_side=True)
        return server

    # What is there, and what people do by hand

    def add_repository(self, name: str, *environments: str) -> None:
        """Add `owner/name`, with environments of these names."""
        self.repositories.found[name] = Repo(name, environments)

    def remove_repository(self, name: str) -> None:
        del self.repositories.found[name]

    def keeper(self, repository: str, place: str = "actions") -> Keeper:
        """Return who keeps the secrets of a place, such as `codespaces` or `environment:production`."""
        return self.repositories.found[repository].keepers[Place.parse(place)]

    def plant(self, repository: str, place: str, name: str, value: bytes) -> None:
        """Write a secret as a person would, a second after anything before."""
        self.pass_time(1)
        keeper = self.keeper(repository, place)
        with self._lock:
            self.repositories.store(keeper, name, keeper.seal(value))

    def pass_time(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)

    def values(self, repository: str, place: str = "actions") -> dict[str, bytes]:
        """Return what was sealed for a place, by name; raise if one of them was sealed for another."""
        keeper = self.keeper(repository, place)
        with self._lock:
            return {name: keeper.open(secret.sealed) for name, secret in sorted(keeper.secrets.items())}

    def environments(self, repository: str) -> list[str]:
        return self.repositories.found[repository].environments

    def comments(self, repository: str, issue: int) -> list[str]:
        return list(self.repositories.found[repository].comments.get(issue, {}).values())

    def add_comment(self, repository: str, issue: int, body: str) -> int:
        with self._lock:
            return self.repositories.add_comment(self.repositories.found[repository], issue, body)

    # What goes wrong

    def fail_next(
        self,
        status: int,
        *,
        pattern: str = "",
        message: str | None = "Something is wrong",
        headers: Mapping[str, str] | None = None,
        times: int = 1,
    ) -> None:
        """Answer requests so, with a page of HTML where there is no message."""
        page = "<html><body>planted page</body></html>"
        answer = Answer(
            status, page if message is None else {"message": message}, headers or {}, HTML if message is None else JSON
        )
        self._add(pattern, Fault(answer), times)

    def limit_next(
        self, status: int = 403, *, retry_after: int | None = None, pattern: str = "", times: int = 1
    ) -> None:
        """Answer as by a secondary limit, which may say for how long."""
        headers = {} if retry_after is None else {RETRY_AFTER: str(retry_after)}
        message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        self.fail_next(status, pattern=pattern, message=message, headers=headers, times=times)

    def answer_next(self, answer: Answer, *, pattern: str = "") -> None:
        self._add(pattern, Fault(answer), 1)

    def close_next(self, *, pattern: str = "", is_done: bool = False, times: int = 1) -> None:
        """Close the connection without an answer, with `is_done` after the request was acted on."""
        self._add(pattern, Fault(is_done=is_done), times)

    def hang_next(self, seconds: float, *, pattern: str = "", times: int = 1) -> None:
        """Say nothing for so long, and close the connection then."""
        self._add(pattern, Fault(seconds=seconds), times)

    def recover(self) -> None:
        with self._lock:
            self._faults.clear()

    def _add(self, pattern: str, fault: Fault, times: int) -> None:
        with self._lock:
            self._faults.extend([(re.compile(pattern), fault)] * times)

    # How it answers

    def take(self, request: Request) -> Answer | None:
        """Return the answer to a request, None for no answer."""
        with self._lock:
            self._requests.append(request)
            fault = self._take_fault(request)
        if fault is not None and not fault.is_done:
            self.stopping.wait(fault.seconds)
            return fault.answer and self._with_quota(fault.answer)
        with self._lock:
            answer = self._answer(request)
        self.before_answer(request)
        return None if fault is not None else self._with_quota(answer)

    def _take_fault(self, request: Request) -> Fault | None:
        for index, (pattern, fault) in enumerate(self._faults):
            if pattern.search(str(request)):
                del self._faults[index]
                return fault
        return None

    def _answer(self, request: Request) -> Answer:
        if request.headers.get("authorization") not in {f"Bearer {self.token}", f"token {self.token}"}:
            return refusal(401, "Bad credentials")
        if request.path == "/rate_limit":
            return self._rate_limit()
        if self.counts:
            if self.remaining == 0:
                return refusal(403, "API rate limit exceeded for user ID 1.")
            self.remaining -= 1
        if self.is_read_only and request.method != "GET":
            return refusal(403, "Resource not accessible by integration")
        return self.repositories.answer(request)

    def _rate_limit(self) -> Answer:
        if not self.counts:
            return refusal(404, "Rate limiting is not enabled.")
        core = {
            "limit": self.limit,
            "used": self.limit - self.remaining,
            "remaining": self.remaining,
            "reset": self.reset_at,
        }
        return Answer(200, {"resources": {"core": core, "graphql": {**core, "remaining": self.limit, "used": 0}}})

    def _with_quota(self, answer: Answer) -> Answer:
        if not self.counts:
            return answer
        quota = {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Used": str(self.limit - self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
            "X-RateLimit-Resource": "core",
        }
        return Answer(answer.status, answer.body, {**quota, **answer.headers}, answer.kind)


class _Server(LoopbackServer):
    def __init__(self, github: GitHubServer, port: int) -> None:
        self.github = github
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet, or the client waits for the second.
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        request = Request(
            method=self.command,
            # So GitHub's own client asks an installation of one's own.
            path=parts.path.removeprefix("/api/v3"),
            query={name: values[0] for name, values in parse_qs(parts.query).items()},
            headers={name.lower(): value for name, value in self.headers.items()},
            body=json.loads(content) if content else {},
        )
        answer = cast("_Server", self.server).github.take(request)
        if answer is None:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.body is not None:
            self.send_header("Content-Type", answer.kind)
        if answer.status != 204:  # noqa: PLR2004 - HTTP's own
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - as the base class calls them


def _read_repositories(given: list[str]) -> Iterator[tuple[str, list[str]]]:
    for each in given:
        name, _, environments = each.partition(":")
        yield name, [part for part in environments.split(",") if part]


def main() -> None:
    """Serve until the process is ended, saying where on standard output."""
    parser = argparse.ArgumentParser(prog="python -m cath_dagster.development.simulators.github", description=__doc__)
    parser.add_argument("repositories", nargs="+", help="owner/name, or owner/name:environment,environment")
    parser.add_argument("--token", default="planted-github-token", help="the token that it takes")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with GitHubServer(token=given.token) as server:
        for name, environments in _read_repositories(given.repositories):
            server.add_repository(name, *environments)
        print(server.url, flush=True)  # noqa: T201 - who started it reads the address
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
