"""A run in a process of its own that ends without a word, before a statement that a test chooses."""

import os
import signal
from collections.abc import Callable
from functools import partial

import sqlalchemy as sa

from cath_dagster.core.model.outcome import RunResult
from tests.support.forked import is_killed


def is_killed_at(number: int, work: Callable[[], RunResult]) -> bool:
    """Run in a fork of this process that ends before its so-manieth statement; return whether it came to so many.

    One that did not must have succeeded.
    """
    return is_killed(partial(_end_at, number), work)


def _end_at(number: int) -> None:
    seen = 0

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def count(*_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
