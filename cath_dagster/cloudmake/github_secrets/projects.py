"""Projects whose secrets go to GitHub: which there are, which repository each has, and which of its secrets go where."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.cloudmake.repositories import find_repository
from cath_dagster.cloudmake.tables import environments, integration_configs, projects, secret_mappings
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.github import Repository


@dataclass(frozen=True)
class SecretMapping:
    """A row of the service's that says which secret goes into which scopes."""

    mapping_id: UUID
    name: str
    value_hash: str
    scopes: tuple[str, ...]
    """The words of `source_scope` and `target_scopes`, each once; some may be none of GitHub's."""
    is_excluded: bool
    status: str
    error: str | None


@dataclass(frozen=True)
class Project:
    project_id: UUID
    slug: str
    integrations: Any = field(default=None, repr=False)
    configs: tuple[Any, ...] = field(default=(), repr=False)
    mappings: tuple[SecretMapping, ...] = ()
    environment_ids: Mapping[str, UUID] = field(default_factory=dict)
    """The service's own rows, by their names."""


def read_projects(connection: sa.Connection) -> list[Project]:
    """Return every active project, in the order of their slugs."""
    query = (
        sa.select(projects.c.id, projects.c.slug, projects.c.integrations)
        .where(projects.c.status == "active")
        .order_by(projects.c.slug, projects.c.id)
    )
    rows = connection.execute(query).all()
    configs = _grouped(
        connection.execute(
            sa.select(integration_configs.c.project_id, integration_configs.c.config)
            .where(integration_configs.c.provider == "github")
            .order_by(integration_configs.c.id)
        )
    )
    mappings = _grouped((row.project_id, _read_mapping(row)) for row in connection.execute(_MAPPINGS))
    named = _grouped(
        (row.project_id, (row.name, row.id))
        for row in connection.execute(sa.select(environments.c.project_id, environments.c.name, environments.c.id))
    )
    return [
        Project(
            project_id=row.id,
            slug=row.slug,
            integrations=row.integrations,
            configs=tuple(configs.get(row.id, ())),
            mappings=tuple(mappings.get(row.id, ())),
            environment_ids=dict(named.get(row.id, ())),
        )
        for row in rows
    ]


def choose(found: Sequence[Project], chosen: str) -> list[Project]:
    """Return the projects that are named by slug or id, with commas between, all of them where none is.

    Raises `ConfigurationError` for a name that no active project has, and for a slug that several have.
    """
    names = [name for name in (part.strip() for part in chosen.split(",")) if name]
    return [_find(found, name) for name in dict.fromkeys(names)] if names else list(found)


def _find(found: Sequence[Project], name: str) -> Project:
    matching = [each for each in found if name in (each.slug, str(each.project_id))]
    if len(matching) != 1:
        says = "no active project is" if not matching else "several active projects are"
        raise ConfigurationError(f"{says} called {name}; name a project by its slug, or by its id")
    return matching[0]


def repository_of(project: Project) -> Repository:
    """Return where the project's secrets go; raise `UnknownRepositoryError` where that cannot be told."""
    integrations = project.integrations if isinstance(project.integrations, dict) else {}
    return find_repository(integrations, [config for config in project.configs if isinstance(config, dict)])


# Neither a date, which the driver might refuse, nor an element that is NULL, nor an array in an array.
_SCOPES = sa.func.concat_ws(
    ",", secret_mappings.c.source_scope, sa.func.array_to_string(secret_mappings.c.target_scopes, ",")
)
_MAPPINGS = sa.select(
    *(secret_mappings.c[name] for name in ("id", "project_id", "secret_name", "value_hash", "is_excluded")),
    *(secret_mappings.c[name] for name in ("sync_status", "error_message")),
    _SCOPES.label("scopes"),
).order_by(secret_mappings.c.secret_name)


def _read_mapping(row: sa.Row[Any]) -> SecretMapping:
    # The service has written several scopes as one element, with a comma between.
    words = (word.strip() for word in row.scopes.split(","))
    return SecretMapping(
        mapping_id=row.id,
        name=row.secret_name,
        value_hash=row.value_hash,
        scopes=tuple(dict.fromkeys(word for word in words if word)),
        is_excluded=row.is_excluded,
        status=row.sync_status,
        error=row.error_message,
    )


def _grouped(rows: Iterable[Any]) -> dict[UUID, list[Any]]:
    found: dict[UUID, list[Any]] = {}
    for project_id, item in rows:
        found.setdefault(project_id, []).append(item)
    return found
