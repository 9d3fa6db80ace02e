"""How much a run may still ask of GitHub: by GitHub's own quota, by our limit of writes, and never faster than it likes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from cath_dagster.core.ports.breaker import Breaker
from cath_dagster.core.ports.github import GitHub, Quota

CORE = "core"
MAX_OUTAGES = 3
"""In a row, each after its own attempts: places one after the other that do not answer are GitHub as a whole."""


@dataclass(kw_only=True)
class Budget:
    """What is left. Once something has `ended` the writing, nothing more is begun, and the next run goes on."""

    github: GitHub
    reserve: int
    """Requests of GitHub's quota that are left to others."""
    writes_left: int
    """Of our own limit for an hour."""
    rows_left: int | None
    """Of `max_rows`; None without."""
    seconds_apart: float
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    breaker: Breaker = field(default_factory=lambda: Breaker(limit=MAX_OUTAGES))
    ended: str = ""
    """Why no more is written, in words."""
    _written_at: float | None = field(default=None, repr=False)

    @property
    def quota(self) -> Quota | None:
        """What GitHub said last; None where it counts nothing."""
        return self.github.quotas.get(CORE)

    def has_room(self, *, requests: int, writes: int) -> bool:
        """Return whether so much may be begun; if not, why is kept."""
        if self.ended:
            return False
        quota = self.quota
        if quota is not None and quota.remaining - self.reserve < requests:
            self.ended = f"{quota.remaining:,} requests are left of GitHub's quota until {quota.reset_at:%H:%M} UTC"
        elif writes > self.writes_left:
            self.ended = "max_writes_per_hour is reached"
        elif self.rows_left is not None and writes > self.rows_left:
            self.ended = "max_rows is reached"
        return not self.ended

    def await_turn(self) -> None:
        """Wait until another write may follow the one before, and count it."""
        if self._written_at is not None:
            early = self._written_at + self.seconds_apart - self.clock()
            if early > 0:
                self.sleep(early)
        self._written_at = self.clock()
        self.writes_left -= 1
        if self.rows_left is not None:
            self.rows_left -= 1
