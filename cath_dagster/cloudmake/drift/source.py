"""What a source of drift is: what it needs, and what a look at it yields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.cloudmake.drift.comparison import Difference
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.session import SERVICE


class UnreadableError(MaintenanceError):
    """What is declared or what is there cannot be read, so that nobody knows whether they differ."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Where sources look: the location's variables, and its database if there is one."""

    prefix: str
    environ: Mapping[str, str]
    database: Database | None

    def variable(self, name: str) -> str:
        """Return a variable's value by its name without the prefix, "" where it is not set."""
        return self.environ.get(f"{self.prefix}_{name}") or ""

    def opened(self) -> Database:
        """Return the database, which a source that needs it is never asked without."""
        if self.database is None:
            raise UnreadableError(f"{self.prefix}_DATABASE_URL is not set")
        return self.database


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a source found of one thing that drift is told of: a server, or the source as a whole."""

    server_name: str
    source: str
    difference: Difference
    declared: int
    """How many things are declared."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """What came of looking at a source: what could be compared, and in words what could not be read."""

    readings: tuple[Reading, ...] = ()
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """A pair of a declaration and what is there."""

    name: str
    look: Callable[[Surroundings], Look]
    """Raises `UnreadableError`, or another `MaintenanceError`, where nothing at all can be read."""
    variables: tuple[str, ...] = ()
    """Without any of them the source is not configured."""
    needs_database: bool = False
    tables: tuple[str, ...] = ()
    """Tables of the service without which it is not configured."""

    def lacks(self, surroundings: Surroundings) -> str | None:
        """Return in words what the source lacks to be looked at, None if it is configured."""
        names = [name for name in self.variables if not surroundings.variable(name)]
        if self.needs_database and surroundings.database is None:
            names.append("DATABASE_URL")
        if names:
            return f"{', '.join(f'{surroundings.prefix}_{name}' for name in names)} not set"
        absent = _absent(surroundings.opened(), self.tables) if self.tables else []
        return f"the database has no table {', '.join(absent)}" if absent else None


def whole(source: str, difference: Difference, *, declared: int) -> Look:
    """Return the look of a source that is told of as one."""
    return Look(
        readings=(Reading(server_name=f"spec:{source}", source=source, difference=difference, declared=declared),)
    )


def _absent(database: Database, tables: tuple[str, ...]) -> list[str]:
    def look(connection: sa.Connection) -> list[str]:
        found = connection.execute(
            sa.select(*(sa.func.to_regclass(f"{SERVICE}.{name}").is_(None) for name in tables))
        ).one()
        return [name for name, is_absent in zip(tables, found, strict=True) if is_absent]

    return database.transaction(look)
