"""Create the ledger, the deleted keys, the file outbox, the archive, the sent notices and the state of the views."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

revision = "core_0001"
down_revision = None
branch_labels = ("core",)
depends_on = None

SCHEMA = "maintenance"
COUNTS = (
    "matched", "deleted", "archived", "updated", "restored", "notified", "undelivered", "failed", "kept", "skipped",
)  # fmt: skip
INSTANT = sa.DateTime(timezone=True)


def _total(name: str) -> str:
    """Return what a run made of a table: said at its end, else the sum of its batches."""
    otherwise = (
        "max({0}) FILTER (WHERE kind = 'started')" if name == "matched" else "sum({0}) FILTER (WHERE kind = 'batch')"
    )
    return f"coalesce(max({name}) FILTER (WHERE kind = 'finished'), {otherwise.format(name)}, 0)::bigint AS {name}"


PURGE_LEDGER = f"""
CREATE VIEW {SCHEMA}.purge_ledger AS
SELECT
    run_id,
    location,
    job,
    step,
    table_name,
    bool_or(dry_run) AS dry_run,
    max(as_of) AS as_of,
    max(cutoff) FILTER (WHERE kind = 'started') AS cutoff,
    max(rule) FILTER (WHERE kind = 'started') AS rule,
    {", ".join(map(_total, COUNTS))},
    coalesce(max(batches) FILTER (WHERE kind = 'finished'), count(*) FILTER (WHERE kind = 'batch')) AS batches,
    max(longest_transaction_seconds) AS longest_transaction_seconds,
    min(at) AS started_at,
    max(at) FILTER (WHERE kind = 'finished') AS finished_at,
    max(at) AS last_event_at,
    max(seconds) AS seconds,
    coalesce(max(outcome) FILTER (WHERE kind = 'finished'), 'unfinished') AS outcome,
    max(error) AS error,
    jsonb_agg(details) FILTER (WHERE kind = 'finished' AND details IS NOT NULL) -> 0 AS details
FROM {SCHEMA}.ledger_event
GROUP BY run_id, location, job, step, table_name
"""  # noqa: S608 - our own names


def upgrade() -> None:
    op.create_table(
        "ledger_event",
        sa.Column("event_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", INSTANT, nullable=False, server_default=sa.func.clock_timestamp()),
        sa.Column("kind", sa.Text, sa.CheckConstraint("kind IN ('started', 'batch', 'finished')"), nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("step", sa.Text, nullable=False, server_default=""),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("as_of", INSTANT, nullable=False),
        sa.Column("cutoff", INSTANT),
        sa.Column("rule", sa.Text),
        sa.Column("keys_kept", sa.Boolean, nullable=False, server_default=sa.false()),
        *(sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in (*COUNTS, "batches")),
        sa.Column("longest_transaction_seconds", sa.Double, nullable=False, server_default="0"),
        sa.Column("seconds", sa.Double, nullable=False, server_default="0"),
        sa.Column("outcome", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("details", JSONB),
        schema=SCHEMA,
    )
    op.create_index("ledger_event_run_id", "ledger_event", ["run_id", "table_name"], schema=SCHEMA)
    op.create_index("ledger_event_job_at", "ledger_event", ["job", "at"], schema=SCHEMA)
    op.create_index("ledger_event_at", "ledger_event", ["at"], schema=SCHEMA)
    op.execute(PURGE_LEDGER)
    op.create_table(
        "deleted_key",
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("deleted_at", INSTANT, nullable=False, server_default=sa.func.now()),
        schema=SCHEMA,
    )
    # Not unique: a key that was deleted may be inserted again, and deleted again.
    op.create_index("deleted_key_key", "deleted_key", ["table_name", "key"], schema=SCHEMA)
    op.create_table(
        "file_outbox",
        sa.Column("file_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False, server_default=""),
        sa.Column("row_key", sa.Text, nullable=False, server_default=""),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("queued_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("due_at", INSTANT),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("last_error", sa.Text),
        sa.UniqueConstraint("path", "table_name", "row_key"),
        schema=SCHEMA,
    )
    op.create_index("file_outbox_job", "file_outbox", ["job", "file_id"], schema=SCHEMA)
    op.create_index("file_outbox_row", "file_outbox", ["table_name", "row_key"], schema=SCHEMA)
    _create_archive()
    op.create_table(
        "sent_notice",
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("subject_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("period_start", sa.Date, primary_key=True),
        sa.Column("as_of", INSTANT, nullable=False),
        sa.Column("sent_at", INSTANT),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reference", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        schema=SCHEMA,
    )
    op.create_table(
        "view_state",
        sa.Column("view_name", sa.Text, primary_key=True),
        sa.Column("definition", sa.Text, nullable=False),
        sa.Column("refreshed_at", INSTANT, nullable=False),
        sa.Column("verified_at", INSTANT, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("readers", ARRAY(sa.Text), nullable=False, server_default="{}"),
        schema=SCHEMA,
    )


def _create_archive() -> None:
    op.create_table(
        "archived_rows",
        sa.Column("archive_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("partition", sa.Text),
        sa.Column("schema_name", sa.Text, nullable=False),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("cutoff", INSTANT),
        sa.Column("reference", JSON),
        sa.Column("columns", JSON, nullable=False),
        sa.Column("row_count", sa.Integer, nullable=False),
        sa.Column("rows", JSON, nullable=False),
        sa.Column("checksum", sa.Text, nullable=False),
        sa.Column("archived_at", INSTANT, nullable=False, server_default=sa.func.now()),
        sa.Column("undo_days", sa.Integer, nullable=False),
        sa.Column("keep_until", INSTANT, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("archived_rows_run_id", "archived_rows", ["run_id", "table_name"], schema=SCHEMA)
    op.create_index("archived_rows_job", "archived_rows", ["job", "keep_until"], schema=SCHEMA)
    # Faster than pglz at the same size; a server may be built without it.
    op.execute(
        f"""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)) THEN
                ALTER TABLE {SCHEMA}.archived_rows ALTER COLUMN rows SET COMPRESSION lz4;
            END IF;
        END $$
        """
    )
    op.create_table(
        "restored_row",
        sa.Column("table_name", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("restored_by", sa.Text, nullable=False),
        sa.Column("restored_at", INSTANT, nullable=False),
        sa.Column("left_alone_until", INSTANT, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("restored_row_job", "restored_row", ["job", "left_alone_until"], schema=SCHEMA)
