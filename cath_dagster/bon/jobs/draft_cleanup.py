"""Purge invoice drafts that nobody has touched for a month."""

from datetime import timedelta

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.bon import BON, OWNER
from cath_dagster.bon.tables import invoice_items, invoice_payments, invoices
from cath_dagster.core.model.purge import Child, Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import Days, PurgeSettings
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec


class DraftCleanupSettings(PurgeSettings):
    """How long a draft is kept after it was last touched."""

    retention_days: Days = Field(default=30, description="Days of 24 hours for which a draft is kept, by updated_at.")


def draft_cleanup(run: JobRun, settings: DraftCleanupSettings) -> None:
    """Purge the drafts not touched within the retention period, with their items and payments."""
    (planned,) = run.plan(*purges(run, settings))
    run.purge(planned)


def purges(planning: Planning, settings: DraftCleanupSettings) -> list[Purge]:
    """Return the purge of old drafts; those to which a SHAAM audit entry or another invoice refers are held by its key."""
    cutoff = planning.as_of - timedelta(days=settings.retention_days)
    is_untouched = invoices.c.updated_at < cutoff
    return [
        Purge(
            table=invoices,
            rule=f"drafts not touched for {settings.retention_days} days",
            predicate=sa.and_(invoices.c.status == "draft", is_untouched),
            cutoff=cutoff,
            age=sa.case((invoices.c.status == "draft", invoices.c.updated_at)),
            children=(
                Child(invoice_items, invoice_items.c.invoice_id),
                Child(invoice_payments, invoice_payments.c.invoice_id),
            ),
            counted_by=invoices.c.business_id,
            conditions={
                "it is a draft": invoices.c.status == "draft",
                f"it was not touched for {settings.retention_days} days": is_untouched,
            },
        )
    ]


SPEC = JobSpec(
    location=BON,
    name="draft_cleanup",
    schedule=Cron("0 3 * * *"),
    owner=OWNER,
    summary="Purges invoice drafts not touched for 30 days, with their items.",
    description=(
        "Deletes invoices of status draft whose updated_at is more than 30 days ago, with their items and payments, and "
        "counts them per business. A draft that a SHAAM audit entry or another invoice refers to is kept and reported. "
        "Deleted drafts cannot be brought back, unless undo_days is set."
    ),
    settings=DraftCleanupSettings,
    run=draft_cleanup,
    database=DatabaseWork(
        targets=("invoices", "invoice_items", "invoice_payments"),
        purges=purges,
        privileges={
            "invoices": ("SELECT", "UPDATE", "DELETE"),
            "invoice_items": ("SELECT", "DELETE"),
            "invoice_payments": ("SELECT", "DELETE"),
            "shaam_audit_log": ("SELECT",),
        },
        age_columns={"invoices": "updated_at"},
    ),
)
