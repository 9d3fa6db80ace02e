"""Tell the team about artefacts that match no location, and remove those that have waited long enough."""

from datetime import datetime, timedelta

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.cath import CATH, OWNER
from cath_dagster.cath.artefacts import is_location, removal
from cath_dagster.cath.messages import Sighting, environment_name, no_match_report
from cath_dagster.cath.tables import artefact, artefact_archive
from cath_dagster.core.instants import naive_utc
from cath_dagster.core.maintenance.tables import sent_notice
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import Days, PurgeSettings
from cath_dagster.core.outbox.forgetting import Asking, is_older
from cath_dagster.core.outbox.notices import Notice
from cath_dagster.core.ports.mail import Delivery, Message
from cath_dagster.core.run.job_parts import DatabaseWork, MailWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

JOB = "no_match_artefacts"
TEMPLATE = "no_match_report"
MAX_REMOVED = 500
"""Removed artefacts that one mail names, the newest first: where no mail was ever delivered there may be years of them."""


class NoMatchArtefactsSettings(PurgeSettings):
    """How long the team has to add the missing location."""

    retention_days: Days = Field(
        default=7, description="Days after their receipt for which no-match artefacts are kept, by last_received_date."
    )
    undo_days: Days = Field(
        default=30,
        description="Days for which removed artefacts, with their files, can be brought back by `cath-dagster restore`; "
        "0 keeps nothing and deletes the files at once.",
    )
    archive_personal_data_because: str = Field(
        default="a list that was removed because its location was not added in time is published once it is, and is found "
        "by the names and numbers of its cases",
        description="Why what removed artefacts say of cases may be kept for undo_days, in words.",
    )


def no_match_artefacts(run: JobRun, settings: NoMatchArtefactsSettings) -> None:
    """Report every no-match artefact once a day, and remove those received too long ago.

    One whose location id is by chance that of an existing location is displayed there: it may be a genuine list
    that an upload has turned into a no-match one, so it is listed apart and leaves only when it expires.
    """
    notices = _report(run)
    (planned,) = run.plan(*purges(run, settings))
    run.send(notices)
    run.purge(planned)
    is_old = artefact.c.last_received_date < naive_utc(_cutoff(run, settings))
    to_review = (artefact.c.no_match, is_old, is_location(artefact.c.location_id))
    kept = run.count(sa.select(sa.func.count()).select_from(artefact).where(*to_review))
    run.record(Outcome(target="artefact", kept=kept))
    run.drain_files()


def purges(planning: Planning, settings: NoMatchArtefactsSettings) -> list[Purge]:
    """Return the purge of the no-match artefacts received too long ago."""
    cutoff = _cutoff(planning, settings)
    conditions = {
        "the artefact matches no location": artefact.c.no_match,
        f"received more than {settings.retention_days} days ago": artefact.c.last_received_date < naive_utc(cutoff),
        "its location id is no existing location's": sa.not_(is_location(artefact.c.location_id)),
    }
    return [
        removal(
            rule=f"no-match artefacts received more than {settings.retention_days} days ago",
            predicate=sa.and_(*conditions.values()),
            cutoff=cutoff,
            run_id=planning.run_id,
            reads_other_rows=True,
            conditions=conditions,
        )
    ]


def _cutoff(planning: Planning, settings: NoMatchArtefactsSettings) -> datetime:
    return planning.as_of - timedelta(days=settings.retention_days)


def _report(run: JobRun) -> list[Notice]:
    sightings, to_review = _sightings(run)
    removed = _removed_unreported(run)
    if not (sightings or to_review or removed):
        return []
    day = run.as_of.date()
    message = Message(
        recipient=run.team_address(TEMPLATE),
        template=TEMPLATE,
        personalisation=no_match_report(sightings, to_review, removed, environment_name(run.optional("ENV_NAME"))),
        reference=f"{JOB}/{day}",
    )
    notice = Notice(subject_ids=("team",), kind=TEMPLATE, period_start=day, message=message)
    return [notice]


