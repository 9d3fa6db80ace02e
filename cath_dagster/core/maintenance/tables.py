"""The tables of the schema `maintenance`, the one schema of ours in a maintained database."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB

from cath_dagster.core.errors import SchemaNotCurrentError

SCHEMA = "maintenance"
REVISION = "core_0002"
"""The newest revision of the tables below; a test holds it against the migrations."""

METADATA = sa.MetaData(schema=SCHEMA)

_INSTANT = sa.DateTime(timezone=True)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


ledger_event = sa.Table(
    "ledger_event",
    METADATA,
    sa.Column("event_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", _INSTANT, nullable=False, server_default=sa.func.clock_timestamp()),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("step", sa.Text, nullable=False, server_default=""),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("dry_run", sa.Boolean, nullable=False),
    sa.Column("as_of", _INSTANT, nullable=False),
    sa.Column("cutoff", _INSTANT),
    sa.Column("rule", sa.Text),
    sa.Column("keys_kept", sa.Boolean, nullable=False, server_default=sa.false()),
    _count("matched"),
    _count("deleted"),
    _count("archived"),
    _count("updated"),
    _count("restored"),
    _count("notified"),
    _count("undelivered"),
    _count("failed"),
    _count("kept"),
    _count("skipped"),
    _count("batches"),
    sa.Column("longest_transaction_seconds", sa.Double, nullable=False, server_default="0"),
    sa.Column("seconds", sa.Double, nullable=False, server_default="0"),
    sa.Column("outcome", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("details", JSONB),
)

deleted_key = sa.Table(
    "deleted_key",
    METADATA,
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("deleted_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)

file_outbox = sa.Table(
    "file_outbox",
    METADATA,
    sa.Column("file_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("table_name", sa.Text, nullable=False, server_default=""),
    sa.Column("row_key", sa.Text, nullable=False, server_default=""),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("queued_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("due_at", _INSTANT),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_error", sa.Text),
    # Two rows may have one file.
    sa.UniqueConstraint("path", "table_name", "row_key"),
)

file_by_hand = sa.Table(
    "file_by_hand",
    METADATA,
    sa.Column("file_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("row_key", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("left_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("settled_at", _INSTANT),
    sa.Column("settled_by", sa.Text),
)
"""Files that no run can delete; once settled, without their path."""

archived_rows = sa.Table(
    "archived_rows",
    METADATA,
    sa.Column("archive_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("partition", sa.Text),
    sa.Column("schema_name", sa.Text, nullable=False),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("cutoff", _INSTANT),
    # json keeps its text as it was written, and so the checksum.
    sa.Column("reference", JSON(none_as_null=True)),
    sa.Column("columns", JSON, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("rows", JSON, nullable=False),
    sa.Column("checksum", sa.Text, nullable=False),
    sa.Column("archived_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("undo_days", sa.Integer, nullable=False),
    sa.Column("keep_until", _INSTANT, nullable=False),
)
"""Rows that a run deleted, a part of a batch each; with `reference`, what the deletion set to null in other rows."""

restored_row = sa.Table(
    "restored_row",
    METADATA,
    sa.Column("table_name", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("restored_by", sa.Text, nullable=False),
    sa.Column("restored_at", _INSTANT, nullable=False),
    sa.Column("left_alone_until", _INSTANT, nullable=False),
)
"""Rows that were put back: `run_id` had deleted them, `restored_by` is the restore."""

sent_notice = sa.Table(
    "sent_notice",
    METADATA,
    sa.Column("job", sa.Text, primary_key=True),
    sa.Column("subject_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("period_start", sa.Date, primary_key=True),
    sa.Column("as_of", _INSTANT, nullable=False),
    sa.Column("sent_at", _INSTANT),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reference", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
)

view_state = sa.Table(
    "view_state",
    METADATA,
    sa.Column("view_name", sa.Text, primary_key=True),
    sa.Column("definition", sa.Text, nullable=False),
    sa.Column("refreshed_at", _INSTANT, nullable=False),
    sa.Column("verified_at", _INSTANT, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("readers", ARRAY(sa.Text), nullable=False, server_default="{}"),
)


def check_current(connection: sa.Connection, *, location: str, revision: str | None) -> None:
    """Raise `SchemaNotCurrentError` unless the schema is at the revisions this version needs."""
    remedy = f"run: cath-dagster migrate {location}"
    found = connection.scalar(sa.select(sa.func.to_regclass(f"{SCHEMA}.alembic_version")))
    if found is None:
        raise SchemaNotCurrentError(f"the database has no schema {SCHEMA!r} of ours; {remedy}")
    version = sa.table("alembic_version", sa.column("version_num"), schema=SCHEMA)
    at = set(connection.scalars(sa.select(version.c.version_num)))
    needed = {REVISION, revision} if revision else {REVISION}
    if at != needed:
        raise SchemaNotCurrentError(
            f"the schema {SCHEMA!r} is at {', '.join(sorted(at)) or 'no revision'}, "
            f"this version needs {', '.join(sorted(needed))}; {remedy}"
        )


OURS = (
    {
        "ledger_event": ("SELECT", "INSERT"),
        "deleted_key": ("SELECT", "INSERT"),
        "archived_rows": ("SELECT", "INSERT", "DELETE"),
    }
    | dict.fromkeys(("file_outbox", "restored_row", "sent_notice"), ("SELECT", "INSERT", "UPDATE", "DELETE"))
    | dict.fromkeys(("view_state", "file_by_hand"), ("SELECT", "INSERT", "UPDATE"))
)
