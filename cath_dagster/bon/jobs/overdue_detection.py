"""Mark invoices that are overdue, unmark those that are settled, and tell each business's owners once a day."""

from collections.abc import Iterator
from datetime import date
from functools import partial
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.bon import BON, OWNER, messages
from cath_dagster.bon.overdue import BusinessDigest, read_digests, to_be_marked, to_be_reset
from cath_dagster.bon.owners import Owner
from cath_dagster.bon.tables import invoices
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Revision
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PacedSettings
from cath_dagster.core.outbox.forgetting import is_older, is_past_telling
from cath_dagster.core.outbox.notices import Notice
from cath_dagster.core.ports.mail import Message
from cath_dagster.core.run.job_parts import DatabaseWork, MailWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

JOB = "overdue_detection"
TEMPLATE = "overdue_digest"
SAME_AGAIN = "the next day's digest lists the same invoices again"
CALENDAR = ZoneInfo(BON.timezone)


class OverdueDetectionSettings(PacedSettings):
    """How fast invoices are marked, and what a digest looks like."""

    digest_rows: int = Field(
        default=1_000,
        ge=1,
        le=20_000,
        description="Invoices listed in one mail, the most overdue first; the others are counted and added up. "
        "A thousand make a mail of about 300 kB.",
    )


def prepare(run: JobRun, settings: OverdueDetectionSettings) -> None:
    """Look at what a digest is sent by."""
    del settings
    if run.has_mail:
        run.require_mail(TEMPLATE)


def overdue_detection(run: JobRun, settings: OverdueDetectionSettings) -> None:
    """Mark, reset, then send the day's digests; "today" is the date in Israel at the reference time."""
    day = run.as_of.astimezone(CALENDAR).date()
    run.preflight()
    changed_at = {"updated_at": sa.func.now()}
    marked = run.revise(
        Revision(
            table=invoices,
            rule="invoices past their due date and not paid are marked overdue",
            predicate=to_be_marked(day),
            values={"is_overdue": sa.true(), **changed_at},
            is_plain=True,
        )
    )
    reset = run.revise(
        Revision(
            table=invoices,
            rule="invoices paid, cancelled or credited are overdue no longer",
            predicate=to_be_reset(),
            values={"is_overdue": sa.false(), **changed_at},
            is_plain=True,
        )
    )
    run.record(Outcome(target="invoices", details={"day": str(day), "marked": marked, "reset": reset}))
    if run.database.transaction(partial(is_past_telling, job=JOB, period=day)):
        run.note(f"the digests of {day} are not sent: nobody can tell any more which of them went")
        return
    run.send(_digests(run, day, settings.digest_rows), then=f"run {JOB} again on {day} for them; {SAME_AGAIN}")


def _digests(run: JobRun, day: date, rows: int) -> Iterator[Notice]:
    """Yield a notice for each owner of each business, and tell when all were read what there was."""
    businesses = overdue = ownerless = 0
    for found in read_digests(run.database, day, rows=rows):
        businesses, overdue = businesses + 1, overdue + found.count
        ownerless += not found.owners
        for owner in found.owners:
            if not run.account.previews:
                run.account.previews[TEMPLATE] = messages.overdue_digest(messages.masked(found.addressed_to(owner)))
            yield _notice(found, owner, day)
    details: dict[str, Scalar] = {
        "businesses": businesses,
        "overdue_invoices": overdue,
        "businesses_without_owner": ownerless,
    }
    run.record(Outcome(target="mail", details=details))


def _notice(found: BusinessDigest, owner: Owner, day: date) -> Notice:
    subject_id = f"{found.business_id}/{owner.user_id}"
    return Notice(
        subject_ids=(subject_id,),
        kind=TEMPLATE,
        period_start=day,
        message=Message(
            recipient=owner.email,
            template=TEMPLATE,
            render=partial(messages.overdue_digest, found.addressed_to(owner)),
            reference=f"{BON.name}/{JOB}/{subject_id}/{day}",
        ),
        # Two digests on one day are a nuisance, and tomorrow's says the same again.
        may_repeat=False,
    )


SPEC = JobSpec(
    location=BON,
    name=JOB,
    schedule=Cron("0 6 * * *"),
    owner=OWNER,
    summary="Marks invoices that are overdue, resets those settled, and mails owners a digest once a day.",
    description=(
        "Sets is_overdue on invoices of status finalized, sent or partially_paid whose due date is before today in "
        "Israel, and clears it on those paid, cancelled or credited; updated_at moves along. Then mails every owner of "
        "an active business one digest a day of all its overdue invoices. Nothing is deleted. A flag set by mistake is "
        "cleared by hand; a mail cannot be taken back."
    ),
    settings=OverdueDetectionSettings,
    run=overdue_detection,
    prepare=prepare,
    database=DatabaseWork(
        targets=("invoices",),
        privileges={
            "invoices": ("SELECT", "UPDATE"),
            "businesses": ("SELECT",),
            "user_businesses": ("SELECT",),
            "users": ("SELECT",),
        },
    ),
    mail=MailWork(
        without_provider="invoices are marked all the same, and their owners are not told",
        forgets=lambda run, settings: is_older(run.as_of),  # noqa: ARG005 - a job's settings have no say in it
    ),
)