def _sightings(run: JobRun) -> tuple[list[Sighting], list[Sighting]]:
    """Return the no-match artefacts, and apart from them those whose location id is an existing location's."""
    query = (
        sa.select(*_sighted(artefact), is_location(artefact.c.location_id))
        .where(artefact.c.no_match)
        .order_by(artefact.c.location_id, artefact.c.artefact_id)
    )
    rows = run.database.transaction(lambda connection: connection.execute(query).all())
    found: dict[bool, list[Sighting]] = {False: [], True: []}
    for *sighted, needs_review in rows:
        found[needs_review].append(Sighting(*sighted))
    return found[False], found[True]


def _removed_unreported(run: JobRun) -> list[Sighting]:
    """Return the artefacts that were removed and that no delivered report has ever named.

    A report that fails does not hold the removal up, and what was removed meanwhile is not forgotten.
    """
    last_delivered = (
        sa.select(sa.func.max(sa.func.timezone("UTC", sent_notice.c.as_of)))
        .where(sent_notice.c.job == JOB, sent_notice.c.status == Delivery.SENT.value)
        .scalar_subquery()
    )
    query = (
        sa.select(*_sighted(artefact_archive))
        .where(
            artefact_archive.c.no_match,
            sa.or_(last_delivered.is_(None), artefact_archive.c.last_received_date > last_delivered),
        )
        .order_by(artefact_archive.c.last_received_date.desc(), artefact_archive.c.artefact_id)
        .limit(MAX_REMOVED)
    )
    rows = run.database.transaction(lambda connection: connection.execute(query).all())
    return [Sighting(*row) for row in rows]


def _forgotten(run: Asking, settings: NoMatchArtefactsSettings) -> sa.ColumnElement[bool]:
    """Return which notices matter no more: old ones, but for the last that the team got, from which reports go on."""
    del settings
    other = sent_notice.alias("other")
    last = sa.select(sa.func.max(other.c.as_of)).where(other.c.job == JOB, other.c.status == Delivery.SENT.value)
    is_last = sa.func.coalesce(sent_notice.c.as_of == last.scalar_subquery(), sa.false())
    return sa.and_(is_older(run.as_of), sa.not_(is_last))


def _sighted(table: sa.Table) -> tuple[sa.ColumnElement[str], ...]:
    return table.c.location_id, table.c.provenance, sa.cast(table.c.artefact_id, sa.Text)


SPEC = JobSpec(
    location=CATH,
    name=JOB,
    schedule=Cron("0 1 * * *"),
    owner=OWNER,
    summary="Reports artefacts that match no location to the team, and removes those received over 7 days ago.",
    description=(
        "Mails the team one line for every artefact with no_match (location id, provenance, artefact id), once a "
        "day. Removes those received more than 7 days ago like expired ones: metadata into "
        "maintenance.artefact_archive, row and search rows deleted. For 30 days they can be brought back, by "
        "cath-dagster restore RUN_ID; then their files are deleted. Not removed: those whose location id "
        "equals an existing location's; the mail lists them apart as to be reviewed."
    ),
    settings=NoMatchArtefactsSettings,
    run=no_match_artefacts,
    required_variables=("BLOB_URL",),
    database=DatabaseWork(
        targets=("artefact", "artefact_search"),
        purges=purges,
        privileges={
            "artefact": ("SELECT", "UPDATE", "DELETE"),
            "artefact_search": ("SELECT", "DELETE"),
            "maintenance.artefact_archive": ("SELECT", "INSERT"),
            "location": ("SELECT",),
            "ingestion_log": ("SELECT",),
        },
        age_columns={"artefact": "last_received_date"},
    ),
    mail=MailWork(
        without_provider="artefacts are removed all the same, and the team is not told",
        forgets=_forgotten,
    ),
)
