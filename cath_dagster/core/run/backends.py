"""What a run is given from outside: its location's database, mail and files, and somebody to tell what it does."""

from collections.abc import Mapping
from typing import Protocol

import sqlalchemy as sa

from cath_dagster.core.errors import MissingConfigurationError
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.ports.blobs import BlobStore
from cath_dagster.core.ports.mail import Mailer

MAX_APPLICATION_NAME = 63
"""PostgreSQL cuts longer ones; what must not be cut is the run id."""


class Backends(Protocol):
    """The outside of one code location, read from its environment; nothing is opened before it is asked for."""

    @property
    def prefix(self) -> str: ...

    @property
    def environ(self) -> Mapping[str, str]: ...

    @property
    def has_mail(self) -> bool: ...

    def engine(self, application_name: str) -> sa.Engine: ...

    def store(self, name: str) -> BlobStore: ...

    def reports(self) -> BlobStore: ...

    def mail_variables(self, template: str) -> tuple[str, ...]: ...

    def mailer(self) -> Mailer: ...


class Reporter(Protocol):
    """Where a run tells people what it does."""

    def info(self, message: str, **values: Scalar) -> None:
        """Tell something; lines for machines have the values by their names beside the message, which says them as well."""

    def warning(self, message: str) -> None: ...

    def progress(self, target: str, done: int, total: int) -> None: ...

    def ended(self, result: RunResult) -> None: ...


def application_name(job: str, run_id: str) -> str:
    """Return how other sessions see a run of a job."""
    return f"{job[: MAX_APPLICATION_NAME - len(run_id) - 1]}:{run_id}"


def required(backends: Backends, *names: str) -> dict[str, str]:
    """Return the location's environment variables; raise `MissingConfigurationError` naming those not set."""
    full = {name: f"{backends.prefix}_{name}" for name in names}
    missing = [variable for variable in full.values() if not backends.environ.get(variable)]
    if missing:
        raise MissingConfigurationError(f"{', '.join(missing)} not set; set it in the environment of the run")
    return {name: backends.environ[variable] for name, variable in full.items()}
