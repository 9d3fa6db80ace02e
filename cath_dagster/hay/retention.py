"""When a conversation is past its tenant's retention: the rule that anonymising, counting and explaining share."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import Field, field_validator
from sqlalchemy.dialects.postgresql import array

from cath_dagster.core.model.purge import Child, Planning, Purge
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.hay.tables import conversations, embeddings, message_feedback, messages, organizations
from cath_dagster.hay.tenant_days import read_tenant_days

JOB = "conversation_retention"
LEAST_DAYS, MOST_DAYS = 1, 3_650
"""What the service's own interface takes for a policy."""
ENDED = ("closed", "resolved")
TITLE = "[Anonymized]"
RULE = "conversations past their tenant's retention"
_WHOLE = r"^[0-9]{1,4}$"
CONVERSATION_ID, MESSAGE_ID = "conversationId", "messageId"
"""In an embedding's metadata, what it was made of; no foreign key says it."""


class ConversationRetentionSettings(PurgeSettings):
    """Where a tenant's policy stands, and how much is done at once."""

    policy_key: str = Field(
        default="retentionDays",
        min_length=1,
        max_length=100,
        description="The key of a tenant's settings that says for how many days its ended conversations are kept. Of a tenant "
        "without it all are kept. Under another key than the service's own, the service's own job has nothing to do.",
    )
    tenant_days: str = Field(
        default="",
        description="Days for single tenants, in place of what their settings say, as a JSON object by the tenant's id.",
    )
    conversations_per_transaction: int = Field(
        default=25,
        ge=1,
        le=1_000,
        description="Conversations that are anonymised together at most. Without an index on messages.conversation_id each "
        "such batch reads all messages.",
    )

    @field_validator("tenant_days")
    @classmethod
    def _check_tenant_days(cls, value: str) -> str:
        read_tenant_days(value, least=LEAST_DAYS, most=MOST_DAYS)
        return value

    @property
    def days_by_tenant(self) -> Mapping[UUID, int]:
        return read_tenant_days(self.tenant_days, least=LEAST_DAYS, most=MOST_DAYS)


def stated_policy(settings: ConversationRetentionSettings) -> sa.ColumnElement[str | None]:
    """Return what an organization's row says of its retention, as text: anything may stand there."""
    return organizations.c.settings.op("->>")(sa.literal(settings.policy_key, sa.Text))


def days_of(settings: ConversationRetentionSettings) -> sa.ColumnElement[int | None]:
    """Return for how many days an organization keeps ended conversations; NULL without a policy that can be read."""
    stated = stated_policy(settings)
    days = sa.case((stated.op("~")(_WHOLE), sa.cast(stated, sa.Integer)))
    days = sa.case((days.between(LEAST_DAYS, MOST_DAYS), days))
    chosen = [(organizations.c.id == tenant, sa.literal(days)) for tenant, days in settings.days_by_tenant.items()]
    return sa.case(*chosen, else_=days) if chosen else days


def is_unreadable(settings: ConversationRetentionSettings) -> sa.ColumnElement[bool]:
    """Return whether an organization states a policy that is no number of days, so that nobody can tell what is due."""
    return sa.and_(stated_policy(settings).is_not(None), days_of(settings).is_(None))


def ended_at() -> sa.ColumnElement[datetime]:
    """Return from when a conversation's retention counts.

    What the service resolves by itself has no `closed_at`; by `created_at` a long conversation would go when it ends.
    """
    c = conversations.c
    return sa.func.coalesce(c.closed_at, c.ended_at, c.last_message_at, sa.func.timezone("UTC", c.created_at))


def is_past_retention(as_of: datetime, settings: ConversationRetentionSettings) -> sa.ColumnElement[bool]:
    """Return whether a conversation has ended, longer ago than its own tenant keeps it; held ones as well."""
    days = days_of(settings)
    cutoff = sa.literal(as_of, sa.DateTime(timezone=True)) - sa.func.make_interval(0, 0, 0, days)
    of_its_tenant = sa.select(sa.literal(1)).where(
        organizations.c.id == conversations.c.organization_id, days.is_not(None), ended_at() < cutoff
    )
    return sa.and_(conversations.c.status.in_(ENDED), of_its_tenant.correlate(conversations).exists())


