"""What the console answers when it cannot do what was asked: RFC 9457's problem details."""

import math
from collections.abc import Mapping
from typing import Any

MEDIA_TYPE = "application/problem+json"
UNAVAILABLE = 503


class Problem(Exception):  # noqa: N818 - RFC 9457 calls it so, and it is an answer
    """An answer that is no success; `extra` are members of its own, such as the run that is going."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra

    def as_json(self) -> dict[str, Any]:
        return {"type": "about:blank", "title": self.title, "status": self.status, "detail": self.detail, **self.extra}


def unauthenticated(detail: str) -> Problem:
    return Problem(401, "who are you", detail, headers={"WWW-Authenticate": 'Bearer realm="cath-dagster"'})


def too_many(seconds: float) -> Problem:
    wait = str(math.ceil(seconds))
    return Problem(429, "too many wrong tokens", f"try again in {wait} s", headers={"Retry-After": wait})


def not_found(what: str) -> Problem:
    return Problem(404, "not found", what)


def unusable(detail: str, **extra: Any) -> Problem:
    return Problem(422, "cannot be used", detail, **extra)


def conflict(detail: str, **extra: Any) -> Problem:
    return Problem(409, "conflict", detail, **extra)


def unavailable(detail: str) -> Problem:
    return Problem(UNAVAILABLE, "not available now", detail, headers={"Retry-After": "5"})
