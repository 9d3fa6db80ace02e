"""Create the table of alerts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "operations_0001"
down_revision = None
branch_labels = ("operations",)
depends_on = None

SCHEMA = "maintenance"
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "alert",
        sa.Column("alert_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("occurrence", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("says", ARRAY(sa.Text), nullable=False),
        sa.Column("path", sa.Text),
        sa.Column("is_over", sa.Boolean, nullable=False),
        sa.Column("raised_at", INSTANT, nullable=False),
        sa.Column("message_id", sa.BigInteger),
        sa.Column("sealed_at", INSTANT),
        sa.Column("delivered", JSONB, nullable=False, server_default="{}"),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_attempt_at", INSTANT),
        sa.Column("last_error", sa.Text),
        sa.Column("settled_at", INSTANT),
        sa.UniqueConstraint("fingerprint", "occurrence", "is_over"),
        schema=SCHEMA,
    )
    op.create_index(
        "alert_unsettled", "alert", ["alert_id"], schema=SCHEMA, postgresql_where=sa.text("settled_at IS NULL")
    )
    op.create_index("alert_kind", "alert", ["kind", "fingerprint", "alert_id"], schema=SCHEMA)
