"""Which privacy requests have run out, are stuck, or are so old that their proof alone is needed."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.model.purge import Keys
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.hay.stamps import as_text
from cath_dagster.hay.tables import conversations, privacy_requests

PLACEHOLDER = "minimized@privacy.invalid"
"""In place of an address that may not be NULL; of a domain that nobody can have."""
MINIMISED = "minimizedAt"
ENDED = ("completed", "failed", "expired", "cancelled")
UNANSWERED = ("verified", "processing")
VERIFICATION_GRACE = timedelta(hours=1)
STUCK = timedelta(hours=24)
"""The longest step of an answer takes minutes."""
LATE = timedelta(days=25)
"""The service promises an answer within 30 days."""
SUBJECTS = 100


def is_unconfirmed(as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether nobody confirmed a request in time."""
    c = privacy_requests.c
    return sa.and_(c.status == "pending_verification", c.verification_expires_at < as_of - VERIFICATION_GRACE)


def is_stuck(as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether a confirmed request has not moved for a day."""
    return sa.and_(privacy_requests.c.status.in_(UNANSWERED), privacy_requests.c.updated_at < as_of - STUCK)


def is_old(as_of: datetime, days: int) -> sa.ColumnElement[bool]:
    """Return whether a request ended so long ago; one that expired or was cancelled says by `updated_at` when."""
    ended = sa.func.coalesce(privacy_requests.c.completed_at, privacy_requests.c.updated_at)
    return sa.and_(privacy_requests.c.status.in_(ENDED), ended < as_of - timedelta(days=days))


def is_minimised() -> sa.ColumnElement[bool]:
    return sa.func.coalesce(privacy_requests.c.metadata.has_key(MINIMISED), sa.false())


def is_of_a_held_customer() -> sa.ColumnElement[bool]:
    """Return whether a legal hold is on a conversation of the customer who asked."""
    held = sa.select(conversations.c.customer_id).where(
        conversations.c.legal_hold, conversations.c.customer_id.is_not(None)
    )
    return sa.func.coalesce(privacy_requests.c.customer_id.in_(held), sa.false())


def lock_conversations(ids: Keys) -> list[sa.Select[Any]]:
    """Return the statement that locks the conversations by whose holds these requests are decided."""
    customers = sa.select(privacy_requests.c.customer_id).where(is_any(privacy_requests.c.id, ids))
    query = sa.select(conversations.c.id).where(conversations.c.customer_id.in_(customers))
    return [query.order_by(conversations.c.id).with_for_update(read=True)]


def minimised(as_of: datetime) -> dict[str, sa.ColumnElement[Any]]:
    """Return what is left of a request: that somebody asked for what, when, and what came of it."""
    emptied = (
        *("identifier_value", "ip_address", "user_agent", "download_ip_address", "verification_token_hash"),
        "error_message",
    )
    return {
        "email": sa.literal(PLACEHOLDER),
        "metadata": sa.func.jsonb_build_object(MINIMISED, as_text(as_of)),
        "updated_at": sa.func.now(),
        **dict.fromkeys(emptied, sa.null()),
    }


def _judge(database: Database, which: sa.ColumnElement[bool], says: str) -> Verdict:
    def read(connection: sa.Connection) -> tuple[int, list[str]]:
        count = connection.scalar(sa.select(sa.func.count()).select_from(privacy_requests).where(which)) or 0
        ids = sa.select(sa.cast(privacy_requests.c.id, sa.Text)).where(which).order_by(privacy_requests.c.created_at)
        return count, list(connection.scalars(ids.limit(SUBJECTS)))

    count, ids = database.transaction(read)
    message = f"{count} {says}" if count else ""
    return Verdict(passed=not count, message=message, details={"requests": count}, subjects=tuple(ids))


def judge_stuck(database: Database, at: datetime) -> Verdict:
    """Find erasures that were promised and do not move. They are never changed from here: the promise stands."""
    which = sa.and_(is_stuck(at), privacy_requests.c.type != "export")
    return _judge(
        database,
        which,
        "requests other than exports were confirmed and have not moved for a day; see to them in the service",
    )


def judge_late(database: Database, at: datetime) -> Verdict:
    """Find requests that will soon have waited for longer than the service promises."""
    which = sa.and_(privacy_requests.c.status.in_(UNANSWERED), privacy_requests.c.created_at < at - LATE)
    return _judge(
        database, which, "requests have waited for an answer for more than 25 days, of the 30 that are promised"
    )


STUCK_CHECK = Check[Database](
    name="no_stuck_erasure",
    asset=privacy_requests.name,
    description="No confirmed request for erasure has stood still for a day.",
    evaluate=judge_stuck,
)
LATE_CHECK = Check[Database](
    name="answered_in_time",
    asset=privacy_requests.name,
    description="No confirmed request has waited for more than 25 days; 30 are promised.",
    severity=Severity.WARN,
    evaluate=judge_late,
)
