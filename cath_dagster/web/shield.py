"""What every answer carries so that a browser does with it what we mean and no more; and bodies that are too long."""

from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cath_dagster.web.api.answers import problem_answer
from cath_dagster.web.problems import Problem

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
"""Nothing inline, and nothing from another host."""
HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
STATIC = "/static/"
MAX_BODY = 64 * 1024
"""A run's parameters are a few hundred bytes."""


class Shield:
    """Goes around the whole application, streams included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS, *_caching(scope["path"], message["headers"])]
            await send(message)

        body = _Body(receive)
        if _announced(scope["headers"]) > MAX_BODY:
            await problem_answer(too_long())(scope, receive, send_shielded)
            return
        await self._app(scope, body.receive, send_shielded)


class _Body:
    """A body that comes in pieces, without saying how long it will be."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._length = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._length += len(message.get("body", b""))
        if self._length > MAX_BODY:
            raise too_long()
        return message


def too_long() -> Problem:
    return Problem(413, "too long", f"a body may have {MAX_BODY} bytes")


def _announced(headers: Iterable[tuple[bytes, bytes]]) -> int:
    given = next((value for name, value in headers if name == b"content-length"), b"0")
    return int(given) if given.isdigit() else 0


def _caching(path: str, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    if any(name == b"cache-control" for name, _ in headers):
        return []
    return [(b"cache-control", b"public, max-age=3600" if path.startswith(STATIC) else b"no-store")]
