"""Run a job of a location in this process, and kill it at one of the places where what it leaves behind may differ.

What an open transaction has done is undone by a kill. So these places are right before each commit of a transaction that has
written, and right after it, which is the same as before the next one's first statement.
"""

import importlib
import json
import os
import signal
import sys
from datetime import datetime

import sqlalchemy as sa

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import JobSpec
from tests.support.maintained import SilentReporter

WRITES = ("INSERT", "UPDATE", "DELETE")


class Killer:
    """Kills this process at the n-th place."""

    def __init__(self, places: int) -> None:
        self._left = places
        self._has_written = False

    def watch(self) -> None:
        sa.event.listen(sa.Engine, "before_cursor_execute", self._see)
        sa.event.listen(sa.Engine, "commit", self._commit)

    def _see(self, connection: object, cursor: object, statement: str, *_: object) -> None:
        self._has_written |= statement.lstrip().upper().startswith(WRITES)

    def _commit(self, connection: object) -> None:
        if self._has_written:
            self._has_written = False
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """Return 0 where the run came to its end before the place."""
    module, places, as_of, config, environ = sys.argv[1:6]
    spec: JobSpec = importlib.import_module(module).SPEC
    Killer(int(places)).watch()
    result = execute(
        spec,
        {"as_of": datetime.fromisoformat(as_of), **json.loads(config)},
        run_id=f"killed-at-{places}",
        now=datetime.fromisoformat(as_of),
        backends=EnvironmentBackends(spec.location.prefix, json.loads(environ)),
        reporter=SilentReporter(),
    )
    print(result.status, result.error)  # noqa: T201 - read by the test
    return 0 if result.status == "success" else 1


if __name__ == "__main__":
    sys.exit(main())
