"""A run in a process of its own that ends without a word, before a statement that a test chooses."""

import os
import warnings
from collections.abc import Callable
from contextlib import suppress

import sqlalchemy as sa

from cath_dagster.core.model.outcome import RunResult

KILLED = 9


def is_killed_at(number: int, work: Callable[[], RunResult]) -> bool:
    """Run in a fork of this process that ends before its so-manieth statement; return whether it came to so many.

    One that did not must have succeeded.
    """
    with warnings.catch_warnings():
        # Newer Pythons warn of threads, which this process may have; the child starts none and execs nothing.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, KILLED), "the run failed without being killed"
        return code == KILLED
    code = 1
    with suppress(BaseException):
        _end_at(number)
        code = int(work().status != "success")
    os._exit(code)


def _end_at(number: int) -> None:
    seen = 0

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def count(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os._exit(KILLED)
