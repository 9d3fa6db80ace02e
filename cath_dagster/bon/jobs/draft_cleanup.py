"""Purge invoice drafts that nobody has touched for a month."""

from datetime import timedelta

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.bon import LOCATION, OWNER
from cath_dagster.bon.tables import invoice_items, invoice_payments, invoices, shaam_audit_log
from cath_dagster.core.job_run import JobRun
from cath_dagster.core.outcome import Outcome
from cath_dagster.core.purge import Child, Planning, Purge
from cath_dagster.core.settings import Days, PurgeSettings
from cath_dagster.core.spec import JobSpec
from cath_dagster.core.tally import IDS_SHOWN


class DraftCleanupSettings(PurgeSettings):
    """How long a draft is kept after it was last touched."""

    retention_days: Days = Field(default=30, description="Days of 24 hours for which a draft is kept, by updated_at.")


def draft_cleanup(run: JobRun, settings: DraftCleanupSettings) -> None:
    """Purge the drafts not touched within the retention period, with their items and payments; report those held."""
    (planned,) = run.plan(*purges(run, settings))
    run.purge(planned)
    _report_held(run, settings)


def purges(planning: Planning, settings: DraftCleanupSettings) -> list[Purge]:
    """Return the purge of old drafts that nothing refers to."""
    return [
        Purge(
            table=invoices,
            rule=f"drafts not touched for {settings.retention_days} days",
            predicate=sa.and_(is_old(planning, settings), sa.not_(is_held())),
            cutoff=planning.as_of - timedelta(days=settings.retention_days),
            age=sa.case((invoices.c.status == "draft", invoices.c.updated_at)),
            # A new reference waits for the rows once they are locked, so nothing else needs to be.
            reads_other_rows=True,
            children=(
                Child(invoice_items, invoice_items.c.invoice_id),
                Child(invoice_payments, invoice_payments.c.invoice_id),
            ),
            counted_by=invoices.c.business_id,
            conditions={
                "it is a draft": invoices.c.status == "draft",
                f"it was not touched for {settings.retention_days} days": is_old(planning, settings),
                "no SHAAM audit entry and no other invoice refers to it": sa.not_(is_held()),
            },
        )
    ]


def is_old(planning: Planning, settings: DraftCleanupSettings) -> sa.ColumnElement[bool]:
    """Return whether an invoice is a draft past its retention period."""
    cutoff = planning.as_of - timedelta(days=settings.retention_days)
    return sa.and_(invoices.c.status == "draft", invoices.c.updated_at < cutoff)


def is_held() -> sa.ColumnElement[bool]:
    """Return whether a reference that allows no deletion holds an invoice; none should hold a draft."""
    other = invoices.alias("other")
    return sa.or_(
        sa.exists().where(shaam_audit_log.c.invoice_id == invoices.c.id),
        sa.exists().where(other.c.credited_invoice_id == invoices.c.id),
    )


def _report_held(run: JobRun, settings: DraftCleanupSettings) -> None:
    held = sa.and_(is_old(run, settings), is_held())
    count = run.read(sa.select(sa.func.count()).select_from(invoices).where(held))
    if not count:
        return
    query = sa.select(sa.cast(invoices.c.id, sa.Text)).where(held).order_by(invoices.c.id).limit(IDS_SHOWN)
    ids = run.database.transaction(lambda connection: list(connection.scalars(query)))
    run.record(Outcome(target="invoices", kept=count, details={"held_ids": ids}))
    run.note(
        f"{count} old drafts are kept, because a SHAAM audit entry or another invoice refers to them: {', '.join(ids)}"
    )


SPEC = JobSpec(
    location=LOCATION,
    name="draft_cleanup",
    cron="0 3 * * *",
    owner=OWNER,
    summary="Purges invoice drafts not touched for 30 days, with their items.",
    description=(
        "Deletes invoices of status draft whose updated_at is more than 30 days ago, with their items and payments, and "
        "counts them per business. A draft that a SHAAM audit entry or another invoice refers to is kept and reported. "
        "Deleted drafts cannot be brought back, unless undo_days is set."
    ),
    settings=DraftCleanupSettings,
    run=draft_cleanup,
    purges=purges,
    tables=("invoices", "invoice_items", "invoice_payments"),
    privileges={
        "invoices": ("SELECT", "UPDATE", "DELETE"),
        "invoice_items": ("SELECT", "DELETE"),
        "invoice_payments": ("SELECT", "DELETE"),
        "shaam_audit_log": ("SELECT",),
    },
    age_columns={"invoices": "updated_at"},
)
