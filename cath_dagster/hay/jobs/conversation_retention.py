"""Anonymise conversations that ended longer ago than their tenant keeps them, and delete their messages."""

from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from cath_dagster.core.ledger.ledger import Plan
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron, Retry
from cath_dagster.core.postgres import vacuum
from cath_dagster.core.postgres.catalogue import create_index
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.core.purge.batch_runner import Progress
from cath_dagster.core.references.holds import count_held
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.planning import PlannedPurge
from cath_dagster.core.run.purge_outcome import record_purge
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER
from cath_dagster.hay.anonymising import open_anonymiser, take_all
from cath_dagster.hay.parts import note_parts
from cath_dagster.hay.retention import (
    JOB,
    RULE,
    ConversationRetentionSettings,
    is_due,
    is_held,
    is_past_retention,
    is_unreadable,
    purges,
)
from cath_dagster.hay.tables import conversations, messages, organizations
from cath_dagster.hay.zone import check_zone

OWNS = "RETENTION_OWNS"
"""The variable, without the prefix, that says that the server's own job is idle."""
VARIABLE = f"{HAY.prefix}_{OWNS}"
NOT_OURS = (
    f"{VARIABLE} is not true: the server's own conversation-retention-anonymize may be at work on the same rows. Keep it idle, with "
    f"no retentionDays above 0 in any organization's settings or by a release without it, and set {VARIABLE}=true"
)
SHOWN = 20
TENANTS_SHOWN = 50
MANY_MESSAGES = 50_000
"""Fewer are read within ten milliseconds."""


def prepare(run: JobRun, settings: ConversationRetentionSettings) -> None:
    """Look whether the server's own job leaves the work to this one, and plan what goes with the conversations."""
    check_zone(run, settings)
    run.refuse([] if run.optional(OWNS) == "true" else [NOT_OURS])
    run.plan(*purges(run, settings))


def conversation_retention(run: JobRun, settings: ConversationRetentionSettings) -> None:
    """Anonymise what is past its own tenant's retention and not held; tell what a hold keeps, and which policy is none."""
    _tell_of_policies(run, settings)
    due = run.count(_count(is_due(run.as_of, settings)))
    held = run.count(_count(sa.and_(is_past_retention(run.as_of, settings), is_held())))
    details = run.database.transaction(partial(_by_tenant, run=run, settings=settings))
    run.database.transaction(partial(_note_missing_index, run))
    note_parts(run, "conversations", {"past their retention are kept by a legal hold": held})
    run.ledger.plan(Plan(table=conversations.name, rule=RULE, cutoff=run.as_of, matched=due))
    if run.dry_run:
        run.record(Outcome(target=conversations.name, matched=due, details={**details, "held": held}))
        for planned in run.planned:
            run.purge(planned)
        return
    started = run.clock()
    embedding_plan, message_plan = run.planned
    _tell_of_held(run, embedding_plan)
    anonymiser, runner = open_anonymiser(run, settings, message_plan.purge, embedding_plan.purge)
    failed = take_all(run, anonymiser, runner, due)
    recorded = run.ledger.recorded()
    done = recorded.get(conversations.name, {}).get("updated", 0)
    left = run.count(_count(is_due(run.as_of, settings))) if run.account.room() == 0 else 0
    run.record(
        Outcome(
            target=conversations.name,
            matched=max(due, done),
            updated=done,
            failed=len(failed),
            kept=held,
            skipped=left,
            batches=runner.progress.batches,
            longest_transaction_seconds=runner.progress.longest_seconds,
            seconds=run.clock() - started,
            details=details,
        )
    )
    for planned in run.planned:
        _record_deleted(run, planned, runner.progress, settings, is_limited=left > 0)
    if left:
        run.note(f"max_rows reached: {left:,} conversations are left for the next run")
    if failed:
        told = [f"{each}: {why}" for each, why in list(failed.items())[:SHOWN]]
        run.fail(f"{len(failed)} conversations could not be anonymised ({'; '.join(told)}); the next run tries again")


def _tell_of_held(run: JobRun, planned: PlannedPurge) -> None:
    """Tell what something holds of the embeddings, while the messages are there by which they are known."""
    held = run.database.transaction(lambda connection: count_held(connection, planned.purge))
    if held.rows:
        run.record(Outcome(target=planned.measured.table, kept=held.rows, details={"held_ids": list(held.ids)}))
        run.note(
            f"{held.rows} embeddings are due and kept, because rows that stay refer to them by {held.names}: "
            f"{', '.join(held.ids)}; delete them by hand once they may go: no later run finds them"
        )


