"""What of GitHub's answers says later, and how long it is waited for.

GitHub limits twice: by a quota for the hour, and by secondary limits on how much comes at once, which may or may not say for
how long. Both come as 403 or 429, and 403 is also what a token gets that may not do what it asks.
"""

import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from cath_dagster.adapters.exchange import Answer, UnreachableError
from cath_dagster.core.ports.github import GitHubError, Quota

LONGEST_WAIT = 120.0
"""Seconds that a run waits where GitHub says how long; for more the next run comes back."""
LIMIT_WORDS = ("rate limit", "abuse detection")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Persistence:
    """How often is asked again what got no answer, and after how long: 1, 2, 4 s and up to one more."""

    retries: int = 3
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    now: Callable[[], datetime] = _now
    """The provider's time, by which it says when a quota is full again; never a run's reference time."""

    def ask(self, exchange: Callable[[], Answer], *, is_repeatable: bool = True) -> Answer:
        """Return the first proper answer; raise `GitHubError` where none comes, or where it would be too long in coming.

        What is not repeatable is asked again only where GitHub has turned it away.
        """
        for attempt in range(self.retries + 1):
            try:
                answer = exchange()
                obstacle = find_obstacle(answer, self.now())
            except UnreachableError as error:
                obstacle = GitHubError(f"GitHub {error}", is_outage=True)
            else:
                if obstacle is None:
                    return answer
            may_repeat = is_repeatable or obstacle.is_limit
            pause = 2.0**attempt + self.jitter() if obstacle.after is None else obstacle.after
            if attempt == self.retries or not may_repeat or pause > LONGEST_WAIT:
                raise obstacle
            self.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def find_obstacle(answer: Answer, now: datetime) -> GitHubError | None:
    """Return what is to be waited for; None of an answer that another attempt would not better."""
    status = answer.status
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return GitHubError(f"GitHub answered HTTP {status}", status=status, is_outage=True, after=_retry_after(answer))
    if status == HTTPStatus.TOO_MANY_REQUESTS or (status == HTTPStatus.FORBIDDEN and _is_limit(answer)):
        after = _wait(answer, now)
        says = "" if after is None else f", for {after:.0f} s more"
        return GitHubError(f"GitHub asks to slow down (HTTP {status}){says}", status=status, is_limit=True, after=after)
    return None


def read_quota(headers: Mapping[str, str]) -> Quota | None:
    """Return what the headers say is left; None where they say nothing."""
    with suppress(KeyError, ValueError, OverflowError, OSError):
        return Quota(
            resource=headers.get("x-ratelimit-resource", "core"),
            limit=int(headers["x-ratelimit-limit"]),
            remaining=int(headers["x-ratelimit-remaining"]),
            reset_at=datetime.fromtimestamp(int(headers["x-ratelimit-reset"]), UTC),
        )
    return None


def _is_limit(answer: Answer) -> bool:
    if "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0":
        return True
    body = answer.json()
    message = body.get("message") if isinstance(body, dict) else None
    return isinstance(message, str) and any(word in message.lower() for word in LIMIT_WORDS)


def _wait(answer: Answer, now: datetime) -> float | None:
    """Return how many seconds GitHub wants to be left alone, None where it does not say."""
    given = _retry_after(answer)
    quota = read_quota(answer.headers)
    if given is None and quota is not None and quota.remaining == 0:
        # A second more: their clock and ours may differ by as much.
        return max(0.0, (quota.reset_at - now).total_seconds()) + 1
    return given


def _retry_after(answer: Answer) -> float | None:
    with suppress(KeyError, ValueError, OverflowError):
        return max(0.0, float(int(answer.headers["retry-after"])))
    return None
