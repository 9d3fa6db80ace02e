"""Waiting for what another thread, process or session does, on a machine that may be busy with other things."""

import time
from collections.abc import Callable

PATIENCE_SECONDS = 120
"""Below the suite's own limit for a test, so that a wait in vain says what it waited for."""
FOR_EVER_SECONDS = 3600
"""What a statement takes that somebody shall end: no test lives to see it end by itself."""

PREVAILS = f"SET deadlock_timeout = '{FOR_EVER_SECONDS}s'"
"""In a deadlock the server ends whoever looks first: of two sessions never the one that was told so."""


def wait_until(
    condition: Callable[[], object],
    otherwise: str = "what was waited for did not come about",
    *,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Return once something holds that others bring about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)
