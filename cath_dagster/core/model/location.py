"""What a code location is: a service, its database, and where its parts are found."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class CodeLocation:
    """A service and its database: one code location."""

    name: str
    package: str
    revision: str | None = None
    """The newest Alembic revision of tables for this service in the schema `maintenance`, None where it has none."""
    timezone: str = "UTC"
    stores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By variable, without the prefix, the containers that its blob stores must have."""
    backends: str = ""
    """The module whose `open_backends` says where the location's outside is, for one that its environment variables
    alone do not describe.
    """
    file_store: str = "BLOB_URL"
    """The variable, without the prefix, of the store in which the files of deleted rows lie."""

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
