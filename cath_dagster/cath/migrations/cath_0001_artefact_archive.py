"""Create the archive of expired artefacts' metadata."""

import sqlalchemy as sa
from alembic import op

revision = "cath_0001"
down_revision = None
branch_labels = ("cath",)
depends_on = None

SCHEMA = "maintenance"
# The service's own instants are naive UTC; the archive keeps them as they were.
SERVICE_INSTANT = sa.DateTime(timezone=False)


def upgrade() -> None:
    op.create_table(
        "artefact_archive",
        sa.Column("artefact_id", sa.Uuid, primary_key=True),
        sa.Column("location_id", sa.Text, nullable=False),
        sa.Column("list_type_id", sa.Integer, nullable=False),
        sa.Column("content_date", sa.Date, nullable=False),
        sa.Column("sensitivity", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("display_from", SERVICE_INSTANT, nullable=False),
        sa.Column("display_to", SERVICE_INSTANT, nullable=False),
        sa.Column("last_received_date", SERVICE_INSTANT, nullable=False),
        sa.Column("is_flat_file", sa.Boolean, nullable=False),
        sa.Column("provenance", sa.Text, nullable=False),
        sa.Column("superseded_count", sa.Integer, nullable=False),
        sa.Column("no_match", sa.Boolean, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("archived_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
        sa.Column("archived_by", sa.Text, nullable=False),
        schema=SCHEMA,
    )
