"""A sample of Hay: tenants with and without a retention, conversations, privacy requests with their files, plugins and imports."""

import uuid
from datetime import UTC
from importlib import resources
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from cath_dagster.development.sample import Filling, Sample
from cath_dagster.hay import HAY

FOLDER = "hay-exports"
TENANTS, CONVERSATIONS, AUDIT_ROWS, REQUESTS, JOBS, DOCUMENTS = 12, 4_000, 20_000, 400, 600, 300
"""Rows at scale 1; a conversation has about five messages."""

# Values are drawn by the row's number, so equal arguments give equal rows.
_STEPS: tuple[tuple[str, LiteralString], ...] = (
    (
        "organizations",
        # Of three in four a policy can be read; the others keep everything.
        """
        INSERT INTO organizations (id, name, slug, settings, created_at)
        SELECT md5('tenant-' || n)::uuid, 'Tenant ' || n, 'tenant-' || n,
            CASE mod(n, 4) WHEN 0 THEN NULL ELSE jsonb_build_object('retentionDays', 30 * mod(n, 4)) END,
            %(as_of)s - interval '400 days'
        FROM generate_series(1, %(tenants)s) AS n""",
    ),
    (
        "users",
        """
        INSERT INTO users (id, email, password, organization_id, deleted_at)
        SELECT md5('user-' || n)::uuid, 'user' || n || '@example.org', 'hashed', md5('tenant-' || n)::uuid,
            CASE WHEN mod(n, 6) = 0 THEN %(as_of)s - interval '200 days' END
        FROM generate_series(1, %(tenants)s) AS n""",
    ),
    (
        "customers",
        """
        INSERT INTO customers (id, organization_id, external_id, email, name)
        SELECT md5('customer-' || n || '-' || k)::uuid, md5('tenant-' || n)::uuid, 'c' || k,
            'customer' || k || '@tenant' || n || '.example', 'Customer ' || k
        FROM generate_series(1, %(tenants)s) AS n, generate_series(1, 10) AS k""",
    ),
    (
        "conversations",
        # One in fifty is held; most have ended, by themselves or by somebody's hand.
        """
        INSERT INTO conversations (id, organization_id, customer_id, title, status, created_at, updated_at, last_message_at,
            ended_at, closed_at, legal_hold, context, metadata, is_stuck, needs_processing)
        SELECT md5('conversation-' || n)::uuid, md5('tenant-' || tenant)::uuid,
            md5('customer-' || tenant || '-' || 1 + mod(n, 10))::uuid, 'Question ' || n, status, at, at + interval '1 hour',
            (at + interval '1 hour') AT TIME ZONE 'UTC',
            CASE WHEN status = 'resolved' THEN (at + interval '2 hours') AT TIME ZONE 'UTC' END,
            CASE WHEN status = 'closed' THEN (at + interval '3 hours') AT TIME ZONE 'UTC' END,
            mod(n, 50) = 0, '{"page": "/prices"}', '{"browser": "a browser"}', false, false
        FROM generate_series(1, %(conversations)s) AS n,
        LATERAL (SELECT 1 + mod(n, %(tenants)s) AS tenant, %(now)s - mod(n * 7, 200) * interval '1 day' AS at,
            (ARRAY['resolved', 'closed', 'resolved', 'open', 'human-took-over'])[1 + mod(n, 5)]::conversations_status_enum
                AS status) AS drawn""",
    ),
    (
        "messages",
        """
        INSERT INTO messages (id, conversation_id, content, type, sentiment, sender, created_at, updated_at)
        SELECT md5('message-' || c.id || k)::uuid, c.id, 'What message ' || k || ' says',
            (ARRAY['Customer', 'BotAgent', 'Customer', 'HumanAgent', 'System'])[k]::messages_type_enum,
            CASE WHEN k IN (1, 3) THEN
                (ARRAY['positive', 'neutral', 'negative'])[1 + mod(hashtext(c.id::text)::bigint + 2147483648 + k, 3)]::messages_sentiment_enum
            END, 'somebody', c.created_at + k * interval '5 minutes', c.created_at + k * interval '5 minutes'
        FROM conversations AS c, generate_series(1, 5) AS k""",
    ),
    (
        "message_feedback",
        """
        INSERT INTO message_feedback (message_id, organization_id, reviewer_id, rating, comment)
        SELECT m.id, c.organization_id, u.id, 'good', 'Well said'
        FROM messages AS m JOIN conversations AS c ON c.id = m.conversation_id
        JOIN users AS u ON u.organization_id = c.organization_id
        WHERE m.type = 'BotAgent' AND mod(hashtext(m.id::text), 10) = 0""",
    ),
    (
        "jobs",
        """
        INSERT INTO jobs (id, organization_id, title, status, data, created_at, updated_at)
        SELECT md5('job-' || n)::uuid, md5('tenant-' || 1 + mod(n, %(tenants)s))::uuid, 'Import of page ' || n,
            (ARRAY['completed', 'completed', 'failed', 'cancelled', 'processing'])[1 + mod(n, 5)]::jobs_status_enum,
            jsonb_build_object('progress', mod(n, 100)), %(as_of)s - mod(n, 60) * interval '1 day' - interval '2 hours',
            %(as_of)s - mod(n, 60) * interval '1 day' - interval '1 hour'
        FROM generate_series(1, %(jobs)s) AS n""",
    ),
    (
        "jobs",
        """
        INSERT INTO jobs (id, organization_id, title, status, data, created_at, updated_at)
        SELECT md5('privacy-job-' || n)::uuid, md5('tenant-' || tenant)::uuid,
            'Data Export for customer' || k || '@tenant' || tenant || '.example', 'pending',
            jsonb_build_object('requestId', md5('request-' || n)::uuid, 'email', 'customer' || k || '@tenant' || tenant || '.example'),
            %(as_of)s - mod(n, 150) * interval '1 day', %(as_of)s - mod(n, 150) * interval '1 day'
        FROM generate_series(1, %(requests)s) AS n,
        LATERAL (SELECT 1 + mod(n, %(tenants)s) AS tenant, 1 + mod(n, 10) AS k) AS drawn
        WHERE mod(n, 4) < 2""",
    ),
    (
        "privacy_requests",
        """
        INSERT INTO privacy_requests (id, email, type, status, subject_type, customer_id, organization_id, job_id,
            identifier_type, identifier_value, verification_token_hash, verification_expires_at, completed_at, ip_address,
            metadata, created_at, updated_at)
        SELECT md5('request-' || n)::uuid, address, CASE WHEN mod(n, 4) = 3 THEN 'deletion' ELSE 'export' END, status, 'customer',
            md5('customer-' || tenant || '-' || k)::uuid, md5('tenant-' || tenant)::uuid,
            CASE WHEN mod(n, 4) < 2 THEN md5('privacy-job-' || n)::uuid END, 'email', address, 'hash', at + interval '1 day',
            CASE WHEN status IN ('completed', 'failed') THEN at + interval '1 hour' END, '192.0.2.' || mod(n, 250),
            CASE WHEN status = 'completed' THEN jsonb_build_object('exportFormat', 'zip', 'downloadToken', 'made up',
                'exportUrl', '/srv/hay/exports/customer-export-' || md5('request-' || n)::uuid || '.zip',
                'exportExpiresAt', to_char(at + interval '7 days', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')) END,
            at, at
        FROM generate_series(1, %(requests)s) AS n,
        LATERAL (SELECT 1 + mod(n, %(tenants)s) AS tenant, 1 + mod(n, 10) AS k, %(as_of)s - mod(n, 150) * interval '1 day' AS at,
            (ARRAY['completed', 'completed', 'pending_verification', 'failed'])[1 + mod(n, 4)] AS status) AS drawn,
        LATERAL (SELECT 'customer' || k || '@tenant' || tenant || '.example' AS address) AS named""",
    ),
    (
        "audit_logs",
        """
        INSERT INTO audit_logs (user_id, organization_id, action, resource, changes, ip_address, user_agent, status, created_at)
        SELECT CASE WHEN mod(n, 9) > 0 THEN md5('user-' || tenant)::uuid END,
            CASE WHEN mod(n, 5) > 0 THEN md5('tenant-' || tenant)::uuid END,
            (ARRAY['user.login', 'document.create', 'organization.update', 'privacy.export.complete', 'user.logout'])[1 + mod(n, 5)],
            'user', jsonb_build_object('email', 'user' || tenant || '@example.org'), '192.0.2.' || mod(n, 250), 'a browser',
            'success', %(as_of)s - n * interval '1 day' * 150 / %(audit_rows)s
        FROM generate_series(1, %(audit_rows)s) AS n, LATERAL (SELECT 1 + mod(n, %(tenants)s) AS tenant) AS drawn""",
    ),
    (
        "plugin_registry",
        """
        INSERT INTO plugin_registry (id, plugin_id, name, version, manifest, plugin_path, installed, built, status, last_build_error)
        SELECT md5('plugin-' || n)::uuid, 'plugin-' || n, 'Plugin ' || n, '1.0.0', '{}', 'core/plugin-' || n, true, n < 4,
            CASE n WHEN 5 THEN 'not_found' ELSE 'available' END, CASE n WHEN 4 THEN 'exit code 1' END
        FROM generate_series(1, 5) AS n""",
    ),
    (
        "plugin_instances",
        """
        INSERT INTO plugin_instances (organization_id, plugin_id, enabled, running, process_id, runtime_state, status, health_status,
            last_started_at, last_health_check, last_activity_at, last_error, created_at)
        SELECT md5('tenant-' || n)::uuid, md5('plugin-' || k)::uuid, true, k < 3, CASE WHEN k < 3 THEN '999999' END,
            (ARRAY['ready', 'ready', 'error'])[k], (ARRAY['running', 'running', 'error'])[k],
            (ARRAY['healthy', 'healthy', 'unhealthy'])[k], %(as_of)s - interval '2 days',
            %(as_of)s - CASE k WHEN 1 THEN interval '1 minute' ELSE interval '1 day' END,
            CASE WHEN k = 1 THEN %(as_of)s - interval '1 minute' END, CASE WHEN k = 3 THEN 'it ended' END, %(as_of)s - interval '90 days'
        FROM generate_series(1, %(tenants)s) AS n, generate_series(1, 3) AS k""",
    ),
    (
        "documents",
        """
        INSERT INTO documents (organization_id, title, status, import_method, source_url, processing_metadata, updated_at)
        SELECT md5('tenant-' || 1 + mod(n, %(tenants)s))::uuid, 'Document ' || n,
            (CASE WHEN mod(n, 10) < 8 THEN 'published' ELSE 'processing' END)::documents_status_enum, 'web',
            CASE WHEN mod(n, 20) <> 8 THEN 'https://docs.example.org/' || n END,
            CASE WHEN mod(n, 10) > 7 THEN jsonb_build_object('retryCount', mod(n, 4)) END, %(as_of)s - interval '2 hours'
        FROM generate_series(1, %(documents)s) AS n""",
    ),
    (
        "embeddings",
        """
        INSERT INTO embeddings (organization_id, document_id, page_content, metadata)
        SELECT organization_id, id, 'What the page says', '{"page": 1}' FROM documents WHERE status = 'published'""",
    ),
    (
        "maintenance.dpop_token",
        """
        INSERT INTO maintenance.dpop_token (jti, expires_at)
        SELECT md5('token-' || n), %(as_of)s + (mod(n, 40) - 30) * interval '1 minute' FROM generate_series(1, 200) AS n""",
    ),
)


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys and indexes; the caller owns the transaction."""
    connection.execute(resources.files(__package__).joinpath("schema.sql").read_bytes())


def fill(connection: psycopg.Connection, filling: Filling) -> int:
    """Fill the empty tables in one transaction, and write a file for each export; return how many rows there are."""
    at = filling.as_of.astimezone(UTC)
    parameters: dict[str, Any] = {
        "as_of": at,
        "now": at.replace(tzinfo=None),
        "tenants": max(4, round(TENANTS * min(1.0, filling.scale * 10))),
        "conversations": max(60, round(CONVERSATIONS * filling.scale)),
        "audit_rows": max(200, round(AUDIT_ROWS * filling.scale)),
        "requests": max(40, round(REQUESTS * filling.scale)),
        "jobs": max(40, round(JOBS * filling.scale)),
        "documents": max(40, round(DOCUMENTS * filling.scale)),
    }
    with connection.transaction():
        rows = sum(connection.execute(statement, parameters).rowcount for _, statement in _STEPS)
        for table in dict(_STEPS):
            connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(*table.split("."))))
    _write_files(connection, filling.file_root)
    return rows


def _write_files(connection: psycopg.Connection, folder: Path) -> None:
    """Write the file of every export that has one, and one of which no request knows any more."""
    folder.mkdir(parents=True, exist_ok=True)
    exported = connection.execute("SELECT id FROM privacy_requests WHERE metadata ? 'exportUrl'").fetchall()
    for (request,) in [*exported, (uuid.uuid5(uuid.NAMESPACE_URL, "nobody's request"),)]:
        (folder / f"customer-export-{request}.zip").write_bytes(b"made up")


SAMPLE = Sample(HAY, create_schema, fill, stores={HAY.file_store: FOLDER}, files=FOLDER)
