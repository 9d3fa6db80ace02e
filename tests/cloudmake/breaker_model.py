"""What a breaker does, in few words of Python, for the functions in the database to be held against."""

from dataclasses import dataclass, field


@dataclass
class BreakerModel:
    """One breaker; instants are seconds of a clock that never runs backwards."""

    failure_limit: int = 10
    window: int = 60
    half_open: int = 30
    success_limit: int = 3
    state: str = "CLOSED"
    failures: list[float] = field(default_factory=list)
    successes: int = 0
    opened_at: float | None = None
    last_failure_at: float | None = None
    probe_until: float | None = None
    misconfigured_since: float | None = None

    def allow(self, at: float) -> bool:
        if self.state == "CLOSED":
            return True
        if self.state == "OPEN":
            assert self.last_failure_at is not None
            is_early = at < self.last_failure_at + self.half_open
            if not is_early:
                self.successes = 0
        else:
            is_early = self.probe_until is not None and at < self.probe_until
        if is_early:
            return False
        self.state, self.probe_until = "HALF_OPEN", at + self.half_open
        return True

    def record(self, word: str, at: float) -> str:
        if word == "ok":
            self.misconfigured_since = None
            self._answered()
        elif word in ("unauthorized", "HTTP 403"):
            self.misconfigured_since = at if self.misconfigured_since is None else self.misconfigured_since
            self._answered()
        else:
            self._failed(at)
        return self.state

    def _answered(self) -> None:
        if self.state != "HALF_OPEN":
            return
        self.successes, self.probe_until = self.successes + 1, None
        if self.successes >= self.success_limit:
            self.state, self.successes, self.failures, self.opened_at = "CLOSED", 0, [], None

    def _failed(self, at: float) -> None:
        self.last_failure_at, self.successes, self.probe_until = at, 0, None
        if self.state != "CLOSED":
            self.state = "OPEN"
            return
        self.failures = [*(failure for failure in self.failures if at - failure <= self.window), at]
        if len(self.failures) >= self.failure_limit:
            self.state, self.opened_at = "OPEN", at
