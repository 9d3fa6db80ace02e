"""Run one job in a process that may be killed at any instant."""

import os
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection

# Imported when the first process is made, so that the time in which a job can be killed is the job's own.
import cath_dagster.adapters.notify
import cath_dagster.adapters.smtp
import cath_dagster.cath.media_report
import cath_dagster.operations.backends  # noqa: F401 - as above
from benchmarks.measures import Quiet
from cath_dagster.adapters.environment import open_backends
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.registry import all_specs

SPECS: Mapping[str, JobSpec] = {spec.key: spec for spec in all_specs()}
BEGINS = "begins"


@dataclass(frozen=True)
class Request:
    """One run: `key` names the job, `environ` says where its outside is."""

    key: str
    run_id: str
    as_of: datetime
    environ: Mapping[str, str]


@dataclass(frozen=True)
class Answer:
    """How a run ended that was not killed."""

    status: str
    error: str | None
    seconds: float


def run(request: Request, teller: Connection) -> None:
    """Run the job, and tell through the pipe when it begins and how it ended."""
    os.environ.update(request.environ)
    spec = SPECS[request.key]
    backends = open_backends(spec.location)
    teller.send(BEGINS)
    try:
        result = execute(
            spec,
            {"as_of": request.as_of},
            run_id=request.run_id,
            now=datetime.now(UTC),
            backends=backends,
            reporter=Quiet(),
        )
    except Exception:  # noqa: BLE001 - whatever it is, it is told, and counts as a run that broke
        teller.send(Answer("broken", traceback.format_exc(), 0.0))
        return
    teller.send(Answer(result.status.value, result.error, result.seconds))
