"""What the service's orchestrator has left standing, and whose tokens nobody has renewed: looked at, never written."""

from datetime import datetime, timedelta

import sqlalchemy as sa

from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.postgres.database import Database
from cath_dagster.hay.tables import conversations, plugin_instances

LOCK_OVER = timedelta(minutes=5)
"""A lock is taken for 15 seconds; one that ended so long ago was left by a server that died."""
MOST_RECOVERIES = 5
WAITED = timedelta(minutes=10)
UNRENEWED = timedelta(days=30)
"""When an access token ends stands encrypted; an instance that was not authorised or renewed for so long has lost it."""
SUBJECTS = 100


def stuck(at: datetime) -> dict[str, sa.ColumnElement[bool]]:
    """Return by name in which ways a conversation stands still; one may in several."""
    c = conversations.c
    since = sa.func.coalesce(c.last_message_at, sa.func.timezone("UTC", c.created_at))
    is_live = sa.and_(c.status.not_in(("resolved", "closed")), c.deleted_at.is_(None))
    ways = {
        "is_stuck": sa.func.coalesce(c.is_stuck, sa.false()),
        "lock_left_behind": sa.and_(c.status == "processing", c.processing_locked_until < at - LOCK_OVER),
        "recovered_too_often": sa.func.coalesce(c.recovery_attempts, 0) >= MOST_RECOVERIES,
        "waits_for_processing": sa.and_(c.needs_processing, since < at - WAITED),
    }
    return {name: sa.func.coalesce(sa.and_(is_live, way), sa.false()) for name, way in ways.items()}


def judge_conversations(database: Database, at: datetime) -> Verdict:
    """Count by tenant the conversations that stand still."""
    ways = stuck(at)
    is_any_way = sa.or_(*ways.values())
    count = sa.func.count()
    query = (
        sa.select(
            sa.cast(conversations.c.organization_id, sa.Text),
            count,
            *(count.filter(way).label(name) for name, way in ways.items()),
        )
        .where(is_any_way)
        .group_by(conversations.c.organization_id)
        .order_by(count.desc(), conversations.c.organization_id)
    )
    rows = database.transaction(lambda connection: connection.execute(query).all())
    total = sum(row[1] for row in rows)
    details: dict[str, Scalar] = {name: sum(getattr(row, name) for row in rows) for name in ways}
    if rows:
        details["by_organization_id"] = [f"{row[0]}: {row[1]:,}" for row in rows[:SUBJECTS]]
    message = f"{total} conversations of {len(rows)} organizations stand still" if total else ""
    return Verdict(not total, message, {"stuck": total, **details}, tuple(row[0] for row in rows[:SUBJECTS]))


def judge_tokens(database: Database, at: datetime) -> Verdict:
    """Find enabled instances whose tokens were not renewed for long, or that have none."""
    c = plugin_instances.c
    is_lost = sa.or_(c.auth_state.is_(None), sa.func.jsonb_typeof(c.auth_state) == "null")
    is_unrenewed = sa.func.coalesce(c.auth_validated_at < at - UNRENEWED, sa.false())
    query = (
        sa.select(sa.cast(c.id, sa.Text), is_lost)
        .where(c.enabled, c.auth_method == "oauth", sa.or_(is_lost, is_unrenewed))
        .order_by(c.id)
    )
    rows = database.transaction(lambda connection: connection.execute(query).tuples().all())
    lost = sum(without for _, without in rows)
    details: dict[str, Scalar] = {"without_tokens": lost, "not_renewed": len(rows) - lost}
    message = f"{len(rows)} plugin instances have no tokens, or none renewed for {UNRENEWED.days} days" if rows else ""
    return Verdict(not rows, message, details, tuple(row[0] for row in rows[:SUBJECTS]))


CONVERSATIONS_CHECK = Check[Database](
    name="no_stuck_conversations",
    asset=conversations.name,
    description="No conversation stands still: stuck, left locked, recovered five times, or waiting for ten minutes.",
    evaluate=judge_conversations,
)
TOKENS_CHECK = Check[Database](
    name="tokens_renewed",
    asset=plugin_instances.name,
    description="Every enabled instance that signs in by OAuth has tokens, and they were renewed within 30 days.",
    severity=Severity.WARN,
    evaluate=judge_tokens,
)
