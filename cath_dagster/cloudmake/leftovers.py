"""What an archived preview leaves at providers: put into an outbox with the archival, removed after it, whenever that is.

A resource that another environment still names is nobody's to remove, neither when it is put into the outbox nor when its turn
comes. Removing it twice is harmless: the second time it is missing, which is what was wanted.
"""

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from cath_dagster.cloudmake.previews import is_live
from cath_dagster.cloudmake.tables import deployments, environments, integration_configs, projects, provider_cleanup

PREFIX = "preview-"
"""How the GitHub environments of previews are called; no other is ever deleted."""


class Provider(enum.StrEnum):
    CLOUDFLARE = "cloudflare"
    GITHUB = "github"
    NEON = "neon"
    POSTMAN = "postman"


class Settled(enum.StrEnum):
    """What became of a resource that is no longer to be removed."""

    REMOVED = "removed"
    MISSING = "missing"
    """It was gone already."""
    KEPT = "kept"
    """Another environment names it now, or its own is archived no longer."""


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """A resource of an archived preview; `integrations` and `configs`, those of its provider, say where its project is."""

    cleanup_id: int
    provider: Provider
    resource_id: str
    project_id: UUID
    cloudflare_url: str | None
    integrations: Mapping[str, object]
    configs: Sequence[Mapping[str, object]]
    is_wanted: bool
    """Whether something names it, so that it stays."""


def enqueue(connection: sa.Connection, environment_ids: Sequence[UUID], run_id: str) -> int:
    """Put what these environments leave behind into the outbox, but for what others name; return how much.

    They are archived in the caller's transaction, so that they are not among the others.
    """
    return sum(_enqueue(connection, query, run_id) for query in _resources(environment_ids).values())


def _enqueue(connection: sa.Connection, query: sa.Select[tuple[UUID, UUID, str, str]], run_id: str) -> int:
    columns = ["environment_id", "project_id", "provider", "resource_id", "run_id", "attempts"]
    source = query.add_columns(sa.literal(run_id), sa.literal(0))
    statement = postgresql.insert(provider_cleanup).from_select(columns, source)
    return connection.execute(statement.on_conflict_do_nothing()).rowcount


