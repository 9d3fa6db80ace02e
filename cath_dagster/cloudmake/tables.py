"""The service's tables, only the columns the jobs use, and ours beside them in the schema `maintenance`.

Instants of environments, projects and deployments are `timestamp` without zone, in UTC. In a database made by the service's
ORM those of the secrets' tables are so too: see `EitherInstant`.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, JSONB

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.maintenance.tables import METADATA as OURS
from cath_dagster.core.model.optional_columns import OPTIONAL
from cath_dagster.core.postgres.session import SERVICE

METADATA = sa.MetaData(schema=SERVICE)
OUR_METADATA = sa.MetaData(schema=OURS.schema)
_INSTANT = sa.DateTime(timezone=True)
_NAIVE = sa.DateTime(timezone=False)


class EitherInstant(sa.types.TypeDecorator[datetime]):
    """An instant with a zone in databases of the service's migrations, and without one, in UTC, in those of its ORM.

    Aware either way for us: a session of ours is in UTC, so that the server turns the one into the other without a loss.
    """

    impl = _INSTANT
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        del dialect
        return value if value is None or value.tzinfo is not None else value.replace(tzinfo=UTC)


_EITHER = EitherInstant()


def _enum(name: str, *values: str) -> ENUM:
    return ENUM(*values, name=name, schema=SERVICE, create_type=False)


projects = sa.Table(
    "projects",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("slug", sa.Text, nullable=False),
    sa.Column("status", _enum("project_status", "provisioning", "active", "failed"), nullable=False),
    sa.Column("integrations", JSONB),
)

environments = sa.Table(
    "environments",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    # The value `archived` is missing in a database made by the ORM; which words are there the archival looks up.
    sa.Column("kind", _enum("environment_kind", "core", "preview"), nullable=False),
    sa.Column(
        "state", sa.Text, info={OPTIONAL: "the specification archives by kind; where it is there, it says the same"}
    ),
    sa.Column("cloudflare_url", sa.Text),
    sa.Column("neon_branch_id", sa.Text),
    sa.Column("postman_environment_id", sa.Text),
    sa.Column("github_environment_id", sa.Integer),
    sa.Column("ttl_expires_at", _NAIVE),
    sa.Column("updated_at", _NAIVE, nullable=False),
)

deployments = sa.Table(
    "deployments",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column("environment_id", sa.Uuid, nullable=False),
    sa.Column("provider_ids", JSONB),
)

integration_configs = sa.Table(
    "integration_configs",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column(
        "provider",
        _enum("integration_provider", "github", "cloudflare", "neon", "postman", "codespaces"),
        nullable=False,
    ),
    sa.Column("config", JSONB, nullable=False),
)

users = sa.Table(
    "users",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("created_at", _NAIVE, nullable=False),
)

user_sessions = sa.Table(
    "user_sessions",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
)

admin_sessions = sa.Table(
    "admin_sessions",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
)

polar_customers = sa.Table(
    "polar_customers",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, nullable=False),
    sa.Column("polar_customer_id", sa.Text, nullable=False),
    sa.Column("subscription_tier", sa.Text, nullable=False),
)

admin_audit_logs = sa.Table(
    "admin_audit_logs",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("admin_user_id", sa.Uuid),
    sa.Column("action_type", sa.Text, nullable=False),
    sa.Column("entity_type", sa.Text, nullable=False),
    sa.Column("entity_id", sa.Text),
    sa.Column("changes_json", JSONB),
    sa.Column("created_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

mcp_tool_invocations = sa.Table(
    "mcp_tool_invocations",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("tool_name", sa.Text, nullable=False),
    sa.Column("server_name", sa.Text, nullable=False),
    sa.Column("actor_type", sa.Text, nullable=False),
    sa.Column("duration_ms", sa.Integer, nullable=False),
    sa.Column("success", sa.Boolean, nullable=False),
    sa.Column("error_code", sa.Text),
    sa.Column("correlation_id", sa.Uuid, nullable=False),
    sa.Column("timestamp", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("rate_limit_applied", sa.Boolean, nullable=False),
)

mcp_server_metrics = sa.Table(
    "mcp_server_metrics",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("server_name", sa.Text, nullable=False),
    sa.Column("date", sa.Date, nullable=False),
    sa.Column("p95_latency_ms", sa.Integer, nullable=False),
    sa.Column("error_rate_pct", sa.Numeric(5, 2), nullable=False),
    sa.Column("seq_latency_ms", sa.Integer),
    sa.Column("parallel_latency_ms", sa.Integer),
    sa.Column("created_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

mcp_drift_snapshots = sa.Table(
    "mcp_drift_snapshots",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("server_name", sa.Text, nullable=False),
    sa.Column("diff_json", JSONB, nullable=False),
    sa.Column("detected_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("resolved_at", _INSTANT),
    sa.Column("status", sa.Text, nullable=False, server_default="detected"),
)

jwt_keys = sa.Table(
    "jwt_keys",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("kid", sa.Text, nullable=False),
    sa.Column("encrypted_secret", sa.Text, nullable=False),
    sa.Column("algorithm", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("rotated_at", _INSTANT),
    # A deleted signing key must not live on in an archive.
    info={PERSONAL: ("kid", "encrypted_secret", "algorithm")},
)

secrets_metadata = sa.Table(
    "secrets_metadata",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("encrypted_metadata", sa.Text, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("updated_at", _INSTANT, nullable=False),
)

secret_mappings = sa.Table(
    "secret_mappings",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column("secret_name", sa.Text, nullable=False),
    sa.Column("value_hash", sa.Text, nullable=False),
    sa.Column("source_scope", sa.Text, nullable=False),
    sa.Column("target_scopes", ARRAY(sa.Text), nullable=False),
    sa.Column("is_excluded", sa.Boolean, nullable=False),
    sa.Column("last_synced_at", _EITHER),
    sa.Column("sync_status", _enum("secret_sync_status", "pending", "synced", "failed", "conflict"), nullable=False),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", _EITHER, nullable=False),
    sa.Column("updated_at", _EITHER, nullable=False),
)

secret_exclusion_patterns = sa.Table(
    "secret_exclusion_patterns",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("project_id", sa.Uuid),
    sa.Column("pattern", sa.Text, nullable=False),
    sa.Column("is_global", sa.Boolean, nullable=False),
)

_NOT_IN_ALL = "The migrations and the ORM of the service have other columns; what one lacks is not written."
secret_audit = sa.Table(
    "secret_audit",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column("environment_id", sa.Uuid, nullable=False),
    sa.Column("secret_name", sa.Text, nullable=False),
    sa.Column("secret_ref_hash", sa.Text, info={OPTIONAL: _NOT_IN_ALL}),
    sa.Column("operation", sa.Text, info={OPTIONAL: _NOT_IN_ALL}),
    sa.Column("action", sa.Text, info={OPTIONAL: _NOT_IN_ALL}),
    sa.Column("origin", sa.Text, info={OPTIONAL: _NOT_IN_ALL}),
    sa.Column("actor_id", sa.Uuid, info={OPTIONAL: _NOT_IN_ALL}),
    sa.Column("occurred_at", _EITHER, info={OPTIONAL: _NOT_IN_ALL}),
    sa.Column("metadata", JSONB, info={OPTIONAL: _NOT_IN_ALL}),
)

_OPERATIONS = ("create", "update", "delete", "sync_all", "validate")
secret_sync_events = sa.Table(
    "secret_sync_events",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column("actor_id", sa.Uuid),
    sa.Column("operation", _enum("secret_sync_operation", *_OPERATIONS), nullable=False),
    sa.Column("secret_name", sa.Text),
    sa.Column("affected_scopes", ARRAY(sa.Text), nullable=False),
    sa.Column("status", _enum("secret_sync_event_status", "success", "failure", "partial"), nullable=False),
    sa.Column("success_count", sa.Integer, nullable=False),
    sa.Column("failure_count", sa.Integer, nullable=False),
    sa.Column("error_message", sa.Text),
    sa.Column("correlation_id", sa.Uuid, nullable=False),
    sa.Column("duration_ms", sa.Integer, nullable=False),
    sa.Column("metadata", JSONB),
    sa.Column("created_at", _EITHER, nullable=False),
)

github_api_quotas = sa.Table(
    "github_api_quotas",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column("quota_type", _enum("github_api_quota_type", "core", "secrets", "graphql"), nullable=False),
    sa.Column("remaining", sa.Integer, nullable=False),
    sa.Column("limit_value", sa.Integer, nullable=False),
    sa.Column("reset_at", _EITHER, nullable=False),
    sa.Column("last_checked_at", _EITHER, nullable=False),
    sa.Column("updated_at", _EITHER, nullable=False),
)

spec_artifacts = sa.Table(
    "spec_artifacts",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("artifact_path", sa.Text, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("created_at", _NAIVE, nullable=False),
    sa.Column("updated_at", _NAIVE, nullable=False),
)

_CATEGORIES = ("color", "spacing", "typography", "radius", "elevation", "glass", "semantic")
design_tokens = sa.Table(
    "design_tokens",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("category", _enum("token_category", *_CATEGORIES), nullable=False),
    sa.Column("value", JSONB, nullable=False),
)

design_token_versions = sa.Table(
    "design_token_versions",
    METADATA,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("snapshot", JSONB, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
)

circuit_breaker = sa.Table(
    "circuit_breaker",
    OUR_METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("failure_limit", sa.Integer, nullable=False),
    sa.Column("window_seconds", sa.Integer, nullable=False),
    sa.Column("half_open_seconds", sa.Integer, nullable=False),
    sa.Column("success_limit", sa.Integer, nullable=False),
    sa.Column("failures", ARRAY(_INSTANT), nullable=False),
    sa.Column("successes", sa.Integer, nullable=False),
    sa.Column("opened_at", _INSTANT),
    sa.Column("last_failure_at", _INSTANT),
    sa.Column("last_success_at", _INSTANT),
    sa.Column("probe_until", _INSTANT),
    sa.Column("detail", sa.Text),
    sa.Column("misconfigured_since", _INSTANT),
    sa.Column("probed_at", _INSTANT),
    sa.Column("recorded_by", sa.Text),
)

mcp_outage = sa.Table(
    "mcp_outage",
    OUR_METADATA,
    sa.Column("outage_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("server_name", sa.Text, nullable=False),
    sa.Column("opened_at", _INSTANT, nullable=False),
    sa.Column("degraded_at", _INSTANT, nullable=False),
    sa.Column("closed_at", _INSTANT),
    sa.Column("guidance", sa.Text, nullable=False),
    sa.Column("opened_by", sa.Text, nullable=False),
    sa.Column("closed_by", sa.Text),
)

provider_cleanup = sa.Table(
    "provider_cleanup",
    OUR_METADATA,
    sa.Column("cleanup_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("environment_id", sa.Uuid, nullable=False),
    sa.Column("project_id", sa.Uuid, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("resource_id", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("queued_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_error", sa.Text),
    sa.Column("settled_at", _INSTANT),
    sa.Column("settled_as", sa.Text),
)

stored_secret = sa.Table(
    "stored_secret",
    OUR_METADATA,
    sa.Column("project_id", sa.Uuid, primary_key=True),
    sa.Column("environment", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("updated_at", _INSTANT, nullable=False),
)

wrapped_key = sa.Table(
    "wrapped_key",
    OUR_METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

secret_target = sa.Table(
    "secret_target",
    OUR_METADATA,
    sa.Column("project_id", sa.Uuid, primary_key=True),
    sa.Column("secret_name", sa.Text, primary_key=True),
    sa.Column("target", sa.Text, primary_key=True),
    sa.Column("name_at_target", sa.Text, nullable=False),
    sa.Column("value_hash", sa.Text),
    sa.Column("remote_updated_at", _INSTANT),
    sa.Column("written_at", _INSTANT),
    sa.Column("pending_since", _INSTANT),
    sa.Column("pending_after", _INSTANT),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("status_since", _INSTANT, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("run_id", sa.Text, nullable=False),
)

jwks = sa.Table(
    "jwks",
    OUR_METADATA,
    sa.Column("only_one", sa.Boolean, primary_key=True),
    sa.Column("document", JSONB, nullable=False),
    sa.Column("written_at", _INSTANT, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
)

master_key_rotation = sa.Table(
    "master_key_rotation",
    OUR_METADATA,
    sa.Column("rotation_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("to_key", sa.Text, nullable=False),
    sa.Column("from_key", sa.Text, nullable=False),
    sa.Column("began_at", _INSTANT, nullable=False),
    sa.Column("verified_at", _INSTANT),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("counts", JSONB, nullable=False),
)

benchmark = sa.Table(
    "benchmark",
    OUR_METADATA,
    sa.Column("benchmark_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("measured_at", _INSTANT, nullable=False),
    sa.Column("query", sa.Text, nullable=False),
    sa.Column("measured_as", sa.Text, nullable=False),
    sa.Column("iterations", sa.Integer, nullable=False),
    sa.Column("p50_ms", sa.Double, nullable=False),
    sa.Column("p95_ms", sa.Double, nullable=False),
    sa.Column("target_ms", sa.Double, nullable=False),
    sa.Column("revision", sa.Text),
    sa.Column("details", JSONB, nullable=False),
)
