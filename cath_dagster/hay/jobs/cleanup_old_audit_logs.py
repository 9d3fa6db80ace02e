"""Move audit rows past their retention into the archive, and the archive's own to their end."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from pydantic import Field, field_validator

from cath_dagster.core.model.purge import CopyTo, Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER
from cath_dagster.hay.addresses import json_without_addresses, without_addresses
from cath_dagster.hay.tables import audit_log_archive, audit_logs, users
from cath_dagster.hay.tenant_days import read_tenant_days
from cath_dagster.hay.zone import check_zone

FLOOR: Final = 30
"""Days that no setting goes below: an incident is found out later than a week after it began."""
LONGEST: Final = 36_500
PRIVACY_ACTIONS = ("privacy.%", "customer.privacy.%")
"""Evidence that a request of somebody's was answered."""


class CleanupOldAuditLogsSettings(PurgeSettings):
    """For how long audit rows are kept where they are, and in the archive."""

    retention_days: int = Field(
        default=90, ge=FLOOR, le=LONGEST, description="Days of 24 hours for which audit rows are kept, by created_at."
    )
    privacy_retention_days: int = Field(
        default=1_095,
        ge=FLOOR,
        le=LONGEST,
        description="Days for which rows of privacy.* and customer.privacy.* are kept, in place of the others' days: they "
        "are the evidence that requests were answered.",
    )
    tenant_days: str = Field(
        default="",
        description="Days for single tenants, in place of retention_days, as a JSON object by the tenant's id. Rows of no "
        "tenant, such as those of sign-ins, go by retention_days.",
    )
    archive_retention_days: int = Field(
        default=1_095,
        ge=FLOOR,
        le=LONGEST,
        description="Days for which rows are kept in the archive, from when they came.",
    )

    @field_validator("tenant_days")
    @classmethod
    def _check_tenant_days(cls, value: str) -> str:
        read_tenant_days(value, least=FLOOR, most=LONGEST)
        return value

    @property
    def days_by_tenant(self) -> Mapping[UUID, int]:
        return read_tenant_days(self.tenant_days, least=FLOOR, most=LONGEST)


def cleanup_old_audit_logs(run: JobRun, settings: CleanupOldAuditLogsSettings) -> None:
    """Archive and purge what is past its retention; then purge what the archive has had for long enough."""
    for planned in run.plan(*purges(run, settings)):
        run.purge(planned)


def purges(planning: Planning, settings: CleanupOldAuditLogsSettings) -> list[Purge]:
    """Return the purge of the old rows, each copied as it goes, and that of the old copies."""
    return [_old_rows(planning, settings), _old_copies(planning, settings)]


def _old_rows(planning: Planning, settings: CleanupOldAuditLogsSettings) -> Purge:
    by_tenant = settings.days_by_tenant
    every = (settings.retention_days, settings.privacy_retention_days, *by_tenant.values())
    newest = planning.as_of - timedelta(days=min(every))
    is_evidence = sa.or_(*(audit_logs.c.action.like(pattern) for pattern in PRIVACY_ACTIONS))

    def before(days: int) -> sa.ColumnElement[Any]:
        return sa.literal(planning.as_of - timedelta(days=days), audit_logs.c.created_at.type)

    cutoff = sa.case(
        (is_evidence, before(settings.privacy_retention_days)),
        *((audit_logs.c.organization_id == tenant, before(days)) for tenant, days in by_tenant.items()),
        else_=before(settings.retention_days),
    )
    is_old = audit_logs.c.created_at < cutoff
    rule = f"audit rows older than {settings.retention_days} days, of privacy than {settings.privacy_retention_days}"
    return Purge(
        table=audit_logs,
        rule=rule,
        # By the one an index finds them.
        predicate=sa.and_(audit_logs.c.created_at < newest, is_old),
        cutoff=newest,
        age=audit_logs.c.created_at,
        copies=CopyTo(audit_log_archive, _copied(planning), run="archived_by"),
        conditions={
            f"it is older than it is kept: {settings.retention_days} days, or its tenant's own; of privacy "
            f"{settings.privacy_retention_days}": is_old
        },
    )


def _copied(planning: Planning) -> dict[str, sa.ColumnElement[Any]]:
    """Return what the archive takes of a row: of one about nobody who is there still, no address.

    The service takes the user out of rows when it erases one, and writes their address into rows that come later.
    """
    own = audit_logs.c
    is_there = sa.exists().where(users.c.id == own.user_id, users.c.deleted_at.is_(None)).correlate(audit_logs)

    def scrubbed(column: sa.Column[Any], value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.case((is_there, column), else_=value)

    return {
        "audit_log_id": own.id,
        **{name: own[name] for name in ("user_id", "organization_id", "action", "status", "created_at")},
        "resource": scrubbed(own.resource, without_addresses(own.resource)),
        "changes": scrubbed(own.changes, json_without_addresses(own.changes)),
        "metadata": scrubbed(own.metadata, json_without_addresses(own.metadata)),
        "ip_address": scrubbed(own.ip_address, sa.null()),
        "user_agent": scrubbed(own.user_agent, sa.null()),
        "error_message": scrubbed(own.error_message, without_addresses(own.error_message)),
        "archived_at": sa.func.now(),
        "archived_by": sa.literal(planning.run_id),
    }


def _old_copies(planning: Planning, settings: CleanupOldAuditLogsSettings) -> Purge:
    cutoff = planning.as_of - timedelta(days=settings.archive_retention_days)
    return Purge(
        table=audit_log_archive,
        rule=f"audit rows archived more than {settings.archive_retention_days} days ago",
        predicate=audit_log_archive.c.archived_at < cutoff,
        cutoff=cutoff,
        age=audit_log_archive.c.archived_at,
    )


SPEC = JobSpec(
    location=HAY,
    name="cleanup_old_audit_logs",
    schedule=Cron("0 4 * * 0"),
    timeout=timedelta(minutes=30),
    owner=OWNER,
    summary="Moves audit rows older than 90 days, those about privacy older than three years, into the archive.",
    description=(
        "Copies rows of audit_logs past their retention into maintenance.hay_audit_log_archive and deletes them, in one "
        "transaction: after 90 days, after a tenant's own days by tenant_days, after three years where the action is about "
        "privacy. What is archived of somebody who was erased has no address. The archive keeps a row for three years. Look "
        "there for rows that are gone; with undo_days they can be put back as well."
    ),
    settings=CleanupOldAuditLogsSettings,
    run=cleanup_old_audit_logs,
    prepare=check_zone,
    database=DatabaseWork(
        targets=("audit_logs", "hay_audit_log_archive"),
        purges=purges,
        privileges={
            "audit_logs": ("SELECT", "UPDATE", "DELETE"),
            "users": ("SELECT",),
            "maintenance.hay_audit_log_archive": ("SELECT", "INSERT", "DELETE"),
        },
        age_columns={"audit_logs": "created_at"},
    ),
)
