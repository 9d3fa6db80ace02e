"""A sample of CloudMake: projects, environments and expired previews, secrets for GitHub, a token that somebody changed."""

from datetime import UTC
from importlib import resources
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.benchmark.queries import FEWEST, TABLES
from cath_dagster.development.sample import Filling, Sample
from cath_dagster.development.samples.cloudmake import encrypted

KEY = encrypted.KEY
"""The master key of the sample's values, which are worth nothing."""
MAPPED = 3
"""Projects whose secrets go to GitHub, at any scale."""
REPOSITORIES = tuple(f"example/project-{number}" for number in range(1, MAPPED + 1))
ENVIRONMENTS = ("dev", "staging", "prod")
"""What provisioning calls them, at GitHub too."""
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
        "admin_sessions",
        """
        INSERT INTO admin_sessions (user_id, token_hash, expires_at, created_at)
        SELECT md5('user-' || n)::uuid, md5('admin-' || n), %(as_of)s + n * interval '1 hour', %(as_of)s
        FROM generate_series(1, 5) AS n""",
    ),
    (
        "user_sessions",
        # Every other one has ended.
        """
        INSERT INTO user_sessions (user_id, token_hash, expires_at, created_at, polar_customer_id)
        SELECT md5('user-' || n)::uuid, md5('session-' || n), %(as_of)s + (mod(n, 2) * 48 - 24) * interval '1 hour',
            %(as_of)s - interval '2 days', 'customer-' || n
        FROM generate_series(1, %(users)s) AS n""",
    ),
    (
        "polar_customers",
        """
        INSERT INTO polar_customers (user_id, polar_customer_id, subscription_tier, subscription_status)
        SELECT md5('user-' || n)::uuid, 'customer-' || n, (ARRAY['free', 'pro', 'enterprise'])[1 + mod(n, 3)], 'active'
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
    (
        "secret_mappings",
        """
        INSERT INTO secret_mappings (id, project_id, secret_name, value_hash, target_scopes, created_at)
        SELECT md5('mapping-' || n || name)::uuid, md5('project-' || n)::uuid, name, repeat('0', 64), scopes,
            %(as_of)s - interval '1 day'
        FROM generate_series(1, %(mapped)s) AS n, (VALUES
            ('DATABASE_URL_DEV', ARRAY['actions']), ('DATABASE_URL_STAGING', ARRAY['actions']),
            ('DATABASE_URL_PROD', ARRAY['actions']), ('NEXT_PUBLIC_SITE', ARRAY['actions', 'codespaces']),
            ('REGISTRY_PASSWORD', ARRAY['actions', 'codespaces', 'dependabot']), ('ACTIONS_STEP_DEBUG', ARRAY['actions'])
        ) AS mapped (name, scopes)""",
    ),
    (
        "design_token_versions",
        """
        INSERT INTO design_token_versions (id, version, snapshot, hash)
        SELECT md5('tokens')::uuid, 1, jsonb_object_agg('color.brand.' || n,
            jsonb_build_object('category', 'color', 'value', jsonb_build_object('hex', '#' || left(md5(n::text), 6)))),
            md5('tokens')
        FROM generate_series(1, 12) AS n""",
    ),
    (
        "design_tokens",
        # Somebody has changed one of them by hand.
        """
        INSERT INTO design_tokens (id, name, category, value, version)
        SELECT md5('color-' || n)::uuid, 'color.brand.' || n, 'color',
            jsonb_build_object('hex', '#' || CASE n WHEN 7 THEN '777777' ELSE left(md5(n::text), 6) END), 1
        FROM generate_series(1, 12) AS n""",
    ),
)


def preview_branches() -> set[tuple[str, str]]:
    """Return project and branch at Neon of every preview of the sample at scale 1."""
    return {(f"neon-{1 + number % PROJECTS}", f"br-preview-{number}") for number in range(1, PREVIEWS + 1)}


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys, indexes and policies; the caller owns the transaction."""
    connection.execute(resources.files(__package__).joinpath("schema.sql").read_bytes())


def fill(connection: psycopg.Connection, filling: Filling) -> int:
    """Fill the empty tables in one transaction; return how many rows there are.

    Equal arguments give equal rows, but for what is encrypted.
    """
    at = filling.as_of.astimezone(UTC)
    parameters: dict[str, Any] = {
        "as_of": at,
        "now": at.replace(tzinfo=None),
        # Where there are fewer, a benchmark of them is refused.
        "users": max(FEWEST["users"], round(USERS * filling.scale)),
        "projects": max(MAPPED, round(PROJECTS * filling.scale)),
        "previews": max(20, round(PREVIEWS * filling.scale)),
        "audit_entries": max(FEWEST["admin_audit_logs"], round(AUDIT_ENTRIES * filling.scale)),
        "mapped": MAPPED,
    }
    with connection.transaction():
        rows = sum(connection.execute(statement, parameters).rowcount for _, statement in _STEPS)
        rows += encrypted.fill(connection, MAPPED, at)
        for table in dict(_STEPS):
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    return rows


SAMPLE = Sample(
    CLOUDMAKE,
    create_schema,
    fill,
    readers={"BENCHMARK_ROLE": TABLES},
    # What it is to show is a measurement; whether this machine is fast enough is none of the sample's business.
    started={"admin_query_benchmark": {"confirm": True, "gate": False}},
)
