"""Create the list of files that no run can delete."""

import sqlalchemy as sa
from alembic import op

revision = "core_0002"
down_revision = "core_0001"
branch_labels = None
depends_on = None

SCHEMA = "maintenance"
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "file_by_hand",
        sa.Column("file_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("row_key", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("left_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("settled_at", INSTANT),
        sa.Column("settled_by", sa.Text),
        schema=SCHEMA,
    )
