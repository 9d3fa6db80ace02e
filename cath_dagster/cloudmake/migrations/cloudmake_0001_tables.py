"""Create the tables of CloudMake's jobs: breakers and outages, what is left at providers, secrets and keys, measurements."""

from pathlib import Path

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "cloudmake_0001"
down_revision = None
branch_labels = ("cloudmake",)
depends_on = None

SCHEMA = "maintenance"
INSTANT = sa.DateTime(timezone=True)
BREAKER = Path(__file__).with_name("cloudmake_0001_breaker.sql")


def upgrade() -> None:
    _create_outages()
    op.get_bind().exec_driver_sql(BREAKER.read_text(encoding="utf-8"))
    _create_cleanup()
    _create_secrets()
    _create_measurements()


def _create_outages() -> None:
    op.create_table(
        "circuit_breaker",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False, server_default="CLOSED"),
        # What every caller goes by, whatever its language.
        sa.Column("failure_limit", sa.Integer, nullable=False, server_default="10"),
        sa.Column("window_seconds", sa.Integer, nullable=False, server_default="60"),
        sa.Column("half_open_seconds", sa.Integer, nullable=False, server_default="30"),
        sa.Column("success_limit", sa.Integer, nullable=False, server_default="3"),
        sa.Column("failures", sa.ARRAY(INSTANT), nullable=False, server_default="{}"),
        sa.Column("successes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("opened_at", INSTANT),
        sa.Column("last_failure_at", INSTANT),
        sa.Column("last_success_at", INSTANT),
        sa.Column("probe_until", INSTANT),
        sa.Column("detail", sa.Text),
        sa.Column("misconfigured_since", INSTANT),
        sa.Column("probed_at", INSTANT),
        sa.Column("recorded_by", sa.Text),
        sa.CheckConstraint("state IN ('CLOSED', 'OPEN', 'HALF_OPEN')"),
        sa.CheckConstraint("(opened_at IS NULL) = (state = 'CLOSED')"),
        schema=SCHEMA,
    )
    op.create_table(
        "mcp_outage",
        sa.Column("outage_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("server_name", sa.Text, nullable=False),
        sa.Column("opened_at", INSTANT, nullable=False),
        sa.Column("degraded_at", INSTANT, nullable=False),
        sa.Column("closed_at", INSTANT),
        sa.Column("guidance", sa.Text, nullable=False),
        sa.Column("opened_by", sa.Text, nullable=False),
        sa.Column("closed_by", sa.Text),
        schema=SCHEMA,
    )
    op.create_index(
        "mcp_outage_open",
        "mcp_outage",
        ["server_name"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("closed_at IS NULL"),
    )


def _create_cleanup() -> None:
    op.create_table(
        "provider_cleanup",
        sa.Column("cleanup_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("environment_id", sa.Uuid, nullable=False),
        sa.Column("project_id", sa.Uuid, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("queued_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text),
        sa.Column("settled_at", INSTANT),
        sa.Column("settled_as", sa.Text),
        sa.CheckConstraint("provider IN ('cloudflare', 'neon', 'github', 'postman')"),
        schema=SCHEMA,
    )
    op.create_index(
        "provider_cleanup_unsettled",
        "provider_cleanup",
        # One that was settled may come again, if its environment was in use again meanwhile.
        ["provider", "resource_id", "environment_id"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("settled_at IS NULL"),
    )


def _create_secrets() -> None:
    op.create_table(
        "stored_secret",
        sa.Column("project_id", sa.Uuid, primary_key=True),
        sa.Column("environment", sa.Text, primary_key=True, server_default=""),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=sa.func.now()),
        schema=SCHEMA,
    )
    op.create_table(
        "wrapped_key",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=sa.func.now()),
        schema=SCHEMA,
    )
    op.create_table(
        "secret_target",
        sa.Column("project_id", sa.Uuid, primary_key=True),
        sa.Column("secret_name", sa.Text, primary_key=True),
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("name_at_target", sa.Text, nullable=False),
        # Of our last write that is known to have come: of what, and what GitHub said of it then.
        sa.Column("value_hash", sa.Text),
        sa.Column("remote_updated_at", INSTANT),
        sa.Column("written_at", INSTANT),
        # Of a write of which nobody knows yet whether it came: when it was sent, and what GitHub had said before.
        sa.Column("pending_since", INSTANT),
        sa.Column("pending_after", INSTANT),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("status_since", INSTANT, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.CheckConstraint("status IN ('pending', 'written', 'conflict', 'failed', 'missing')"),
        schema=SCHEMA,
    )
    op.create_table(
        "jwks",
        sa.Column("only_one", sa.Boolean, primary_key=True, server_default=sa.true()),
        sa.Column("document", JSONB, nullable=False),
        sa.Column("written_at", INSTANT, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.CheckConstraint("only_one"),
        schema=SCHEMA,
    )
    op.create_table(
        "master_key_rotation",
        sa.Column("rotation_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("to_key", sa.Text, nullable=False),
        sa.Column("from_key", sa.Text, nullable=False),
        sa.Column("began_at", INSTANT, nullable=False),
        sa.Column("verified_at", INSTANT),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("counts", JSONB, nullable=False, server_default="{}"),
        sa.UniqueConstraint("from_key", "to_key", "began_at"),
        schema=SCHEMA,
    )


def _create_measurements() -> None:
    op.create_table(
        "benchmark",
        sa.Column("benchmark_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("measured_at", INSTANT, nullable=False),
        sa.Column("query", sa.Text, nullable=False),
        sa.Column("measured_as", sa.Text, nullable=False),
        sa.Column("iterations", sa.Integer, nullable=False),
        sa.Column("p50_ms", sa.Double, nullable=False),
        sa.Column("p95_ms", sa.Double, nullable=False),
        sa.Column("target_ms", sa.Double, nullable=False),
        sa.Column("revision", sa.Text),
        sa.Column("details", JSONB, nullable=False, server_default="{}"),
        sa.CheckConstraint("measured_as IN ('administrator', 'owner')"),
        schema=SCHEMA,
    )
    op.create_index("benchmark_query", "benchmark", ["query", "measured_at"], schema=SCHEMA)
