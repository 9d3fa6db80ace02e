"""Ask what a run asks before its first write, without running: for the doctor.

By the run's own steps up to its first write, as a dry run: settings, variables, the fit of the tables, and the job's own
`prepare`. It takes no lock and writes nothing, the ledger included.
"""

import uuid
from dataclasses import replace
from datetime import datetime

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.settings import JobSettings, RunConfig
from cath_dagster.core.run.backends import Backends, required
from cath_dagster.core.run.execution import new_run, open_database, read_config
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.run.steps import let_in


class _Silent:
    """Nobody is told what a rehearsal does."""

    def info(self, message: str, **values: Scalar) -> None: ...

    def warning(self, message: str) -> None: ...

    def progress(self, target: str, done: int, total: int) -> None: ...

    def ended(self, result: RunResult) -> None: ...


def check_configuration(spec: JobSpec, backends: Backends, *, now: datetime) -> str | None:
    """Return why a run of the job would end before it asks the database anything, None if nothing speaks against it."""
    try:
        _read_config(spec, backends, now)
    except MaintenanceError as error:
        return str(error)
    return None


def rehearse(spec: JobSpec, backends: Backends, *, now: datetime) -> str | None:
    """Go a run's way up to its first write; return what stands in it, None if nothing does."""
    run_id = f"doctor-{uuid.uuid4().hex[:12]}"
    try:
        config = _read_config(spec, backends, now)
        opening = open_database(spec, backends, run_id)
    except MaintenanceError as error:
        return str(error)
    try:
        with opening as database:
            run = new_run(spec, config, database, run_id, backends, _Silent(), now=now)
            run.ledger = replace(run.ledger, is_kept=False)
            let_in(run, spec, config.settings)
            return run.account.would_refuse
    except MaintenanceError as error:
        return str(error)


def _read_config(spec: JobSpec, backends: Backends, now: datetime) -> RunConfig[JobSettings]:
    config = read_config(spec, {"dry_run": True}, environ=backends.environ, now=now)
    required(backends, *spec.variables)
    return config
