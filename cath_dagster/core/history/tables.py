"""The tables of the schema `operations`, in the database in which the orchestrator keeps its own runs.

Made by the migrations of the code location `operations`; written by the runs of all locations, which therefore find them here.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

SCHEMA = "operations"
METADATA = sa.MetaData(schema=SCHEMA)
TRIGGERS = ("schedule", "sensor", "startup", "dependency", "manual", "api", "cli", "backfill")
"""What may have asked for a run."""
STATUSES = ("running", "success", "failed", "timeout", "refused", "skipped", "canceled")
"""What may have become of one. `skipped` is a tick that asked for none."""
RUNNING, SKIPPED = "running", "skipped"

_INSTANT = sa.DateTime(timezone=True)


def _total(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


scheduled_job = sa.Table(
    "scheduled_job",
    METADATA,
    sa.Column("location", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("owner", sa.Text, nullable=False, server_default=""),
    sa.Column("schedule", sa.Text),
    sa.Column("timezone", sa.Text),
    sa.Column("enabled", sa.Boolean),
    sa.Column("selector_id", sa.Text),
    sa.Column("last_run_at", _INSTANT),
    sa.Column("last_run_id", sa.Text),
    sa.Column("last_status", sa.Text),
    sa.Column("last_error", sa.Text),
    sa.Column("last_duration_ms", sa.BigInteger),
    _total("total_runs"),
    _total("total_failures"),
    _total("total_duration_ms"),
    sa.Column(
        "average_duration_ms",
        sa.BigInteger,
        sa.Computed("CASE WHEN total_runs > 0 THEN total_duration_ms / total_runs END", persisted=True),
    ),
    sa.Column("next_run_at", _INSTANT),
    sa.Column("registered", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("unregistered_at", _INSTANT),
    sa.Column("created_at", _INSTANT, nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", _INSTANT, nullable=False, server_default=sa.func.now()),
)
"""A row a job. What lasts of its runs is here, when their own rows are long gone.

`schedule` is a cron or `every minute`, null of a job that people start, and so is `enabled`, which is as old as the monitor's
last look; `selector_id` is the key by which the orchestrator has it (`operations.scheduler.reading`). `last_…` is the last run that
ended and was no dry run.
"""

scheduled_job_history = sa.Table(
    "scheduled_job_history",
    METADATA,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("location", sa.Text, nullable=False),
    sa.Column("job", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("trigger", sa.Text, nullable=False),
    sa.Column("actor", sa.Text),
    sa.Column("nonce", sa.Text),
    sa.Column("dry_run", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("started_at", _INSTANT, nullable=False),
    sa.Column("completed_at", _INSTANT),
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
        [scheduled_job.c.location, scheduled_job.c.name],
        onupdate="CASCADE",
        ondelete="CASCADE",
        name="history_of_job_fk",
    ),
    sa.CheckConstraint(f"trigger IN ({', '.join(map(repr, TRIGGERS))})", name="history_trigger"),
    sa.CheckConstraint(f"status IN ({', '.join(map(repr, STATUSES))})", name="history_status"),
    sa.UniqueConstraint("run_id", "location", "job", "attempt", name="history_of_run"),
)
"""A row an attempt of a run, or a row of equal ticks that were skipped, which have no run.

A skipped row says in `error` why, in `skipped_ticks` how many ticks in a row, and in `completed_at` when the last of them was.
`missed_ticks` are those before this row that nobody made: the daemon was away. `counted` says that the job's totals have the
run, in the row of its last attempt.
"""
