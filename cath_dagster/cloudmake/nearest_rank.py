"""How samples become a percentile: by the nearest rank, which is one of them."""

from collections.abc import Iterable


def nearest_rank(samples: Iterable[float], percent: int) -> float | None:
    """Return the ⌈percent·n/100⌉-th of n samples in ascending order, None of no samples."""
    ordered = sorted(samples)
    rank = -(-percent * len(ordered) // 100)
    return ordered[max(1, rank) - 1] if ordered else None
