"""Runs of a job that die between two things they say to the outside, in processes that nothing survives.

One process without threads imports what a run needs, and forks one that dies for each time it is told to.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

REPOSITORY = Path(__file__).parents[2]
SCRIPT = """
import json, os, sys, uuid
from datetime import datetime

import sqlalchemy as sa
from cath_dagster.adapters import exchange
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.core.outbox.notices import Patience
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs
from tests.support.maintained import SilentReporter

SPECS = {spec.name: spec for spec in load_specs(CLOUDMAKE)}
ask = exchange.Exchange.ask


def run(job, as_of, config, dies_at):
    steps = -1

    def step(*_):
        nonlocal steps
        steps += steps >= 0
        if steps == dies_at:
            os._exit(9)

    def ask_and_step(*given, **named):
        nonlocal steps
        steps = max(steps, 0)
        step()
        answer = ask(*given, **named)
        step()
        return answer

    exchange.Exchange.ask = ask_and_step
    sa.event.listen(sa.Engine, "before_cursor_execute", step)
    sa.event.listen(sa.Engine, "commit", step)
    result = execute(
        SPECS[job], {"as_of": datetime.fromisoformat(as_of), **config}, run_id=str(uuid.uuid4()),
        now=datetime.fromisoformat(as_of), backends=EnvironmentBackends(CLOUDMAKE.prefix), reporter=SilentReporter(),
        patience=Patience(sleep=lambda _: None),
    )
    os._exit(0 if result.error is None else 1)


for line in sys.stdin:
    pid = os.fork()
    if not pid:
        run(**json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
DIED, WELL = 9, 0


class Dying:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._said: IO[str] = process.stdin
        self._heard: IO[str] = process.stdout

    def run(self, job: str, *, as_of: str, dies_at: int, **config: Any) -> bool:
        """Run a job; it dies before the so-manieth statement, commit or request from its first request on, or after an answer.

        Return whether it came to its end before; then it ended well.
        """
        self._said.write(json.dumps({"job": job, "as_of": as_of, "config": config, "dies_at": dies_at}) + "\n")
        self._said.flush()
        code = int(self._heard.readline())
        assert code in (DIED, WELL), f"the run ended with {code}"
        return code == WELL


@contextlib.contextmanager
def dying(environ: Mapping[str, str]) -> Iterator[Dying]:
    """Yield a process whose runs see these variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "CLOUDMAKE_"))}
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=REPOSITORY,
        env={**inherited, **environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Dying(process)
        finally:
            process.kill()
