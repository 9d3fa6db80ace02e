"""Purge audit rows that have outlived their retention period."""

from datetime import timedelta

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.cath import CATH, OWNER
from cath_dagster.cath.tables import audit_log, ingestion_log, notification_audit_log
from cath_dagster.core.instants import naive_utc
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import Days, PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

# Each table with the column by which its rows expire.
LOGS = (
    (notification_audit_log, notification_audit_log.c.created_at),
    (audit_log, audit_log.c.timestamp),
    (ingestion_log, ingestion_log.c.timestamp),
)


class ClearAuditSettings(PurgeSettings):
    """How long each log is kept; 90 days is what the service's product rule asks for."""

    notification_audit_log_retention_days: Days = Field(
        default=90, description="Days for which notification_audit_log rows are kept, by created_at."
    )
    notification_audit_log_enabled: bool = Field(default=True, description="Whether notification_audit_log is purged.")
    audit_log_retention_days: Days = Field(
        default=90, description="Days for which audit_log rows (administrators' actions) are kept, by timestamp."
    )
    audit_log_enabled: bool = Field(default=True, description="Whether audit_log is purged.")
    ingestion_log_retention_days: Days = Field(
        default=90, description="Days for which ingestion_log rows are kept, by timestamp."
    )
    ingestion_log_enabled: bool = Field(default=True, description="Whether ingestion_log is purged.")


def clear_audit(run: JobRun, settings: ClearAuditSettings) -> None:
    """Purge the rows of each enabled log that are strictly older than its retention period."""
    for planned in run.plan(*purges(run, settings)):
        run.purge(planned)


def purges(planning: Planning, settings: ClearAuditSettings) -> list[Purge]:
    """Return the purge of each enabled log."""
    return [
        expired_rows(planning, table, column, getattr(settings, f"{table.name}_retention_days"))
        for table, column in LOGS
        if getattr(settings, f"{table.name}_enabled")
    ]


def expired_rows(planning: Planning, table: sa.Table, column: sa.ColumnElement[object], retention_days: int) -> Purge:
    """Return the purge of the rows older than so many days at the reference time."""
    cutoff = planning.as_of - timedelta(days=retention_days)
    return Purge(
        table=table,
        rule=f"{table.name} rows older than {retention_days} days",
        predicate=column < naive_utc(cutoff),
        cutoff=cutoff,
        age=column,
    )


SPEC = JobSpec(
    location=CATH,
    name="clear_audit",
    schedule=Cron("0 1 * * *"),
    owner=OWNER,
    summary="Purges log rows older than 90 days from notification_audit_log, audit_log and ingestion_log.",
    description=(
        "Deletes rows of notification_audit_log, audit_log and ingestion_log that are older than the retention "
        "period of each (90 days by default). Deleted rows cannot be brought back, unless undo_days is set."
    ),
    settings=ClearAuditSettings,
    run=clear_audit,
    database=DatabaseWork(
        targets=("notification_audit_log", "audit_log", "ingestion_log"),
        purges=purges,
        privileges={table.name: ("SELECT", "DELETE") for table, _ in LOGS},
        age_columns={"notification_audit_log": "created_at", "audit_log": "timestamp", "ingestion_log": "timestamp"},
    ),
)
