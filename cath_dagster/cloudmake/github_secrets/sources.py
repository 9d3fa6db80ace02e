"""Where values of secrets come from: our own store, mounted files, or the environment of the run.

A value that is not there is None. One that is there and cannot be read raises `MaintenanceError`: it is not missing. A source
that cannot be read at all raises when it is opened.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.github_secrets.projects import Project
from cath_dagster.cloudmake.github_secrets.store import EVERYWHERE, MAX_VALUE_BYTES, open_sealed, read_sealed
from cath_dagster.cloudmake.sealing import Keyring, Sealed
from cath_dagster.cloudmake.tables import projects
from cath_dagster.core.errors import ConfigurationError, MaintenanceError

VARIABLE = f"{CLOUDMAKE.prefix}_SECRET_SOURCE"
STORE, ENVIRONMENT = "store", "env"
_SLUG = re.compile("[A-Za-z0-9][A-Za-z0-9._-]*")


class SourceError(MaintenanceError):
    """A value is there and cannot be read, or nobody can tell whose it is."""


class Values(Protocol):
    """The values of one project."""

    def get(self, environment: str, name: str) -> bytes | None: ...


class Source(Protocol):
    def of(self, connection: sa.Connection, project: Project) -> Values:
        """Return the project's values; raise `SourceError` where it cannot be told which those are."""
        ...


@dataclass(frozen=True)
class Stored:
    """Our own store."""

    keyring: Keyring = field(repr=False)

    def of(self, connection: sa.Connection, project: Project) -> Values:
        sealed = read_sealed(connection, project.project_id)
        return _StoredValues(self.keyring, project.project_id, sealed)


@dataclass(frozen=True)
class _StoredValues:
    keyring: Keyring = field(repr=False)
    project_id: UUID
    sealed: Mapping[tuple[str, str], Sealed] = field(repr=False)

    def get(self, environment: str, name: str) -> bytes | None:
        found = self.sealed.get((environment, name))
        return None if found is None else open_sealed(self.keyring, found, self.project_id, environment, name)


@dataclass(frozen=True)
class Mounted:
    """A folder of files, as secrets are mounted: `<slug>/<NAME>` and `<slug>/<environment>/<NAME>`."""

    root: Path
    slugs: Counter[str]
    """How many projects have each slug."""

    def of(self, connection: sa.Connection, project: Project) -> Values:
        del connection
        _require_one_owner(project, project.slug, self.slugs)
        return _MountedValues(self.root / project.slug)


@dataclass(frozen=True)
class _MountedValues:
    folder: Path

    def get(self, environment: str, name: str) -> bytes | None:
        path = self.folder / environment / name
        try:
            with path.open("rb") as file:
                content = file.read(MAX_VALUE_BYTES + 3)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}") from None
        # Editors and `echo` end a file with a line break, which is no part of a secret.
        return content.rstrip(b"\r\n")


@dataclass(frozen=True)
class Variables:
    """The environment of the run: `CLOUDMAKE_SECRET__<SLUG>__<NAME>`."""

    environ: Mapping[str, str] = field(repr=False)
    slugs: Counter[str]
    """How many projects have each slug, as variables have it."""

    def of(self, connection: sa.Connection, project: Project) -> Values:
        del connection
        slug = in_variable(project.slug)
        _require_one_owner(project, slug, self.slugs)
        if "__" in slug:
            raise SourceError(f"{project.slug} would be {slug} in a variable, where nobody can tell where it ends")
        return _VariableValues(self.environ, f"{CLOUDMAKE.prefix}_SECRET__{slug}__")


@dataclass(frozen=True)
class _VariableValues:
    environ: Mapping[str, str] = field(repr=False)
    start: str

    def get(self, environment: str, name: str) -> bytes | None:
        found = self.environ.get(self.start + name) if environment == EVERYWHERE else None
        return None if found is None else found.encode()


def open_source(connection: sa.Connection, environ: Mapping[str, str], keyring: Keyring) -> Source:
    """Return the source that the environment names; raise `ConfigurationError` for one that cannot be read."""
    given = environ.get(VARIABLE) or STORE
    if given == STORE:
        return Stored(keyring)
    slugs = connection.scalars(sa.select(projects.c.slug)).all()
    if given == ENVIRONMENT:
        return Variables(environ, Counter(map(in_variable, slugs)))
    return Mounted(_read_folder(given), Counter(slugs))


def in_variable(slug: str) -> str:
    """Return a project's slug as the names of variables have it."""
    return re.sub("[^A-Z0-9]", "_", slug.upper())


def _read_folder(given: str) -> Path:
    parts = urlsplit(given)
    if parts.scheme not in {"file", "files"} or parts.netloc:
        raise ConfigurationError(f"{VARIABLE} is {given!r}; it may be {STORE}, {ENVIRONMENT}, or files:///folder")
    folder = Path(unquote(parts.path))
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise ConfigurationError(f"{VARIABLE} names {folder}, which cannot be read: {error.strerror}") from None
    return folder


def _require_one_owner(project: Project, slug: str, slugs: Mapping[str, int]) -> None:
    """Raise where two projects would get one's secrets: a slug is unique in an organisation alone."""
    if not _SLUG.fullmatch(project.slug):
        raise SourceError(f"{project.slug!r} is no slug that a folder or a variable could be named by")
    if slugs[slug] > 1:
        raise SourceError(f"{slugs[slug]} projects have the slug {slug}, so that nobody can tell whose its secrets are")


def has_any(values: Values, environments: Iterable[str], name: str) -> bool:
    """Return whether the source has a value of the name, in any environment or in none; raise where it cannot be told."""
    return any(values.get(environment, name) is not None for environment in (EVERYWHERE, *environments))
