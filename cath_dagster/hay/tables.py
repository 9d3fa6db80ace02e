"""The service's tables, only the columns the jobs use, and ours beside them in the schema `maintenance`.

Instants of conversations, messages and their feedback are `timestamp` without zone, in the local time of the session that wrote
them, which `zone.check_zone` holds to UTC; all others are aware. Nothing in the database moves `updated_at`: whoever changes a
row does, and so do we.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ENUM, JSONB

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.maintenance.tables import METADATA as OURS
from cath_dagster.core.postgres.session import SERVICE

METADATA = sa.MetaData(schema=SERVICE)
OUR_METADATA = sa.MetaData(schema=OURS.schema)
_INSTANT = sa.DateTime(timezone=True)
_NAIVE = sa.DateTime(timezone=False)


def _enum(name: str, *labels: str) -> ENUM:
    return ENUM(*labels, name=name, schema=SERVICE, create_type=False)


def _table(name: str, *columns: sa.Column[Any], personal: tuple[str, ...] | None = None) -> sa.Table:
    info = {} if personal is None else {PERSONAL: personal}
    return sa.Table(name, METADATA, sa.Column("id", sa.Uuid, primary_key=True), *columns, info=info)


organizations = _table(
    "organizations",
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("settings", JSONB),
)

users = _table("users", sa.Column("deleted_at", _INSTANT))

conversations = _table(
    "conversations",
    sa.Column("organization_id", sa.Uuid, nullable=False),
    sa.Column("customer_id", sa.Uuid),
    sa.Column("title", sa.String(255), nullable=False),
    sa.Column(
        "status",
        _enum(
            "conversations_status_enum",
            *("open", "processing", "pending-human", "resolved", "closed", "human-took-over"),
        ),
        nullable=False,
    ),
    sa.Column("public_jwk", JSONB),
    sa.Column("context", JSONB),
    sa.Column("resolution_metadata", JSONB),
    sa.Column("metadata", JSONB),
    sa.Column("orchestration_status", JSONB),
    sa.Column("last_processing_error", sa.Text),
    sa.Column("stuck_reason", sa.Text),
    sa.Column("closed_at", _INSTANT),
    sa.Column("ended_at", _INSTANT),
    sa.Column("last_message_at", _INSTANT),
    sa.Column("processing_locked_until", _INSTANT),
    sa.Column("deleted_at", _INSTANT),
    sa.Column("needs_processing", sa.Boolean, nullable=False),
    sa.Column("is_stuck", sa.Boolean),
    sa.Column("recovery_attempts", sa.Integer),
    sa.Column("legal_hold", sa.Boolean, nullable=False),
    sa.Column("created_at", _NAIVE, nullable=False),
    sa.Column("updated_at", _NAIVE, nullable=False),
)

MESSAGE_TYPES = (
    *("Customer", "System", "HumanAgent", "BotAgent", "ToolCall", "ToolResponse", "Document", "Playbook", "Tool"),
)
SENTIMENTS = ("positive", "neutral", "negative")

messages = _table(
    "messages",
    sa.Column("conversation_id", sa.Uuid, nullable=False),
    sa.Column("type", _enum("messages_type_enum", *MESSAGE_TYPES), nullable=False),
    sa.Column("sentiment", _enum("messages_sentiment_enum", *SENTIMENTS)),
    sa.Column("created_at", _NAIVE, nullable=False),
    personal=(
        *("content", "original_content", "metadata", "attachments", "usage_metadata", "sender", "provider_message_id"),
    ),
)

message_feedback = _table(
    "message_feedback",
    sa.Column("message_id", sa.Uuid, nullable=False),
    personal=("reviewer_id", "comment"),
)

embeddings = _table(
    "embeddings",
    sa.Column("organization_id", sa.Uuid, nullable=False),
    sa.Column("metadata", JSONB),
    personal=("page_content", "metadata", "embedding"),
)

privacy_requests = _table(
    "privacy_requests",
    sa.Column("email", sa.String(255), nullable=False),
    sa.Column("type", sa.String(20), nullable=False),
    sa.Column("status", sa.String(30), nullable=False),
    sa.Column("subject_type", sa.String(20), nullable=False),
    sa.Column("customer_id", sa.Uuid),
    sa.Column("job_id", sa.Uuid),
    sa.Column("identifier_value", sa.String(255)),
    sa.Column("verification_token_hash", sa.String(255)),
    sa.Column("verification_expires_at", _INSTANT),
    sa.Column("ip_address", sa.String(45)),
    sa.Column("user_agent", sa.String(500)),
    sa.Column("download_ip_address", sa.String(45)),
    sa.Column("downloaded_at", _INSTANT),
    sa.Column("download_count", sa.Integer, nullable=False),
    sa.Column("max_downloads", sa.Integer, nullable=False),
    sa.Column("completed_at", _INSTANT),
    sa.Column("metadata", JSONB),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("updated_at", _INSTANT, nullable=False),
    personal=(
        *("email", "user_id", "customer_id", "identifier_value", "verification_token_hash"),
        *("ip_address", "user_agent", "download_ip_address", "metadata", "error_message"),
    ),
)

audit_logs = _table(
    "audit_logs",
    sa.Column("user_id", sa.Uuid),
    sa.Column("organization_id", sa.Uuid),
    sa.Column("action", sa.String(100), nullable=False),
    sa.Column("resource", sa.String(100)),
    sa.Column("changes", JSONB),
    sa.Column("metadata", JSONB),
    sa.Column("ip_address", sa.String(45)),
    sa.Column("user_agent", sa.String(500)),
    sa.Column("status", sa.String(100)),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", _INSTANT, nullable=False),
    personal=("user_id", "resource", "changes", "metadata", "ip_address", "user_agent", "error_message"),
)

JOB_STATUSES = ("pending", "queued", "processing", "completed", "failed", "cancelled", "retrying")

jobs = _table(
    "jobs",
    sa.Column("organization_id", sa.Uuid, nullable=False),
    sa.Column("title", sa.String),
    sa.Column("description", sa.String),
    sa.Column("status", _enum("jobs_status_enum", *JOB_STATUSES), nullable=False),
    sa.Column("data", JSONB),
    sa.Column("result", JSONB),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("updated_at", _INSTANT, nullable=False),
    personal=("title", "description", "data", "result", "metadata", "created_by", "updated_by"),
)

plugin_registry = _table(
    "plugin_registry",
    sa.Column("plugin_id", sa.String(255), nullable=False),
    sa.Column("status", sa.String(50), nullable=False),
    sa.Column("metadata_state", sa.String(50), nullable=False),
    sa.Column("last_install_error", sa.Text),
    sa.Column("last_build_error", sa.Text),
)

plugin_instances = _table(
    "plugin_instances",
    sa.Column("organization_id", sa.Uuid, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("running", sa.Boolean, nullable=False),
    sa.Column("process_id", sa.String),
    sa.Column("status", sa.String(50), nullable=False),
    sa.Column("runtime_state", sa.String(50), nullable=False),
    sa.Column("health_status", sa.String(50)),
    sa.Column("auth_method", sa.String(50)),
    sa.Column("auth_state", JSONB(none_as_null=True)),
    sa.Column("auth_validated_at", _INSTANT),
    sa.Column("last_error", sa.Text),
    sa.Column("last_started_at", _INSTANT),
    sa.Column("last_stopped_at", _INSTANT),
    sa.Column("last_health_check", _INSTANT),
    sa.Column("last_activity_at", _INSTANT),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("updated_at", _INSTANT, nullable=False),
)

documents = _table(
    "documents",
    sa.Column("organization_id", sa.Uuid, nullable=False),
    sa.Column(
        "status",
        _enum("documents_status_enum", *("draft", "published", "archived", "under_review", "processing", "error")),
        nullable=False,
    ),
    sa.Column("source_url", sa.String),
    sa.Column("processing_metadata", JSONB),
    sa.Column("updated_at", _INSTANT, nullable=False),
)

audit_log_archive = sa.Table(
    "hay_audit_log_archive",
    OUR_METADATA,
    sa.Column("audit_log_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid),
    sa.Column("organization_id", sa.Uuid),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("resource", sa.Text),
    sa.Column("changes", JSONB),
    sa.Column("metadata", JSONB),
    sa.Column("ip_address", sa.Text),
    sa.Column("user_agent", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("error_message", sa.Text),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("archived_at", _INSTANT, nullable=False),
    sa.Column("archived_by", sa.Text, nullable=False),
    info={PERSONAL: ("user_id", "resource", "changes", "metadata", "ip_address", "user_agent", "error_message")},
)
"""Audit rows past their retention, without addresses where they are about somebody who was erased."""

daily_analytics = sa.Table(
    "hay_daily_analytics",
    OUR_METADATA,
    sa.Column("organization_id", sa.Uuid, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("conversations", sa.Integer, nullable=False),
    sa.Column("resolved", sa.Integer, nullable=False),
    sa.Column("resolution_rate", sa.Double),
    sa.Column("messages", sa.Integer, nullable=False),
    sa.Column("messages_by_type", JSONB, nullable=False),
    sa.Column("sentiment", JSONB, nullable=False),
    sa.Column("computed_at", _INSTANT, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
)
"""What a tenant's conversations of a UTC day came to; kept when retention has taken the messages."""

dpop_token = sa.Table(
    "dpop_token",
    OUR_METADATA,
    sa.Column("jti", sa.Text, primary_key=True),
    sa.Column("expires_at", _INSTANT, nullable=False),
    info={PERSONAL: ()},
)
"""Tokens that several servers must not take twice; a server may write it."""
