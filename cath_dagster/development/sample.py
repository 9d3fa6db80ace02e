"""What a service's sample is: `development/samples/<location>/sample.py` describes one by SAMPLE = Sample(…)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.backends import Reporter


@dataclass(frozen=True)
class Filling:
    """What a sample is made from: `file_root` is where a service's files go, if it has any."""

    as_of: datetime
    scale: float
    file_root: Path
    reporter: Reporter


@dataclass(frozen=True)
class Sample:
    """A service's sample, in a database of the location's name."""

    location: CodeLocation
    create_schema: Callable[[psycopg.Connection], None]
    fill: Callable[[psycopg.Connection, Filling], int]
    """Fills the empty tables and returns how many rows there are."""
    stores: Mapping[str, str] = field(default_factory=dict)
    """By variable, without the prefix, the folder of each of the location's blob stores."""
    files: str | None = None
    """The folder of the service's files, without which its rows are of no use."""
    effects: tuple[str, ...] = ()
    """Folders and files of what earlier runs made of the sample."""
    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By variable, without the prefix, the tables that the role which it names may read."""
    started: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """By job without a schedule that is shown too, the run config by which somebody starts it."""

    @property
    def name(self) -> str:
        return self.location.name

    def store_urls(self, folder: Path) -> dict[str, str]:
        """Return the variables of the location's blob stores, which are folders in that one."""
        return {
            f"{self.location.prefix}_{variable}": (folder / name).resolve().as_uri()
            for variable, name in self.stores.items()
        }

    def reader(self, variable: str) -> str:
        """Return what a role is called that may read some tables and do nothing else."""
        return f"{self.name}_{variable.removesuffix('_ROLE').lower()}"

    def reader_roles(self) -> dict[str, str]:
        """Return the variables that name these roles."""
        return {f"{self.location.prefix}_{variable}": self.reader(variable) for variable in self.readers}