def count_resources(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> int:
    """Return how many resources the environments of a condition name; those that others name too are among them."""
    selected = sa.select(environments.c.id).where(condition)
    ids = list(connection.scalars(selected))
    queries = _resources(ids, leaving_shared=False).values()
    return sum(connection.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0 for query in queries)


def _resources(
    environment_ids: Sequence[UUID], *, leaving_shared: bool = True
) -> dict[Provider, sa.Select[tuple[UUID, UUID, str, str]]]:
    """Return by provider the resources of environments: environment, project, provider, resource."""
    chosen = environments.c.id.in_(environment_ids)
    found: dict[Provider, sa.Select[tuple[UUID, UUID, str, str]]] = {}
    for provider, resource in _NAMES.items():
        source, value = resource.source(environments, deployments), resource.value(environments, deployments)
        query = sa.select(
            environments.c.id, environments.c.project_id, sa.literal(provider.value, sa.Text), value
        ).select_from(source)
        query = query.where(chosen, value.is_not(None), value != "", resource.condition(environments)).distinct()
        found[provider] = (
            query.where(sa.not_(_is_named_by_live(provider, value, environments.c.project_id)))
            if leaving_shared
            else query
        )
    return found


@dataclass(frozen=True)
class _Resource:
    """How environments name a provider's resource."""

    value: Callable[[sa.FromClause, sa.FromClause], sa.ColumnElement[str]]
    source: Callable[[sa.FromClause, sa.FromClause], sa.FromClause] = lambda environment, _: environment
    condition: Callable[[sa.FromClause], sa.ColumnElement[bool]] = lambda _: sa.true()
    within_project: bool = False
    """Whether the same name in another project is another resource."""


_NAMES: Mapping[Provider, _Resource] = {
    Provider.CLOUDFLARE: _Resource(
        value=lambda _, deployment: deployment.c.provider_ids["cloudflareDeploymentId"].as_string(),
        source=lambda environment, deployment: environment.join(
            deployment, deployment.c.environment_id == environment.c.id
        ),
    ),
    Provider.NEON: _Resource(value=lambda environment, _: environment.c.neon_branch_id),
    Provider.GITHUB: _Resource(
        value=lambda environment, _: environment.c.name,
        condition=lambda environment: sa.and_(
            environment.c.github_environment_id.is_not(None), sa.func.starts_with(environment.c.name, PREFIX)
        ),
        within_project=True,
    ),
    Provider.POSTMAN: _Resource(value=lambda environment, _: environment.c.postman_environment_id),
}


def _is_named_by_live(
    provider: Provider, value: sa.ColumnElement[str], project_id: sa.ColumnElement[UUID]
) -> sa.ColumnElement[bool]:
    """Return whether an environment that is not archived names a resource."""
    resource, environment, deployment = _NAMES[provider], environments.alias("other"), deployments.alias("deployed")
    same = resource.value(environment, deployment) == value
    where = sa.and_(environment.c.project_id == project_id, same) if resource.within_project else same
    return sa.exists().select_from(resource.source(environment, deployment)).where(where, is_live(environment))


def read_unsettled(connection: sa.Connection, provider: Provider) -> list[int]:
    """Return what is still to be removed at a provider, by id, the oldest first."""
    outbox = provider_cleanup.c
    query = sa.select(outbox.cleanup_id).where(outbox.provider == provider.value, outbox.settled_at.is_(None))
    return list(connection.scalars(query.order_by(outbox.cleanup_id)))


def read_leftover(connection: sa.Connection, *, provider: Provider, cleanup_id: int) -> Leftover:
    """Return one of them, with where it is to be found, and whether something names it now."""
    outbox, own = provider_cleanup.c, environments.alias("own")
    is_of_project = integration_configs.c.project_id == outbox.project_id
    query = (
        sa.select(
            outbox.resource_id,
            outbox.project_id,
            own.c.cloudflare_url,
            projects.c.integrations,
            sa.select(sa.func.jsonb_agg(integration_configs.c.config))
            .where(is_of_project, integration_configs.c.provider == provider.value)
            .scalar_subquery(),
            sa.or_(
                _is_named_by_live(provider, outbox.resource_id, outbox.project_id),
                sa.and_(own.c.id.is_not(None), is_live(own)),
            ),
        )
        .select_from(
            provider_cleanup.outerjoin(own, own.c.id == outbox.environment_id).outerjoin(
                projects, projects.c.id == outbox.project_id
            )
        )
        .where(outbox.cleanup_id == cleanup_id)
    )
    resource_id, project_id, url, integrations, configs, is_wanted = connection.execute(query).one()
    return Leftover(
        cleanup_id=cleanup_id,
        provider=provider,
        resource_id=resource_id,
        project_id=project_id,
        cloudflare_url=url,
        integrations=integrations if isinstance(integrations, dict) else {},
        configs=configs or [],
        is_wanted=is_wanted,
    )


def settle(connection: sa.Connection, *, cleanup_id: int, settled: Settled, at: datetime) -> None:
    """Record that a resource is no longer to be removed; it is looked at no more."""
    connection.execute(
        sa.update(provider_cleanup)
        .where(provider_cleanup.c.cleanup_id == cleanup_id, provider_cleanup.c.settled_at.is_(None))
        .values(settled_at=at, settled_as=settled.value, attempts=provider_cleanup.c.attempts + 1, last_error=None)
    )


def record_failure(connection: sa.Connection, *, cleanup_id: int, message: str) -> None:
    """Record that a resource may still be there; the next run tries again."""
    connection.execute(
        sa.update(provider_cleanup)
        .where(provider_cleanup.c.cleanup_id == cleanup_id, provider_cleanup.c.settled_at.is_(None))
        .values(attempts=provider_cleanup.c.attempts + 1, last_error=message)
    )
