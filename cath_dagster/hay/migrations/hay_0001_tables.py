"""Create the tables of Hay's jobs: archived audit rows, daily analytics, and tokens that several servers share."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "hay_0001"
down_revision = None
branch_labels = ("hay",)
depends_on = None

SCHEMA = "maintenance"
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "hay_audit_log_archive",
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
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("archived_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("archived_by", sa.Text, nullable=False),
        schema=SCHEMA,
    )
    # By it the archive itself comes to its end.
    op.create_index("hay_audit_log_archive_archived_at", "hay_audit_log_archive", ["archived_at"], schema=SCHEMA)
    op.create_table(
        "hay_daily_analytics",
        sa.Column("organization_id", sa.Uuid, primary_key=True),
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("conversations", sa.Integer, nullable=False),
        sa.Column("resolved", sa.Integer, nullable=False),
        # Of a day without a conversation there is none.
        sa.Column("resolution_rate", sa.Double),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("messages_by_type", JSONB, nullable=False),
        sa.Column("sentiment", JSONB, nullable=False),
        sa.Column("computed_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("run_id", sa.Text, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("hay_daily_analytics_day", "hay_daily_analytics", ["day"], schema=SCHEMA)
    op.create_table(
        "dpop_token",
        sa.Column("jti", sa.Text, primary_key=True),
        sa.Column("expires_at", INSTANT, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("dpop_token_expires_at", "dpop_token", ["expires_at"], schema=SCHEMA)
