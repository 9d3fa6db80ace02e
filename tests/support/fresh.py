"""Load a code location as Dagster's processes do: in an interpreter of its own, which may not reach any network."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cath_dagster.registry import locations
from tests.support.waiting import PATIENCE_SECONDS
from tests.support.warm import run

REPOSITORY = Path(__file__).parents[2]
PROBE = """
import json, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise AssertionError(f"{event} while the code location loads: {arguments}")

sys.addaudithook(refuse)
from cath_dagster.%(location)s.definitions import defs

repository = defs.get_repository_def()
told = {
    "jobs": sorted(name for name in repository.job_names if not name.startswith("__")),
    "schedules": {one.name: one.default_status.value for one in repository.schedule_defs},
    "sensors": {one.name: one.default_status.value for one in repository.sensor_defs},
    "modules": sorted(sys.modules),
}
%(then)s
print(json.dumps(told))
"""


def load_afresh(location: str, environ: Mapping[str, str] | None = None, *, then: str = "") -> dict[str, Any]:
    """Return what a code location says about itself with these variables of ours and no other; warnings are errors.

    `then` may add to `told`, after the modules were listed.
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE % {"location": location, "then": then}],
        env=_without_ours() | dict(environ or {}),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def declared(location: str, environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return the statuses that a code location's schedules and sensors begin with, where these variables of ours are set.

    In a process of its own, since they are read when it loads; what a fresh interpreter imports is not looked at.
    """
    arguments = [sys.executable, "-m", "tests.support.declared", location]
    done = run(arguments, environ=_without_ours() | {"PYTHONWARNINGS": "error", **environ})
    assert done.returncode == 0, done.stderr
    told: dict[str, dict[str, str]] = json.loads(done.stdout)
    return told


def _without_ours() -> dict[str, str]:
    ours = tuple(f"{each.prefix}_" for each in locations())
    return {name: value for name, value in os.environ.items() if not name.startswith((*ours, "DAGSTER_"))}
