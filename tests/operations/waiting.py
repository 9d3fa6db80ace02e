"""Waiting for what is recorded of a run, no longer than a run's record may take."""

from collections.abc import Callable

from tests.support.waiting import wait_until

PATIENCE_SECONDS = 20


def until(holds: Callable[[], object]) -> None:
    """Return once something holds."""
    wait_until(holds, seconds=PATIENCE_SECONDS)
