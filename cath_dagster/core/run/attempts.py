"""Repeat a run that failed: under the lock that it has, each attempt announced, and none beyond the run's deadline."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.core.model.schedule import Retry, spoken
from cath_dagster.core.postgres.deadline import Deadline, pause
from cath_dagster.core.run.backends import Reporter


class AttemptListener(Protocol):
    """Who is told of each attempt of a run, the first included: the history.

    What it raises ends the run, so that it must raise nothing.
    """

    def on_attempt_began(self, attempt: int) -> None:
        """Hear that an attempt begins, counted from 1; nothing was done yet."""

    def on_attempt(self, attempt: int, ended: RunResult | BaseException, again_in: timedelta | None) -> None:
        """Hear how an attempt ended, or what broke it off; `again_in` is the wait for the next, None after the last."""


class Unheard:
    """Nobody is told."""

    def on_attempt_began(self, attempt: int) -> None:
        """Say nothing."""

    def on_attempt(self, attempt: int, ended: RunResult | BaseException, again_in: timedelta | None) -> None:
        """Say nothing."""


UNHEARD = Unheard()


@dataclass(kw_only=True)
class Attempt:
    """One attempt of a run, with what those before it have done."""

    number: int
    retry: Retry | None
    deadline: Deadline
    chance: Callable[[], float]
    earlier: tuple[Outcome, ...] = ()
    """What the attempts before have done to each target, all together."""
    taken: int = 0
    """The rows that they have changed, as `max_rows` counts them."""
    again_in: timedelta | None = None
    """The wait before the next attempt, once it is decided that there is one."""

    def repeats(self) -> bool:
        """Decide whether the run is tried again after a failure that may pass; it is decided once.

        A wait that the deadline would end is not begun: the failure is the truer end.
        """
        if self.again_in is None and self.retry is not None and self.number <= self.retry.attempts:
            delay = self.retry.delay_before(self.number, self.chance())
            if delay.total_seconds() < self.deadline.remaining:
                self.again_in = delay
        return self.again_in is not None

    def complete(self, outcome: Outcome, *, is_whole: bool) -> Outcome:
        """Return an outcome with what earlier attempts did to its target; one that `is_whole` counts that already."""
        for before in self.earlier:
            if before.target == outcome.target:
                return outcome.after(before, counts_it=is_whole)
        return outcome


Work = Callable[[Attempt], tuple[RunResult, int]]
"""Makes an attempt and returns what came of the run so far, and the rows that it has changed."""


def repeat(
    work: Work,
    *,
    retry: Retry | None,
    deadline: Deadline,
    listener: AttemptListener,
    reporter: Reporter,
    chance: Callable[[], float],
    sleep: Callable[[float], None] = pause,
) -> RunResult:
    """Make attempts until one ends otherwise than by a failure that may pass, or there are no more; return the last result."""
    attempt = Attempt(number=1, retry=retry, deadline=deadline, chance=chance)
    while True:
        if attempt.number > 1:
            listener.on_attempt_began(attempt.number)
        try:
            result, taken = work(attempt)
        except BaseException as broken:
            listener.on_attempt(attempt.number, broken, None)
            raise
        again_in = attempt.again_in if result.status is Status.FAILED else None
        listener.on_attempt(attempt.number, result, again_in)
        if again_in is None or retry is None:
            return result
        reporter.warning(
            f"attempt {attempt.number} of {retry.attempts + 1} failed: {result.error}; again in {spoken(again_in)}"
        )
        sleep(again_in.total_seconds())
        attempt = Attempt(
            number=attempt.number + 1,
            retry=retry,
            deadline=deadline,
            chance=chance,
            earlier=result.outcomes,
            taken=taken,
        )
