"""Delete subscriptions to what no longer exists, and those of users who may be deleted."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.dialects.postgresql import ARRAY

from cath_dagster.cath import CATH, OWNER, inactive_users
from cath_dagster.cath.artefacts import is_location, location_number
from cath_dagster.cath.inactive_users import InactiveUserSettings
from cath_dagster.cath.tables import (
    list_types,
    location,
    notification_audit_log,
    subscription,
    subscription_list_type,
    user,
)
from cath_dagster.core.instants import naive_utc
from cath_dagster.core.model.optional_columns import optional
from cath_dagster.core.model.purge import Child, Planning, Purge, Revision
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import Days, PurgeSettings, plain_settings, read_settings
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec


class SubscriptionsSettings(PurgeSettings):
    """How long what is subscribed to may be gone before the subscription goes too."""

    location_grace_days: Days = Field(
        default=30,
        description="Days after its deletion for which a location's subscriptions are kept; an upload may restore it.",
    )
    list_type_grace_days: Days = Field(
        default=30,
        description="Days after its deletion for which a list type stays in subscriptions; it may be activated again.",
    )
    undo_days: Days = Field(
        default=30,
        description="Days for which deleted subscriptions, with their notification rows, can be brought back by "
        "`cath-dagster restore`; 0 keeps nothing.",
    )
    archive_personal_data_because: str = Field(
        default="a subscription is its owner's own request, and one that was deleted by mistake, such as with a location "
        "deleted by mistake, is given back as it was, with the notifications that it was sent",
        description="Why deleted subscriptions, which name users and cases, may be kept for undo_days, in words.",
    )


def subscriptions(run: JobRun, settings: SubscriptionsSettings) -> None:
    """Delete orphaned subscriptions, and take vanished list types out of list-type subscriptions."""
    run.account.borrowed_settings |= plain_settings(_idle_settings(run))
    for planned in run.plan(*purges(run, settings)):
        run.purge(planned)
    run.revise(_vanished_list_types(run, settings))


def purges(planning: Planning, settings: SubscriptionsSettings) -> list[Purge]:
    """Return the purges of the orphaned subscriptions and of the list-type subscriptions that are empty."""
    return [_orphaned(planning, settings, _idle_settings(planning)), _without_list_type(planning, settings)]


def _idle_settings(planning: Planning) -> InactiveUserSettings:
    """Return the settings of the job whose rule on idle users this one shares."""
    return read_settings(InactiveUserSettings, {}, location=CATH.name, job=inactive_users.JOB, environ=planning.environ)


def _orphaned(planning: Planning, settings: SubscriptionsSettings, idle: InactiveUserSettings) -> Purge:
    gone_before = naive_utc(planning.as_of - timedelta(days=settings.location_grace_days))
    gone_at = optional(location.c.deleted_at)
    is_live = sa.or_(gone_at.is_(None), gone_at >= gone_before)
    deletable = sa.select(user.c.user_id).where(inactive_users.is_deletable(idle, planning.as_of))
    return Purge(
        table=subscription,
        rule=f"subscriptions to no location, to one deleted over {settings.location_grace_days} days ago, "
        "or of deletable users",
        predicate=sa.or_(
            sa.and_(
                subscription.c.search_type == "LOCATION_ID", sa.not_(is_location(subscription.c.search_value, is_live))
            ),
            subscription.c.user_id.in_(deletable),
        ),
        cutoff=planning.as_of,
        age=subscription.c.date_added,
        reads_other_rows=True,
        lock_others=_lock_others,
        children=(Child(notification_audit_log, notification_audit_log.c.subscription_id),),
    )


def _lock_others(subscription_ids: Sequence[Any]) -> list[sa.Select[Any]]:
    """Return the statements that lock the locations and users these subscriptions are decided by."""
    given = subscription.alias("given_subscription")
    is_given = is_any(given.c.subscription_id, subscription_ids)
    numbers = sa.select(location_number(given.c.search_value)).where(is_given, given.c.search_type == "LOCATION_ID")
    return [
        sa.select(location.c.location_id)
        .where(sa.cast(location.c.location_id, sa.Numeric).in_(numbers))
        .order_by(location.c.location_id)
        .with_for_update(read=True),
        *inactive_users.lock_people(sa.select(given.c.user_id).where(is_given)),
    ]


def _lock_list_types(keys: Sequence[Any]) -> list[sa.Select[Any]]:
    """Return the statement that locks the list types these list-type subscriptions are decided by."""
    given = subscription_list_type.alias("given")
    named = sa.select(sa.func.unnest(given.c.list_type_ids)).where(is_any(given.c.subscription_list_type_id, keys))
    return [
        sa.select(list_types.c.id)
        .where(list_types.c.id.in_(named))
        .order_by(list_types.c.id)
        .with_for_update(read=True)
    ]


def _live_list_types(planning: Planning, settings: SubscriptionsSettings) -> sa.Select[tuple[int]]:
    gone_before = naive_utc(planning.as_of - timedelta(days=settings.list_type_grace_days))
    return sa.select(list_types.c.id).where(
        sa.or_(list_types.c.deleted_at.is_(None), list_types.c.deleted_at >= gone_before)
    )


def _remaining(planning: Planning, settings: SubscriptionsSettings) -> sa.ColumnElement[list[int]]:
    """Return the subscribed list types that exist still, in their order."""
    listed = (
        sa.func.unnest(subscription_list_type.c.list_type_ids)
        .table_valued("list_type_id", with_ordinality="place", name="listed")
        .render_derived()
    )
    kept = (
        sa.select(listed.c.list_type_id)
        .where(listed.c.list_type_id.in_(_live_list_types(planning, settings)))
        .order_by(listed.c.place)
        .correlate(subscription_list_type)
    )
    return sa.func.array(kept.scalar_subquery(), type_=ARRAY(sa.Integer))


def _without_list_type(planning: Planning, settings: SubscriptionsSettings) -> Purge:
    subscribed = sa.func.cardinality(subscription_list_type.c.list_type_ids)
    return Purge(
        table=subscription_list_type,
        rule="list-type subscriptions of which no list type is left",
        # A row that never named a list type was not emptied by us, and is not ours to delete.
        predicate=sa.and_(subscribed > 0, sa.func.cardinality(_remaining(planning, settings)) == 0),
        cutoff=planning.as_of,
        reads_other_rows=True,
        lock_others=_lock_list_types,
    )


def _vanished_list_types(planning: Planning, settings: SubscriptionsSettings) -> Revision:
    remaining = _remaining(planning, settings)
    subscribed = sa.func.cardinality(subscription_list_type.c.list_type_ids)
    count = sa.func.cardinality(remaining)
    return Revision(
        table=subscription_list_type,
        rule=f"list types deleted over {settings.list_type_grace_days} days ago, or unknown",
        predicate=sa.and_(count > 0, count < subscribed),
        values={"list_type_ids": remaining},
        lock_others=_lock_list_types,
    )


SPEC = JobSpec(
    location=CATH,
    name="subscriptions",
    schedule=Cron("0 1 * * *"),
    owner=OWNER,
    summary="Deletes subscriptions to vanished locations and of deletable users; drops vanished list types.",
    description=(
        "Deletes LOCATION_ID subscriptions whose value is no whole number, no location, or a location deleted more "
        "than 30 days ago, and all subscriptions of users whom inactive_verification could delete now; their "
        "notification rows go along. Takes list types deleted more than 30 days ago, or unknown, out of list-type "
        "subscriptions, and deletes those of which none is left. CASE_NUMBER and CASE_NAME subscriptions wait for "
        "their next publication and are never orphans. What is deleted can be brought back for 30 days: cath-dagster "
        "restore RUN_ID. A list type taken out of a subscription cannot."
    ),
    settings=SubscriptionsSettings,
    run=subscriptions,
    database=DatabaseWork(
        targets=("subscription", "notification_audit_log", "subscription_list_type"),
        purges=purges,
        privileges={
            "subscription": ("SELECT", "UPDATE", "DELETE"),
            "notification_audit_log": ("SELECT", "DELETE"),
            "subscription_list_type": ("SELECT", "UPDATE", "DELETE"),
            "user": ("SELECT", "UPDATE"),
            "location": ("SELECT", "UPDATE"),
            "list_types": ("SELECT", "UPDATE"),
        },
    ),
)
