"""A job that is killed wherever what it leaves behind may differ; see `killed_job`."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support.command import environment
from tests.support.maintained import Maintained
from tests.support.warm import COMMAND, run

ROOT = Path(__file__).parents[2]


def kill_at(maintained: Maintained, job: str, place: int, **config: Any) -> bool:
    """Run a job in a process of its own and kill it at a place; return whether it came so far."""
    module = f"{maintained.location.package}.jobs.{job}"
    arguments = [module, str(place), maintained.as_of.isoformat(), json.dumps(config), json.dumps(maintained.environ)]
    done = run(
        [sys.executable, "-m", "tests.support.killed_job", *arguments],
        environ=environment(),
        folder=ROOT,
        modules=(*COMMAND, module, "cath_dagster.core.run.execution", "tests.support.maintained"),
    )
    assert done.returncode in (0, -signal.SIGKILL), f"{done.stdout} {done.stderr}"
    return done.returncode != 0
