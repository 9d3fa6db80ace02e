"""Create the registry of jobs and the history of their runs, in a schema of their own."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "operations_0002"
down_revision = "operations_0001"
branch_labels = None
depends_on = None

SCHEMA = "operations"
INSTANT = sa.DateTime(timezone=True)
TRIGGERS = ("schedule", "sensor", "startup", "dependency", "manual", "api", "cli", "backfill")
STATUSES = ("running", "success", "failed", "timeout", "refused", "skipped", "canceled")


def upgrade() -> None:
    op.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
    _create_registry()
    _create_history()
    newest_first = [sa.text("started_at DESC"), sa.text("id DESC")]
    for name, columns in (("of_job", ["location", "job"]), ("by_status", ["status"]), ("by_time", [])):
        op.create_index(f"history_{name}", "scheduled_job_history", [*columns, *newest_first], schema=SCHEMA)
    op.create_index(
        "history_nonce",
        "scheduled_job_history",
        ["nonce"],
        schema=SCHEMA,
        postgresql_where=sa.text("nonce IS NOT NULL"),
    )


def _create_registry() -> None:
    op.create_table(
        "scheduled_job",
        sa.Column("location", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("description", sa.Text, nullable=False, server_default=""),
        sa.Column("owner", sa.Text, nullable=False, server_default=""),
        sa.Column("schedule", sa.Text),
        sa.Column("timezone", sa.Text),
        sa.Column("enabled", sa.Boolean),
        sa.Column("selector_id", sa.Text),
        sa.Column("last_run_at", INSTANT),
        sa.Column("last_run_id", sa.Text),
        sa.Column("last_status", sa.Text),
        sa.Column("last_error", sa.Text),
        sa.Column("last_duration_ms", sa.BigInteger),
        sa.Column("total_runs", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("total_failures", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("total_duration_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column(
            "average_duration_ms",
            sa.BigInteger,
            sa.Computed("CASE WHEN total_runs > 0 THEN total_duration_ms / total_runs END", persisted=True),
        ),
        sa.Column("next_run_at", INSTANT),
        sa.Column("registered", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("unregistered_at", INSTANT),
        sa.Column("created_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("updated_at", INSTANT, nullable=False, server_default=sa.func.now()),
        schema=SCHEMA,
    )


def _create_history() -> None:
    op.create_table(
        "scheduled_job_history",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("actor", sa.Text),
        sa.Column("nonce", sa.Text),
        sa.Column("dry_run", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("started_at", INSTANT, nullable=False),
        sa.Column("completed_at", INSTANT),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("duration_ms", sa.BigInteger),
        sa.Column("error", sa.Text),
        sa.Column("parameters", JSONB, nullable=False, server_default="{}"),
        sa.Column("outcomes", JSONB, nullable=False, server_default="[]"),
        sa.Column("missed_ticks", sa.Integer, nullable=False, server_default="0"),
        sa.Column("skipped_ticks", sa.Integer, nullable=False, server_default="0"),
        sa.Column("counted", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.ForeignKeyConstraint(
            ["location", "job"],
            [f"{SCHEMA}.scheduled_job.location", f"{SCHEMA}.scheduled_job.name"],
            onupdate="CASCADE",
            ondelete="CASCADE",
            name="history_of_job_fk",
        ),
        sa.CheckConstraint(f"trigger IN ({', '.join(map(repr, TRIGGERS))})", name="history_trigger"),
        sa.CheckConstraint(f"status IN ({', '.join(map(repr, STATUSES))})", name="history_status"),
        sa.UniqueConstraint("run_id", "location", "job", "attempt", name="history_of_run"),
        schema=SCHEMA,
    )
