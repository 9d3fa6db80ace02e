"""How often somebody may be wrong about a token before nobody listens to him for a while."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

ALLOWED = 10
PERIOD_SECONDS = 60.0
MAX_KEYS = 10_000
"""Of those who were wrong lately; the oldest are forgotten first, so that guessing fills no memory."""


class Guesses:
    """Counts wrong answers by who gave them, in this process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: OrderedDict[Hashable, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def must_wait(self, who: Hashable) -> float:
        """Return for how many seconds nothing is taken from `who`; 0 if it may try."""
        with self._lock:
            count, since = self._wrong.get(who, (0, 0.0))
            left = since + PERIOD_SECONDS - self._clock()
            return max(0.0, left) if count >= ALLOWED else 0.0

    def was_wrong(self, who: Hashable) -> None:
        """Count a wrong answer; a period begins with the first."""
        with self._lock:
            now = self._clock()
            count, since = self._wrong.pop(who, (0, now))
            self._wrong[who] = (count + 1, since) if now - since < PERIOD_SECONDS else (1, now)
            while len(self._wrong) > MAX_KEYS:
                self._wrong.popitem(last=False)
