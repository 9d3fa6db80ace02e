"""How a measurement is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.scalar import Scalar

Say = Callable[[str], None]


class BenchmarkError(Exception):
    """A measurement could not be taken, or the two sides did not do the same work."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One comparison: what ours took, what the thing beside it took, and whether the goal is met."""

    name: str
    ours: str
    beside: str
    result: str
    goal: str
    is_met: bool


class Quiet:
    """Hears what a run says, and says nothing."""

    def info(self, message: str, **values: Scalar) -> None:
        pass

    def warning(self, message: str) -> None:
        pass

    def progress(self, target: str, done: int, total: int) -> None:
        pass

    def ended(self, result: RunResult) -> None:
        pass


Rounds = Sequence[tuple[float, float]]
"""Seconds of ours and of what stands beside it, one after the other, round by round."""


def at_least(name: str, rounds: Rounds, *, goal: float) -> Ratio:
    """Compare throughput on the same work: the median over the rounds of beside / ours should be at least `goal`."""
    value = median(beside / ours for ours, beside in rounds)
    return Ratio(
        name=name,
        ours=f"{median(ours for ours, _ in rounds):.2f} s",
        beside=f"{median(beside for _, beside in rounds):.2f} s",
        result=f"{value:.2f}",
        goal=f"≥ {goal:.2f}",
        is_met=value >= goal,
    )


def at_most(name: str, rounds: Rounds, *, goal: float) -> Ratio:
    """Compare durations: the median over the rounds of ours / beside should be at most `goal`."""
    value = median(ours / beside for ours, beside in rounds)
    return Ratio(
        name=name,
        ours=f"{median(ours for ours, _ in rounds):.2f} s",
        beside=f"{median(beside for _, beside in rounds):.2f} s",
        result=f"{value:.2f}",
        goal=f"≤ {goal:.2f}",
        is_met=value <= goal,
    )


def bounded(name: str, *, milliseconds: float, beside: float, goal: float) -> Ratio:
    """Hold a duration against a bound, both in milliseconds."""
    return Ratio(
        name=name,
        ours=f"{milliseconds:.0f} ms",
        beside=f"{beside:.0f} ms",
        result=f"{milliseconds:.0f} ms",
        goal=f"≤ {goal:.0f} ms",
        is_met=milliseconds <= goal,
    )
