"""Ask again for a while what may not be known yet: an instance that starts is no instance that has failed."""

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
PAUSE_SECONDS = 1.0


class Patience:
    """So many seconds for all that is asked; whoever has used them up gets the first answer."""

    def __init__(
        self,
        seconds: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._clock, self._sleep = clock, sleep or time.sleep
        self._until = clock() + seconds

    def ask(self, question: Callable[[], Answer], is_open: Callable[[Answer], bool]) -> Answer:
        """Return the answer, or the last one of those that leave it open."""
        answer = question()
        while is_open(answer) and self._clock() < self._until:
            self._sleep(PAUSE_SECONDS)
            answer = question()
        return answer
