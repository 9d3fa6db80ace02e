"""How a measurement is told."""

from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """One comparison: what ours took, what the thing beside it took, and whether the goal is met."""

    name: str
    ours: str
    beside: str
    result: str
    goal: str
    is_met: bool


def at_least(name: str, *, ours: float, beside: float, goal: float) -> Ratio:
    """Compare throughput on the same work, given in seconds: `beside` / `ours` shall be at least `goal`."""
    value = beside / ours
    return Ratio(
        name=name,
        ours=f"{ours:.2f} s",
        beside=f"{beside:.2f} s",
        result=f"{value:.2f}",
        goal=f"≥ {goal:.2f}",
        is_met=value >= goal,
    )


def at_most(name: str, *, ours: float, beside: float, goal: float) -> Ratio:
    """Compare durations in seconds: `ours` / `beside` shall be at most `goal`."""
    value = ours / beside
    return Ratio(
        name=name,
        ours=f"{ours:.2f} s",
        beside=f"{beside:.2f} s",
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