def _record_deleted(
    run: JobRun, planned: PlannedPurge, done: Progress, settings: ConversationRetentionSettings, *, is_limited: bool
) -> None:
    """Record what went with the conversations, and what something holds; `max_rows` counts conversations alone."""
    taken = run.account.taken
    details: dict[str, Scalar] = {}
    deleted = run.ledger.recorded().get(planned.measured.table, {}).get("deleted", 0)
    if settings.vacuum and vacuum.is_worthwhile(deleted, max(0, planned.measured.rows - deleted)):
        details |= vacuum.vacuum(run.database, planned.purge.table, is_polite=False)
    progress = Progress(batches=done.batches, reached_limit=is_limited)
    record_purge(run.account, run.database, run.ledger, planned, progress, details, seconds=0.0)
    run.account.taken = taken


def _count(which: sa.ColumnElement[bool]) -> sa.Select[tuple[int]]:
    return sa.select(sa.func.count()).select_from(conversations).where(which)


def _tell_of_policies(run: JobRun, settings: ConversationRetentionSettings) -> None:
    """Fail the run for tenants whose policy is no number of days: one of them holds up no other."""
    query = sa.select(sa.cast(organizations.c.id, sa.Text)).where(is_unreadable(settings)).order_by(organizations.c.id)
    ids = run.database.transaction(lambda connection: list(connection.scalars(query)))
    if ids:
        more = ", …" if len(ids) > SHOWN else ""
        run.fail(
            f"{settings.policy_key} of {len(ids)} organizations is no whole number of days from 1 to 3,650, so that nothing of "
            f"theirs is due: {', '.join(ids[:SHOWN])}{more}; write a number, or null where all is kept"
        )


def _note_missing_index(run: JobRun, connection: sa.Connection) -> None:
    """Say what makes each batch read all messages; no foreign key's check would tell, since no conversation is deleted."""
    name, table = "conversation_id", f"{messages.schema}.{messages.name}"
    query = sa.text(
        """
        SELECT greatest(reltuples, 0)::bigint, EXISTS (
            SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
            WHERE indrelid = pg_class.oid AND indisvalid AND indpred IS NULL AND attname = :name)
        FROM pg_class WHERE oid = to_regclass(:table)
        """
    )
    row = connection.execute(query, {"name": name, "table": table}).first()
    if row is not None and row[0] >= MANY_MESSAGES and not row[1]:
        statement = create_index(SERVICE, messages.name, name)
        run.note(
            f"no index serves messages.{name}: each batch reads all {row[0]:,} messages. As the table's owner: {statement}"
        )


def _by_tenant(connection: sa.Connection, *, run: JobRun, settings: ConversationRetentionSettings) -> dict[str, Scalar]:
    count = sa.func.count()
    query = (
        sa.select(sa.cast(conversations.c.organization_id, sa.Text), count)
        .where(is_due(run.as_of, settings))
        .group_by(conversations.c.organization_id)
        .order_by(count.desc(), conversations.c.organization_id)
        .limit(TENANTS_SHOWN)
    )
    found = connection.execute(query).tuples().all()
    return {"by_organization_id": [f"{tenant}: {number:,}" for tenant, number in found]} if found else {}


SPEC = JobSpec(
    location=HAY,
    name=JOB,
    schedule=Cron("0 3 * * *"),
    consent=OWNS,
    timeout=timedelta(minutes=30),
    retry=Retry(attempts=3),
    after=("hay/generate_daily_analytics",),
    owner=OWNER,
    summary="Anonymises ended conversations past their tenant's retention, and deletes their messages.",
    description=(
        "Empties conversations of status closed or resolved that ended longer ago than retentionDays in their own tenant's settings "
        "says: title, customer, contexts and keys; with their messages, the feedback on these, and embeddings made of them. "
        "A legal hold keeps a conversation whole. A message that comes in meanwhile is taken by the next run. Off until "
        "HAY_RETENTION_OWNS=true says that the server's own job is idle. What a conversation was is gone; with undo_days its messages can be put back for so long."
    ),
    settings=ConversationRetentionSettings,
    run=conversation_retention,
    prepare=prepare,
    database=DatabaseWork(
        targets=("conversations", "messages", "message_feedback", "embeddings"),
        purges=purges,
        privileges={
            "organizations": ("SELECT",),
            "conversations": ("SELECT", "UPDATE"),
            "messages": ("SELECT", "UPDATE", "DELETE"),
            "message_feedback": ("SELECT", "DELETE"),
            "embeddings": ("SELECT", "UPDATE", "DELETE"),
        },
        age_columns={"messages": "created_at"},
    ),
)
