"""What a code location is: a service, its database, and where its parts are found."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENT = "cath_dagster.adapters.mounted"
TIMEZONE_VARIABLE = "SCHEDULER_TIMEZONE"


@dataclass(frozen=True)
class CodeLocation:
    """A service and its database: one code location."""

    name: str
    package: str
    revision: str | None = None
    """The newest Alembic revision of tables for this service in the schema `maintenance`, None where it has none."""
    own_timezone: str | None = None
    """The zone that its crons are meant in; None leaves it to the deployment."""
    stores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By variable, without the prefix, the containers that its blob stores must have."""
    backends: str = ""
    """The module whose `open_backends` says where the location's outside is, for one that its environment variables
    alone do not describe.
    """
    file_store: str = "BLOB_URL"
    """The variable, without the prefix, of the store in which the files of deleted rows lie."""

    formerly: tuple[str, ...] = ()
    """The names that it had, so that what operators said of its schedules goes on to hold."""

    @property
    def timezone(self) -> str:
        """The zone that its crons are meant in: its own, else `SCHEDULER_TIMEZONE`, else UTC."""
        if self.own_timezone is not None:
            return self.own_timezone
        # The environment's one door lies above this room, which loads it where it is asked.
        environ: Mapping[str, str] = importlib.import_module(ENVIRONMENT).MountedEnvironment()
        return environ.get(TIMEZONE_VARIABLE) or "UTC"

    @property
    def is_of_the_orchestrator(self) -> bool:
        """Whether its database is the orchestrator's own, so that both log in as one role."""
        return bool(self.backends)

    @property
    def prefix(self) -> str:
        """The first part of its environment variables."""
        return self.name.upper()


def package_folder(package: str) -> Path:
    """Return the folder of an importable package."""
    return Path(importlib.import_module(package).__path__[0])
