"""How a sample's values are drawn: from numbers alone, so that equal arguments give equal rows."""

from collections.abc import Sequence
from uuid import NAMESPACE_URL, UUID, uuid5

Row = Sequence[object]


def scaled(size: int, scale: float, *, least: int = 2) -> int:
    """Return how many rows there are at a scale."""
    return max(least, round(size * scale))


def spread(bounds: tuple[int, int], i: int) -> int:
    """Return the i-th value within bounds, both included."""
    low, high = bounds
    # 37 is prime and divides no range above: neighbours differ, and every value comes up.
    return low + i * 37 % (high - low + 1)


def uuid_of(name: str) -> UUID:
    """Return the id of what has a name."""
    return uuid5(NAMESPACE_URL, f"https://example.com/{name}")
