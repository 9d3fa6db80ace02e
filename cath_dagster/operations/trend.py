"""Tell from a purge's last runs whether it falls behind, and when it will have caught up."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

WITHIN_SIGHT = timedelta(days=3_650)
"""What takes ten years at the present rate is never caught up in practice."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What one run left: how many due rows, and how old the oldest row then was, None where nobody looked."""

    run_id: str
    at: datetime
    left: int
    oldest_age_days: float | None


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A purge that falls behind. `caught_up_at` is None where at this rate it never will have."""

    points: tuple[Point, ...]
    caught_up_at: datetime | None

    @property
    def last(self) -> Point:
        return self.points[-1]


def find_trend(points: Sequence[Point], *, runs: int) -> Trend | None:
    """Return the trend if each of the last so many runs left due rows behind, the oldest older from run to run.

    A purge that leaves nothing is never behind, however old a row is that its rule keeps. The outlook takes the change
    of what was left from the first of these runs to the last for the rate of what is to come.
    """
    recent = sorted(points, key=lambda point: point.at)[-runs:]
    if len(recent) < runs or any(point.left <= 0 for point in recent):
        return None
    ages = [point.oldest_age_days for point in recent if point.oldest_age_days is not None]
    if len(ages) < runs or any(older <= younger for younger, older in itertools.pairwise(ages)):
        return None
    first, last = recent[0], recent[-1]
    gained = first.left - last.left
    if gained <= 0:
        return Trend(points=tuple(recent), caught_up_at=None)
    seconds = (last.at - first.at).total_seconds() / gained * last.left
    if seconds > WITHIN_SIGHT.total_seconds():
        return Trend(points=tuple(recent), caught_up_at=None)
    return Trend(points=tuple(recent), caught_up_at=last.at + timedelta(seconds=seconds))
