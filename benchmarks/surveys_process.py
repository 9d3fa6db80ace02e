"""Run one of CheckTick's jobs and print what it took: a process of its own, whose memory can be told."""

import json
import resource
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measures import Quiet
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.checktick import CHECKTICK
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs


def main(url: str, job: str, table: str, as_of: str) -> None:
    """Run the job as any run does, after a dry run: what Python takes to load its libraries is not counted."""
    with tempfile.TemporaryDirectory() as media:
        environ = {"CHECKTICK_DATABASE_URL": url, "CHECKTICK_MEDIA_URL": Path(media).as_uri()}
        _run(environ, job, {"as_of": as_of, "dry_run": True})
        started = time.perf_counter()
        result = _run(environ, job, {"as_of": as_of, "allow_large": True})
        whole = time.perf_counter() - started
    outcome = next(outcome for outcome in result.outcomes if outcome.target == table)
    if result.status is not Status.SUCCESS:
        raise SystemExit(result.error)
    measured = {
        "deleted": outcome.deleted,
        "deleting": outcome.deleting_seconds,
        "whole": whole,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
    }
    print(json.dumps(measured))


def _run(environ: dict[str, str], job: str, config: dict[str, object]) -> RunResult:
    (spec,) = (spec for spec in load_specs(CHECKTICK) if spec.name == job)
    return execute(
        spec,
        config,
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        backends=EnvironmentBackends(CHECKTICK.prefix, environ),
        reporter=Quiet(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
