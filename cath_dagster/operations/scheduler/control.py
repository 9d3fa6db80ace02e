"""What people command by the command line: of Dagster by its own interface, of the registry in its table.

Each command is in the audit log, where the console keeps one.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from cath_dagster.adapters.account import account
from cath_dagster.core.errors import ConfigurationError, MaintenanceError, MissingConfigurationError
from cath_dagster.core.history.holds import why_held
from cath_dagster.core.history.plain import plain_parameters
from cath_dagster.core.history.tables import SCHEMA, scheduled_job, scheduled_job_history
from cath_dagster.core.history.writing import COMMAND_LINE
from cath_dagster.core.model.settings import RunOptions
from cath_dagster.core.ports.orchestrator import (
    NONCE_TAG,
    PARTITION_TAG,
    Orchestrator,
    OrchestratorError,
    OrchestratorUnavailableError,
)
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.execution import check_partition, read_config
from cath_dagster.core.run.spec import JobSpec

CONSOLE_DAGSTER_URL = "CONSOLE_DAGSTER_URL"
_TEXTS = ("actor", "origin", "action", "location", "job", "run_id", "nonce", "result")
_AUDIT = sa.table(
    "audit_log", *(sa.column(name, sa.Text) for name in _TEXTS), sa.column("parameters", JSONB), schema=SCHEMA
)


class ControlError(MaintenanceError):
    """What was commanded cannot be done as things are."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """Commands, each written down in `database` before it is given; without one it is given all the same."""

    orchestrator: Orchestrator
    environ: Mapping[str, str]
    database: Database | None

    def set_enabled(self, spec: JobSpec, *, enabled: bool) -> None:
        """Start or stop what makes a job's ticks. Raises `ControlError` for a job without a schedule."""
        if spec.schedule is None:
            raise ControlError(
                f"{spec.key} has no schedule: it runs when somebody starts it, and is neither on nor off"
            )
        with self._audited("enable" if enabled else "disable", spec.location.name, spec.name):
            self.orchestrator.set_enabled(
                spec.location.name, spec.schedule_name, is_sensor=spec.interval is not None, enabled=enabled
            )

    def run(self, spec: JobSpec, given: Mapping[str, Any], partition: str | None) -> str:
        """Put a run into Dagster's queue; return its id. What a run would refuse is refused before, by its name.

        Raises `ControlError` for a job that somebody holds, or that takes two; a dry run of it is none of their concern.
        """
        read_config(spec, given, environ=self.environ, now=datetime.now(UTC))
        check_partition(spec, partition)
        config = {name: typed(spec, name, value) for name, value in given.items()}
        if not config.get("dry_run") and (held := self._why_held(spec)):
            raise ControlError(held)
        if spec.needs_approval and not config.get("dry_run"):
            raise ControlError(
                f"{spec.key} takes another person: make a dry run, and have that approved in the console"
            )
        nonce, told = uuid.uuid4().hex, {**config, "partition": partition}
        tags = {NONCE_TAG: nonce, **({PARTITION_TAG: partition} if partition is not None else {})}
        with self._audited("run", spec.location.name, spec.name, nonce=nonce, parameters=told):
            return self.orchestrator.launch(spec.location.name, spec.name, config=config, tags=tags)

    def cancel(self, run_id: str) -> None:
        with self._audited("cancel", *self._job_of(run_id), run_id=run_id):
            self.orchestrator.cancel(run_id)

    def _job_of(self, run_id: str) -> tuple[str | None, str | None]:
        """Return location and job of a run, so that who looks after them finds in the audit log what was done to it."""
        if self.database is None:
            return None, None
        of_it = scheduled_job_history.c.run_id == run_id
        query = sa.select(scheduled_job_history.c.location, scheduled_job_history.c.job).where(of_it).limit(1)
        row = self.database.transaction(lambda connection: connection.execute(query).one_or_none())
        return (row.location, row.job) if row is not None else (None, None)

    def _why_held(self, spec: JobSpec) -> str | None:
        if self.database is None:
            return None
        ask = partial(why_held, location=spec.location.name, job=spec.name, now=datetime.now(UTC))
        return self.database.transaction(ask)

    @contextmanager
    def _audited(self, action: str, location: str | None, job: str | None, **told: Any) -> Iterator[None]:
        """Write down that something is asked for, then what became of it."""
        row = {"action": action, "location": location, "job": job, **told}
        write_down(self.database, **row, result="requested")
        result = "unknown: interrupted"
        try:
            yield
            result = "done"
        except OrchestratorUnavailableError:
            result = "unknown: Dagster did not answer"
            raise
        except OrchestratorError as error:
            result = f"failed: {error}"
            raise
        finally:
            write_down(self.database, **row, result=result)


def write_down(database: Database | None, *, parameters: Mapping[str, Any] | None = None, **told: str | None) -> None:
    """Add a row to the audit log, where there is one."""
    if database is not None:
        database.transaction(partial(_add, parameters=plain_parameters(parameters or {}), told=told))


def _add(connection: sa.Connection, parameters: Mapping[str, Any], told: Mapping[str, str | None]) -> None:
    if connection.scalar(sa.select(sa.func.to_regclass(f"{SCHEMA}.audit_log"))) is not None:
        # The server numbers the row, says when it came, and links it to the one before it.
        values = {"actor": account(), "origin": COMMAND_LINE, **told, "parameters": dict(parameters)}
        connection.execute(sa.insert(_AUDIT).inline().values(**values))


def dagster_url(environ: Mapping[str, str]) -> str:
    """Return where Dagster's web server is; raise `MissingConfigurationError` naming the variable."""
    url = environ.get(CONSOLE_DAGSTER_URL)
    if not url:
        raise MissingConfigurationError(
            f"{CONSOLE_DAGSTER_URL} is not set; set it to Dagster's web server, like http://127.0.0.1:3000"
        )
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"{CONSOLE_DAGSTER_URL} is no http:// or https:// URL")
    return url


def typed(spec: JobSpec, name: str, value: Any) -> Any:
    """Return a value of the command line as Dagster's launchpad takes it: switches and whole numbers are no text."""
    fields = {**RunOptions.model_fields, **spec.settings.model_fields}
    kind = fields[name].annotation if name in fields else None
    if not isinstance(value, str):
        return value
    if kind is bool:
        return value.strip().lower() in ("true", "1", "yes", "on")
    return int(value) if kind in (int, int | None) else value


def forget(database: Database, location: str, name: str) -> None:
    """Delete the row of a job that the code has no more, and its history with it.

    Raises `ControlError` for one that is registered, and for one that there is not.
    """

    def delete(connection: sa.Connection) -> bool | None:
        is_it = sa.and_(scheduled_job.c.location == location, scheduled_job.c.name == name)
        registered: bool | None = connection.scalar(
            sa.select(scheduled_job.c.registered).where(is_it).with_for_update()
        )
        if registered is False:
            connection.execute(sa.delete(scheduled_job).where(is_it))
            _add(connection, {}, {"action": "forget", "location": location, "job": name, "result": "forgotten"})
        return registered

    registered = database.transaction(delete)
    if registered is None:
        raise ControlError(f"there is no job {location}/{name} in the registry")
    if registered:
        raise ControlError(f"{location}/{name} is registered: take it out of the code first, or disable it")
