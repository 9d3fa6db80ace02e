"""Warn users who have long been idle, and delete those who were warned and stayed away."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from cath_dagster.cath import CATH, OWNER
from cath_dagster.cath import inactive_users as rule_of
from cath_dagster.cath.inactive_users import InactiveUserSettings, Rule
from cath_dagster.cath.messages import full_name, idam_warning, media_warning
from cath_dagster.cath.tables import notification_audit_log, subscription, subscription_list_type, user
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Child, Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.outbox.notices import Notice
from cath_dagster.core.ports.mail import Message
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.run.job_parts import DatabaseWork, MailWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

MEDIA_VARIABLES = ("MEDIA_VERIFICATION_LINK",)
IDAM_VARIABLES = ("CFT_SIGN_IN_LINK", "CRIME_SIGN_IN_LINK")

IDS_SHOWN = 50

SUBSCRIPTION_CHILDREN = (Child(notification_audit_log, notification_audit_log.c.subscription_id),)


@dataclass(frozen=True)
class IdleUser:
    """A user to be warned. `person` is the same for all rows of one media user."""

    user_id: str
    person: str
    email: str
    first_name: str | None
    surname: str | None
    last_activity: datetime


def inactive_verification(run: JobRun, settings: InactiveUserSettings) -> None:
    """Warn who is due for a warning, then delete who may be deleted; the two never meet in one run."""
    warnings = [notice for rule in rule_of.rules(settings) if rule.kind for notice in _warnings(run, rule, rule.kind)]
    (planned,) = run.plan(*purges(run, settings))
    run.send(warnings)
    run.purge(planned)
    _name_undated(run, settings)
    _count_the_rest(run, settings)


def purges(planning: Planning, settings: InactiveUserSettings) -> list[Purge]:
    """Return the purge of the users who may be deleted."""
    return [
        Purge(
            table=user,
            rule="users idle past deletion, warned in time where a warning is due",
            predicate=rule_of.is_deletable(settings, planning.as_of),
            cutoff=planning.as_of,
            reads_other_rows=True,
            lock_others=lambda keys: rule_of.lock_people(sa.select(user.c.user_id).where(is_any(user.c.user_id, keys))),
            children=(
                Child(subscription, subscription.c.user_id, SUBSCRIPTION_CHILDREN),
                Child(subscription_list_type, subscription_list_type.c.user_id),
            ),
            conditions=rule_of.deletion_conditions(settings, planning.as_of),
        )
    ]


def _warnings(run: JobRun, rule: Rule, kind: str) -> list[Notice]:
    people = _idle_people(run, rule)
    if not people or not run.has_mail:
        links = {name: run.optional(name) or "" for name in (*MEDIA_VARIABLES, *IDAM_VARIABLES)}
    else:
        names = MEDIA_VARIABLES if rule.provenances == rule_of.MEDIA else IDAM_VARIABLES
        links = run.require_mail(kind, *names)
    return [_warning(kind, list(rows), links) for _, rows in groupby(people, key=attrgetter("person"))]


def _warning(kind: str, rows: list[IdleUser], links: dict[str, str]) -> Notice:
    addressee = max(rows, key=attrgetter("last_activity", "user_id"))
    period_start = addressee.last_activity.date()
    name = full_name(addressee.first_name, addressee.surname)
    if "MEDIA_VERIFICATION_LINK" in links and kind == "media_warning":
        keys = media_warning(name, links["MEDIA_VERIFICATION_LINK"])
    else:
        keys = idam_warning(name, addressee.last_activity, links["CFT_SIGN_IN_LINK"], links["CRIME_SIGN_IN_LINK"])
    user_ids = tuple(sorted(row.user_id for row in rows))
    return Notice(
        subject_ids=user_ids,
        kind=kind,
        period_start=period_start,
        message=Message(
            recipient=addressee.email,
            template=kind,
            personalisation=keys,
            reference=f"{rule_of.JOB}/{kind}/{user_ids[0]}/{period_start}",
        ),
        # Who has no address cannot be warned, and may be deleted as if warned from then on.
        settled_by_rejection=True,
    )


def _idle_people(run: JobRun, rule: Rule) -> list[IdleUser]:
    seen = rule_of.activity()
    query = (
        sa.select(
            sa.cast(user.c.user_id, sa.Text),
            seen.c.person,
            user.c.email,
            user.c.first_name,
            user.c.surname,
            seen.c.last_activity,
        )
        .join(seen, seen.c.user_id == user.c.user_id)
        .where(rule_of.is_idle(seen, rule, rule.warn_days, run.as_of), sa.not_(rule_of.has_notice(seen, rule)))
        .order_by(seen.c.person, user.c.user_id)
    )
    rows: Iterable[Any] = run.database.transaction(lambda connection: connection.execute(query).all())
    return [IdleUser(*row) for row in rows]


def _name_undated(run: JobRun, settings: InactiveUserSettings) -> None:
    """Say whom no rule takes, since nobody can tell since when they are idle."""
    seen = rule_of.activity()
    query = (
        sa.select(sa.cast(seen.c.user_id, sa.Text))
        .where(rule_of.is_undated(seen, settings, run.as_of))
        .order_by("user_id")
    )
    if ids := run.database.transaction(lambda connection: connection.scalars(query).all()):
        more = f" and {len(ids) - IDS_SHOWN} more" if len(ids) > IDS_SHOWN else ""
        run.fail(
            f"{len(ids)} users are neither warned nor deleted, since their last activity lies before the calendar; correct "
            f"last_signed_in_date or created_date of {', '.join(ids[:IDS_SHOWN])}{more}"
        )


def _count_the_rest(run: JobRun, settings: InactiveUserSettings) -> None:
    """Record who is idle long enough and stays (not warned in time, or the last administrator), and who has no rule."""
    seen = rule_of.activity()
    count = sa.select(sa.func.count()).select_from(user)
    waiting = count.join(seen, seen.c.user_id == user.c.user_id).where(
        rule_of.past_deletion(seen, settings, run.as_of), sa.not_(rule_of.is_deletable(settings, run.as_of))
    )
    unknown = count.where(sa.not_(rule_of.is_known_provenance(settings)))
    run.record(Outcome(target="user", kept=run.count(waiting), skipped=run.count(unknown)))
    deleted = sum(outcome.deleted for outcome in run.account.outcomes if outcome.target == "user")
    run.record(Outcome(target="identity_accounts", kept=deleted))
    if deleted:
        run.note(f"{deleted} accounts of deleted users were left at their identity providers")


SPEC = JobSpec(
    location=CATH,
    name=rule_of.JOB,
    schedule=Cron("1 8 * * *"),
    owner=OWNER,
    summary="Warns idle users by e-mail, and deletes those who were warned in time and stayed away.",
    description=(
        "Warns users by e-mail after 350 (media), 118 (CFT_IDAM) or 180 (CRIME_IDAM) idle days and deletes them "
        "after 365, 132 or 208 days, if the warning was sent long enough before; SSO users are deleted after 90 "
        "days without one. Signing in cancels a warning. Subscriptions, list-type subscriptions and notification "
        "rows of a deleted user go along. Never touched: other provenances, and the administrator who was active "
        "last. Accounts at identity providers stay. Deleted users cannot be brought back, unless undo_days is set."
    ),
    settings=InactiveUserSettings,
    run=inactive_verification,
    database=DatabaseWork(
        targets=("user", "subscription", "subscription_list_type", "notification_audit_log"),
        purges=purges,
        privileges={
            "user": ("SELECT", "UPDATE", "DELETE"),
            "subscription": ("SELECT", "DELETE"),
            "subscription_list_type": ("SELECT", "DELETE"),
            "notification_audit_log": ("SELECT", "DELETE"),
        },
        age_columns={"user": "last_signed_in_date"},
    ),
    mail=MailWork(
        without_provider="nobody is deleted who must be warned first",
        forgets=rule_of.no_longer_matters,
    ),
)
