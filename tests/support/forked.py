"""A run in a fork of this process that is killed at one of the places where what it leaves behind may differ."""

import os
import signal
import warnings
from collections.abc import Callable
from contextlib import suppress

from cath_dagster.core.model.outcome import RunResult, Status
from tests.support.killed_job import Killer


def is_killed_at(place: int, work: Callable[[], RunResult]) -> bool:
    """Return whether the run came to a place, right before or after a commit; one that did not must have succeeded."""
    return is_killed(Killer(place).watch, work)


def is_killed(watch: Callable[[], None], work: Callable[[], RunResult]) -> bool:
    """Return whether a run in a fork was killed by what `watch` sets up; one that was not must have succeeded."""
    with warnings.catch_warnings():
        # Newer Pythons warn of threads, which this process may have; the child starts none and execs nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        code = 1
        with suppress(BaseException):
            watch()
            code = int(work().status is not Status.SUCCESS)
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"the run ended with {code} and was not killed"
    return code != 0
