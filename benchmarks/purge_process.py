"""Purge a database by `clear_audit` and print what it took: a process of its own, whose memory can be told."""

import json
import resource
import sys
import time
import uuid
from datetime import UTC, datetime

from benchmarks.measures import Quiet
from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cath.jobs.clear_audit import SPEC
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.execution import execute


def main(url: str, as_of: str, pace: str) -> None:
    """Run the job as any run does, after a dry run: what Python takes to load its libraries is not counted."""
    _run(url, {"as_of": as_of, "dry_run": True})
    began_at, started = time.time(), time.perf_counter()
    result = _run(url, {"as_of": as_of, "allow_large": True, "pace": pace})
    whole = time.perf_counter() - started
    outcome = next(outcome for outcome in result.outcomes if outcome.target == "audit_log")
    if result.status is not Status.SUCCESS:
        raise SystemExit(result.error)
    measured = {
        "deleted": outcome.deleted,
        "deleting": outcome.deleting_seconds,
        "whole": whole,
        "longest": outcome.longest_transaction_seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
        "began_at": began_at,
        "ended_at": time.time(),
    }
    print(json.dumps(measured))


def _run(url: str, config: dict[str, object]) -> RunResult:
    return execute(
        SPEC,
        config,
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC),
        backends=EnvironmentBackends("CATH", {"CATH_DATABASE_URL": url}),
        reporter=Quiet(),
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
