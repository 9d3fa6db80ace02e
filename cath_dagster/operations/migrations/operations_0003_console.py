"""Create what the console keeps: tokens, sessions, requests, approvals, holds, and an audit log that only grows.

The server itself numbers the log's rows, says when they came and links each to the one before it: a role that may only
INSERT can neither choose these nor leave one out. `cath-dagster audit verify` computes the same in a language of its own.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "operations_0003"
down_revision = "operations_0002"
branch_labels = None
depends_on = None

SCHEMA = "operations"
INSTANT = sa.DateTime(timezone=True)

LINK = """
CREATE FUNCTION operations.link_audit_log() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    newest record;
BEGIN
    -- One writer at a time: the next one reads what this one committed.
    PERFORM pg_advisory_xact_lock(hashtextextended('operations/audit_log', 0));
    SELECT sequence, hash INTO newest FROM operations.audit_log ORDER BY sequence DESC LIMIT 1;
    NEW.sequence := coalesce(newest.sequence, 0) + 1;
    NEW.previous_hash := coalesce(newest.hash, '');
    NEW.at := clock_timestamp();
    NEW.hash := encode(sha256(convert_to(operations.audit_text(NEW), 'UTF8')), 'hex');
    RETURN NEW;
END
$$
"""
# Each part with its length before it, so that no two rows have one text; NULL is told from the empty word.
TEXT = """
CREATE FUNCTION operations.audit_text(entry operations.audit_log) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog AS $$
    SELECT string_agg(coalesce(length(part) || ':' || part, '-'), ',' ORDER BY place)
    FROM unnest(ARRAY[
        entry.sequence::text, (extract(epoch FROM entry.at) * 1000000)::bigint::text, entry.actor, entry.origin, entry.action,
        entry.location, entry.job, entry.run_id, entry.nonce, entry.reason, entry.parameters::text, entry.result,
        entry.previous_hash
    ]) WITH ORDINALITY AS parts (part, place)
$$
"""
REFUSE = """
CREATE FUNCTION operations.refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'operations.audit_log can only be added to' USING ERRCODE = 'insufficient_privilege';
END
$$
"""


def upgrade() -> None:
    _create_audit_log()
    _create_people()
    _create_control()


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("location", sa.Text),
        sa.Column("job", sa.Text),
        sa.Column("run_id", sa.Text),
        sa.Column("nonce", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("parameters", JSONB, nullable=False, server_default="{}"),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        schema=SCHEMA,
    )
    op.create_index("audit_log_nonce", "audit_log", ["nonce"], schema=SCHEMA)
    for statement in (TEXT, LINK, REFUSE):
        op.execute(statement)
    op.execute(
        "CREATE TRIGGER link BEFORE INSERT ON operations.audit_log FOR EACH ROW EXECUTE FUNCTION operations.link_audit_log()"
    )
    op.execute(
        "CREATE TRIGGER only_grows BEFORE UPDATE OR DELETE OR TRUNCATE ON operations.audit_log "
        "FOR EACH STATEMENT EXECUTE FUNCTION operations.refuse_audit_change()"
    )


def _create_people() -> None:
    op.create_table(
        "console_token",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("secret_hash", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("locations", ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", INSTANT),
        sa.Column("last_used_at", INSTANT),
        sa.Column("revoked_at", INSTANT),
        sa.Column("revoked_by", sa.Text),
        schema=SCHEMA,
    )
    op.create_table(
        "console_session",
        sa.Column("session_hash", sa.Text, primary_key=True),
        sa.Column("code_hash", sa.Text, nullable=False, unique=True),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        schema=SCHEMA,
    )
    op.create_table(
        "console_request",
        sa.Column("actor", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text),
        sa.Column("at", INSTANT, nullable=False),
        schema=SCHEMA,
    )


def _create_control() -> None:
    op.create_table(
        "approval",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("location", sa.Text, nullable=False),
        sa.Column("job", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("requested_at", INSTANT, nullable=False),
        sa.Column("expires_at", INSTANT, nullable=False),
        sa.Column("as_of", INSTANT, nullable=False),
        sa.Column("parameters", JSONB, nullable=False),
        sa.Column("counts", JSONB, nullable=False),
        sa.Column("decided_by", sa.Text),
        sa.Column("decided_at", INSTANT),
        sa.Column("decision_reason", sa.Text),
        sa.Column("approved_run_id", sa.Text),
        sa.CheckConstraint(
            "status IN ('pending', 'approved', 'rejected', 'expired', 'refused')", name="approval_status"
        ),
        sa.CheckConstraint("decided_by IS DISTINCT FROM requested_by OR status = 'expired'", name="approval_four_eyes"),
        schema=SCHEMA,
    )
    op.create_index(
        "approval_pending",
        "approval",
        ["run_id"],
        unique=True,
        schema=SCHEMA,
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_table(
        "job_hold",
        sa.Column("location", sa.Text, primary_key=True),
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("held_by", sa.Text, nullable=False),
        sa.Column("held_at", INSTANT, nullable=False),
        sa.Column("until", INSTANT, nullable=False),
        schema=SCHEMA,
    )
