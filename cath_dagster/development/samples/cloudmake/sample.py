"""A sample of CloudMake: projects and their environments, expired previews among them."""

from datetime import UTC
from importlib import resources
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.development.sample import Filling, Sample

KEY = "5a" * 32
"""The master key of the sample's values, which are worth nothing."""
PROJECTS, PREVIEWS, USERS, AUDIT_ENTRIES = 20, 200, 1_200, 12_000
"""Rows at scale 1."""

# Values are drawn by the row's number, so equal arguments give equal rows.
_STEPS: tuple[tuple[str, LiteralString], ...] = (
    (
        "organizations",
        "INSERT INTO organizations (id, name, slug) VALUES (md5('organization')::uuid, 'Example Ltd', 'example')",
    ),
    (
        "users",
        """
        INSERT INTO users (id, org_id, email, display_name, role, created_at)
        SELECT md5('user-' || n)::uuid, md5('organization')::uuid, 'user' || n || '@example.org', 'User ' || n,
            (CASE WHEN n <= 5 THEN 'admin' ELSE 'user' END)::auth_role, %(now)s - n * interval '1 hour'
        FROM generate_series(1, %(users)s) AS n""",
    ),
    (
        "projects",
        """
        INSERT INTO projects (id, name, slug, org_id, status, integrations)
        SELECT md5('project-' || n)::uuid, 'Project ' || n, 'project-' || n, md5('organization')::uuid, 'active',
            jsonb_build_object('githubRepo', 'example/project-' || n, 'neonProjectId', 'neon-' || n)
        FROM generate_series(1, %(projects)s) AS n""",
    ),
    (
        "environments",
        """
        INSERT INTO environments (id, project_id, name, kind, github_branch, neon_branch_id)
        SELECT md5('core-' || n || name)::uuid, md5('project-' || n)::uuid, name, 'core', name, 'br-' || name || '-' || n
        FROM generate_series(1, %(projects)s) AS n, unnest(ARRAY['dev', 'staging', 'prod']) AS name""",
    ),
    (
        "environments",
        # A third has expired; one in ten of all has no time to live.
        """
        INSERT INTO environments (id, project_id, name, kind, github_branch, neon_branch_id, ttl_expires_at)
        SELECT md5('preview-' || n)::uuid, md5('project-' || 1 + mod(n, %(projects)s))::uuid, 'preview-' || n, 'preview',
            'feature/' || n, 'br-preview-' || n,
            CASE WHEN mod(n, 10) > 0 THEN %(now)s + make_interval(hours => mod(n * 7, 108) - 36) END
        FROM generate_series(1, %(previews)s) AS n""",
    ),
    (
        "admin_audit_logs",
        """
        INSERT INTO admin_audit_logs (admin_user_id, action_type, entity_type, entity_id, created_at)
        SELECT md5('user-' || 1 + mod(n, 5))::uuid, 'user_update', 'user', n::text, %(as_of)s - n * interval '1 minute'
        FROM generate_series(1, %(audit_entries)s) AS n""",
    ),
)


def preview_branches() -> set[tuple[str, str]]:
    """Return project and branch at Neon of every preview of the sample at scale 1."""
    return {(f"neon-{1 + number % PROJECTS}", f"br-preview-{number}") for number in range(1, PREVIEWS + 1)}


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys, indexes and policies; the caller owns the transaction."""
    connection.execute(resources.files(__package__).joinpath("schema.sql").read_bytes())


def fill(connection: psycopg.Connection, filling: Filling) -> int:
    """Fill the empty tables in one transaction; return how many rows there are. Equal arguments give equal rows."""
    at = filling.as_of.astimezone(UTC)
    parameters: dict[str, Any] = {
        "as_of": at,
        "now": at.replace(tzinfo=None),
        "users": max(10, round(USERS * filling.scale)),
        "projects": max(3, round(PROJECTS * filling.scale)),
        "previews": max(20, round(PREVIEWS * filling.scale)),
        "audit_entries": max(100, round(AUDIT_ENTRIES * filling.scale)),
    }
    with connection.transaction():
        rows = sum(connection.execute(statement, parameters).rowcount for _, statement in _STEPS)
        for table in dict(_STEPS):
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    return rows


SAMPLE = Sample(CLOUDMAKE, create_schema, fill)