def is_held() -> sa.ColumnElement[bool]:
    return conversations.c.legal_hold


def goes(as_of: datetime, settings: ConversationRetentionSettings) -> sa.ColumnElement[bool]:
    """Return whether what a conversation says may go: past its retention, and not held."""
    return sa.and_(is_past_retention(as_of, settings), ~is_held())


def is_due(as_of: datetime, settings: ConversationRetentionSettings) -> sa.ColumnElement[bool]:
    """Return whether a conversation is to be anonymised: not done yet, or a message came in while it was."""
    has_messages = sa.exists().where(messages.c.conversation_id == conversations.c.id).correlate(conversations)
    return sa.and_(goes(as_of, settings), sa.or_(conversations.c.deleted_at.is_(None), has_messages))


def anonymised(run_at: sa.ColumnElement[datetime]) -> dict[str, sa.ColumnElement[Any]]:
    """Return what is written into a conversation; a stamp of an earlier time stays."""
    emptied = (
        *("customer_id", "public_jwk", "context", "metadata", "resolution_metadata", "orchestration_status"),
        *("last_processing_error", "stuck_reason"),
    )
    return {
        "title": sa.literal(TITLE),
        "deleted_at": sa.func.coalesce(conversations.c.deleted_at, run_at),
        "updated_at": sa.func.timezone("UTC", run_at),
        **dict.fromkeys(emptied, sa.null()),
    }


def purges(planning: Planning, settings: ConversationRetentionSettings) -> list[Purge]:
    """Return what goes with the conversations that are due: the embeddings made of them, and their messages."""
    going = goes(planning.as_of, settings)
    return [_embeddings(planning, going), _messages(planning, settings)]


def _messages(planning: Planning, settings: ConversationRetentionSettings) -> Purge:
    def of(which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        return messages.c.conversation_id.in_(sa.select(conversations.c.id).where(which))

    return Purge(
        table=messages,
        rule=f"messages of {RULE}",
        predicate=of(goes(planning.as_of, settings)),
        cutoff=planning.as_of,
        age=messages.c.created_at,
        reads_other_rows=True,
        children=(Child(message_feedback, message_feedback.c.message_id),),
        conditions={
            "its conversation is closed or resolved": of(conversations.c.status.in_(ENDED)),
            "that ended longer ago than its tenant keeps it": of(is_past_retention(planning.as_of, settings)),
            "no legal hold is on its conversation": of(~is_held()),
        },
    )


def _embeddings(planning: Planning, going: sa.ColumnElement[bool]) -> Purge:
    return Purge(
        table=embeddings,
        rule=f"embeddings of {RULE}",
        predicate=sa.and_(is_of_a_conversation(), made_of(going)),
        cutoff=planning.as_of,
        reads_other_rows=True,
    )


def is_of_a_conversation() -> sa.ColumnElement[bool]:
    """Return whether an embedding names a conversation or a message; those of documents do not."""
    is_named: sa.ColumnElement[bool] = embeddings.c.metadata.has_any(array([CONVERSATION_ID, MESSAGE_ID]))
    return is_named


def made_of(chosen: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Return whether an embedding was made of one of the chosen conversations, or of a message of one, of its own tenant."""
    own = embeddings.c.organization_id
    by_conversation = sa.tuple_(own, embeddings.c.metadata.op("->>")(CONVERSATION_ID))
    by_message = sa.tuple_(own, embeddings.c.metadata.op("->>")(MESSAGE_ID))
    tenant = conversations.c.organization_id
    of_messages = sa.select(tenant, sa.cast(messages.c.id, sa.Text)).join(
        conversations, conversations.c.id == messages.c.conversation_id
    )
    return sa.or_(
        by_conversation.in_(sa.select(tenant, sa.cast(conversations.c.id, sa.Text)).where(chosen)),
        by_message.in_(of_messages.where(chosen)),
    )
