"""The console's own tables, in the schema `operations` of Dagster's database."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

SCHEMA = "operations"
METADATA = sa.MetaData(schema=SCHEMA)
_INSTANT = sa.DateTime(timezone=True)

audit_log = sa.Table(
    "audit_log",
    METADATA,
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("at", _INSTANT, nullable=False),
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
)
"""Who did what. Whoever adds a row says neither its number, its instant nor its hashes: a trigger does."""

console_token = sa.Table(
    "console_token",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("secret_hash", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("locations", ARRAY(sa.Text), nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", _INSTANT),
    sa.Column("last_used_at", _INSTANT),
    sa.Column("revoked_at", _INSTANT),
    sa.Column("revoked_by", sa.Text),
)
"""Bearer tokens, without what they are known by: only a hash of it is here. `locations` may be `*` alone."""

console_session = sa.Table(
    "console_session",
    METADATA,
    sa.Column("session_hash", sa.Text, primary_key=True),
    sa.Column("code_hash", sa.Text, nullable=False, unique=True),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("created_at", _INSTANT, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
)
"""Sessions of a developer's machine; that a code is here is what makes it good for once."""

approval = sa.Table(
    "approval",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("requested_at", _INSTANT, nullable=False),
    sa.Column("expires_at", _INSTANT, nullable=False),
    sa.Column("as_of", _INSTANT, nullable=False),
    sa.Column("parameters", JSONB, nullable=False),
    sa.Column("counts", JSONB, nullable=False),
    sa.Column("decided_by", sa.Text),
    sa.Column("decided_at", _INSTANT),
    sa.Column("decision_reason", sa.Text),
    sa.Column("approved_run_id", sa.Text),
)
"""Requests for runs that one person alone may not start."""

job_hold = sa.Table(
    "job_hold",
    METADATA,
    sa.Column("location", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("held_by", sa.Text, nullable=False),
    sa.Column("held_at", _INSTANT, nullable=False),
    sa.Column("until", _INSTANT, nullable=False),
)
"""Jobs that must not run for now; one whose `until` is past is held no more."""

console_request = sa.Table(
    "console_request",
    METADATA,
    sa.Column("actor", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("at", _INSTANT, nullable=False),
)
"""Requests that are not to be done twice, by the key that the client gave them; `run_id` once the run is launched."""
