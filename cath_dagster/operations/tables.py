"""Dagster's tables, only the columns used here, as dagster-postgres 0.29 makes them; and our own table of alerts.

Runs are known by `run_id`, which is unique in `runs` and what every other table refers to.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.postgres.session import SERVICE

METADATA = sa.MetaData(schema=SERVICE)

runs = sa.Table(
    "runs",
    METADATA,
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("pipeline_name", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("update_timestamp", sa.DateTime),
    sa.Column("end_time", sa.Float),
    sa.Column("backfill_id", sa.Text),
)

run_tags = sa.Table(
    "run_tags",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("run_id", sa.Text),
    sa.Column("key", sa.Text),
    sa.Column("value", sa.Text),
)

event_logs = sa.Table(
    "event_logs",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("run_id", sa.Text),
    sa.Column("dagster_event_type", sa.Text),
    sa.Column("timestamp", sa.DateTime),
    sa.Column("asset_key", sa.Text),
    sa.Column("partition", sa.Text),
)

asset_event_tags = sa.Table(
    "asset_event_tags",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("event_id", sa.BigInteger),
)

asset_keys = sa.Table(
    "asset_keys",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("last_run_id", sa.Text),
)

asset_check_executions = sa.Table(
    "asset_check_executions",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("asset_key", sa.Text),
    sa.Column("check_name", sa.Text),
    sa.Column("partition", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("evaluation_event_storage_id", sa.BigInteger),
    sa.Column("create_timestamp", sa.DateTime),
)

bulk_actions = sa.Table(
    "bulk_actions",
    METADATA,
    sa.Column("id", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("status", sa.Text),
    sa.Column("timestamp", sa.DateTime),
)
"""Backfills; `key` is what `runs.backfill_id` and `backfill_tags.backfill_id` refer to."""

backfill_tags = sa.Table(
    "backfill_tags",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("backfill_id", sa.Text),
)

job_ticks = sa.Table(
    "job_ticks",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("selector_id", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("timestamp", sa.DateTime),
)

instigators = sa.Table(
    "instigators",
    METADATA,
    sa.Column("id", sa.BigInteger, primary_key=True),
    sa.Column("selector_id", sa.Text, unique=True),
    sa.Column("status", sa.Text),
)
"""The states of schedules and sensors, one each."""

_INSTANT = sa.DateTime(timezone=True)

alert = sa.Table(
    "alert",
    METADATA,
    sa.Column("alert_id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("occurrence", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("says", ARRAY(sa.Text), nullable=False),
    sa.Column("path", sa.Text),
    sa.Column("is_over", sa.Boolean, nullable=False),
    sa.Column("raised_at", _INSTANT, nullable=False),
    sa.Column("message_id", sa.BigInteger),
    sa.Column("sealed_at", _INSTANT),
    sa.Column("delivered", JSONB, nullable=False, server_default="{}"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", _INSTANT),
    sa.Column("last_error", sa.Text),
    sa.Column("settled_at", _INSTANT),
    sa.UniqueConstraint("fingerprint", "occurrence", "is_over"),
    schema=SCHEMA,
)
"""What operators were told, or are to be told.

`occurrence` is what happened once, so that what is seen twice is told once. A message is sealed before its first
attempt: `message_id` names the newest alert that it tells of, on whose row its delivery is kept. `delivered` has the
channels that took it.
"""
