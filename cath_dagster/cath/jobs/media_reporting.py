"""Report a week's media applications to the team, and purge what was reported if the policy says so."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from pydantic import Field
from sqlalchemy.dialects.postgresql import ARRAY

from cath_dagster.cath import CATH, OWNER, messages
from cath_dagster.cath.media_report import (
    FOLDER,
    Report,
    Week,
    read_applications,
    render,
    render_chart,
    row_digest,
    rows_reported,
    run_of,
    sha256_reported,
    week_of,
)
from cath_dagster.cath.tables import media_application
from cath_dagster.core.errors import ConfigurationError, IncompleteRunError
from cath_dagster.core.maintenance.tables import sent_notice
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import PurgeSettings
from cath_dagster.core.outbox.forgetting import Asking, is_older
from cath_dagster.core.outbox.notices import Notice
from cath_dagster.core.ports.blobs import BlobMissingError, BlobNameError, BlobStore, BlobStoreError, Removal
from cath_dagster.core.ports.mail import Delivery, Message
from cath_dagster.core.run.job_parts import DatabaseWork, MailWork, Partitions
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.planning import PlannedPurge
from cath_dagster.core.run.spec import JobSpec

JOB = "media_reporting"
TEMPLATE = "media_report"
KEPT_AS_DELIVERED = timedelta(weeks=520)
"""For so long a week that the team has is not written and sent anew, also where its report was deleted."""
REMOVABLE = ("APPROVED", "REJECTED")
KEYS_SHOWN = 10


class MediaReportingSettings(PurgeSettings):
    """What happens to the applications once reported, and to the reports once old."""

    load_only = frozenset({"start_date"})

    start_date: date = Field(
        default=date(2026, 1, 5), description="The Monday of the first week that is reported. Read when the code loads."
    )
    delete_reported: bool = Field(
        default=False,
        description="Delete the week's APPROVED and REJECTED applications exactly as reported, with their proof of "
        "identity, once the report was delivered.",
    )
    report_retention_weeks: int = Field(
        default=78, ge=1, le=5_000, description="Weeks after which a stored report is deleted, by the week it is about."
    )


@dataclass(frozen=True)
class Stored:
    """A week's report as it lies in the store."""

    run_id: str
    week: Week
    store: BlobStore

    def path(self, kind: str) -> str:
        return f"{FOLDER}/{self.week}/{self.run_id}.{kind}"

    @property
    def address(self) -> str:
        """Where a person finds the table."""
        return self.store.address(self.path("csv"))

    def exists(self) -> bool:
        """Whether it lies in the store still."""
        try:
            self.store.get(self.path("json"))
        except BlobMissingError:
            return False
        return True

    def rows(self) -> dict[str, int]:
        """Return ids and digests of the rows it reports."""
        path = self.path("json")
        try:
            return rows_reported(self.store.get(path))
        except ValueError:
            raise BlobStoreError(f"{path} is no longer what this job wrote; put it back, or delete it") from None

    def tells_all_of(self, report: Report) -> bool:
        """Whether it reports every row of another report as that does; rows may have been purged since."""
        return {application.application_id: application.digest for application in report.applications}.items() <= (
            self.rows().items()
        )


def media_reporting(run: JobRun, settings: MediaReportingSettings) -> None:
    """Write and mail the report of one week: the run's partition, the last week ended where it names none.

    Whatever a killed run left is finished here: a report that lies in the store unchanged is not written again,
    one that was delivered is not sent again, and rows are purged as the delivered report has them.
    """
    week = _week(run)
    store = run.backends.reports()
    report = render(week, run.database.transaction(lambda connection: read_applications(connection, week)))
    team = run.team_address(TEMPLATE) if report.applications else ""
    try:
        delivered = _delivered(run, store, week)
        if delivered is not None and not delivered.exists():
            run.note(f"the report of the week of {week} was delivered and is past its retention; nothing is written")
            return
        planned = _plan_purge(run, report, delivered) if settings.delete_reported else None
        known = _find_stored(run, store, report, delivered)
        stored = known or _store(run, store, report)
        if delivered is None and report.applications:
            _deliver(run, report, stored, team)
        else:
            run.record(Outcome(target="mail"))
        if planned is not None:
            # A report that a killed run sent may turn out to be what the team has, and to differ from this one.
            has = _delivered(run, store, week)
            _purge(run, planned, is_delivered=has is not None and has.run_id == (delivered or stored).run_id)
        else:
            run.record(_reported(report, stored))
        _delete_old_reports(run, store, settings)
    except BlobStoreError as error:
        raise IncompleteRunError(f"the report store failed: {error}; run again once it answers") from None


def _last_week(as_of: datetime) -> str:
    return str(Week.ended_before(as_of))


def _week(run: JobRun) -> Week:
    week = Week.of(run.request.partition or "")
    if week.end > run.as_of:
        raise ConfigurationError(
            f"the week of {week} ends at {week.end.isoformat()}, after as_of {run.as_of.isoformat()}; "
            "only a week that has ended is reported"
        )
    return week


def _delivered(run: JobRun, store: BlobStore, week: Week) -> Stored | None:
    """Return the report that the team was sent for a week."""
    query = sa.select(sent_notice.c.reference).where(
        sent_notice.c.job == JOB,
        sent_notice.c.kind == TEMPLATE,
        sent_notice.c.period_start == week.monday,
        sent_notice.c.status == Delivery.SENT.value,
    )
    reference = run.database.transaction(lambda connection: connection.scalar(query))
    return Stored(reference.rpartition("/")[2], week, store) if reference else None


def _find_stored(run: JobRun, store: BlobStore, report: Report, delivered: Stored | None) -> Stored | None:
    """Return a report in the store that says all that this one would.

    Where the store cannot be searched, none: the same is then stored once more, which harms nobody.
    """
    if delivered is not None and delivered.tells_all_of(report):
        return delivered
    try:
        paths = sorted(store.list(f"{FOLDER}/{report.week}"))
    except BlobNameError as error:
        run.note(f"whether this report is stored already cannot be looked up: {error}")
        return None
    for path in paths:
        run_id = run_of(path)
        if run_id is None:
            continue
        # What was listed may be gone.
        with contextlib.suppress(BlobMissingError):
            if sha256_reported(store.get(path)) == report.sha256:
                return Stored(run_id, report.week, store)
    return None


def _store(run: JobRun, store: BlobStore, report: Report) -> Stored:
    stored = Stored(run.run_id, report.week, store)
    if not run.dry_run:
        store.put(stored.path("csv"), report.csv)
        store.put(stored.path("png"), render_chart(report))
        # Last, because it says that the others are complete.
        store.put(stored.path("json"), report.as_json(run.run_id))
    run.record(Outcome(target="files", matched=3, updated=3))
    return stored


def _deliver(run: JobRun, report: Report, stored: Stored, team: str) -> None:
    is_too_large = not run.dry_run and len(report.csv) > run.backends.mailer().attachment_limit
    environment = messages.environment_name(run.optional("ENV_NAME"))
    message = Message(
        recipient=team,
        template=TEMPLATE,
        personalisation=messages.media_report(environment, stored.address if is_too_large else None),
        reference=f"{JOB}/{report.week}/{stored.run_id}",
        attachment=None if is_too_large else report.csv,
        file_name=f"media_applications_{report.week}.csv",
    )
    notice = Notice(
        subject_ids=("team",),
        kind=TEMPLATE,
        period_start=report.week.monday,
        message=message,
    )
    run.send([notice])


def _forgotten(run: Asking, settings: MediaReportingSettings) -> sa.ColumnElement[bool]:
    """Return which notices matter no more: of weeks so long ago that nobody will ask for their report again."""
    return is_older(run.as_of, max(KEPT_AS_DELIVERED, timedelta(weeks=2 * settings.report_retention_weeks)))


def _plan_purge(run: JobRun, report: Report, delivered: Stored | None) -> PlannedPurge:
    """Plan to delete the rows as the delivered report has them; where none was, as this one will."""
    run.require("BLOB_URL")
    rows = delivered.rows() if delivered else rows_reported(report.as_json(run.run_id))
    (planned,) = run.plan(_as_reported(rows, report.week))
    return planned


def _purge(run: JobRun, planned: PlannedPurge, *, is_delivered: bool) -> None:
    if is_delivered or run.dry_run:
        run.purge(planned)
    else:
        matched = planned.measured.matched
        run.record(Outcome(target="media_application", matched=matched, kept=matched))
        if matched:
            run.note("no application is deleted: this report was not delivered")
    run.drain_files()


def _as_reported(rows: dict[str, int], week: Week) -> Purge:
    """Return the purge of the rows that are still exactly what the report says of them."""
    ids = sa.literal(list(rows), ARRAY(sa.Text))
    digests = sa.literal(list(rows.values()), ARRAY(sa.BigInteger))
    reported = sa.func.unnest(ids, digests).table_valued("id", "digest", name="reported").render_derived()
    identity = sa.tuple_(sa.cast(media_application.c.id, sa.Text), row_digest())
    return Purge(
        table=media_application,
        rule=f"approved and rejected applications of the week of {week}, as reported",
        predicate=sa.and_(
            media_application.c.status.in_(REMOVABLE),
            identity.in_(sa.select(reported.c.id, reported.c.digest)),
        ),
        cutoff=week.end,
        age=media_application.c.applied_date,
        reads_other_rows=True,
        files=_proofs_of_identity,
    )


def _proofs_of_identity(chosen: sa.ColumnElement[bool]) -> sa.Select[tuple[str, str]]:
    # Older rows hold the path on a disk of long ago; the file is known by its last segment.
    name = sa.func.regexp_replace(media_application.c.proof_of_id_path, r"^.*[/\\]", "")
    key = sa.cast(media_application.c.id, sa.Text)
    return sa.select(key.label("key"), (sa.literal("files/") + name).label("path")).where(
        chosen, media_application.c.proof_of_id_path.is_not(None), name.not_in(("", ".", ".."))
    )


def _reported(report: Report, stored: Stored) -> Outcome:
    count = len(report.applications)
    return Outcome(
        target="media_application",
        kept=count,
        details={
            "week": str(report.week),
            **{status.lower(): number for status, number in report.by_status.items()},
            "report": stored.address,
        },
    )


def _delete_old_reports(run: JobRun, store: BlobStore, settings: MediaReportingSettings) -> None:
    oldest = run.as_of.date() - timedelta(weeks=settings.report_retention_weeks)
    old = [path for path in _stored_files(run, store, settings, oldest) if (week := week_of(path)) and week < oldest]
    if run.dry_run or not old:
        run.record(Outcome(target="files", matched=len(old)))
        return
    results = store.delete(old)
    removals = [result.removal for result in results.values()]
    failed = [f"{path} ({result.error})" for path, result in results.items() if result.removal is Removal.FAILED]
    run.record(Outcome(target="files", matched=len(old), deleted=removals.count(Removal.DELETED), failed=len(failed)))
    if failed:
        more = f" and {len(failed) - KEYS_SHOWN} more" if len(failed) > KEYS_SHOWN else ""
        run.fail(
            f"{len(failed)} files of old reports could not be deleted; the next run tries again: "
            f"{', '.join(failed[:KEYS_SHOWN])}{more}"
        )


def _stored_files(run: JobRun, store: BlobStore, settings: MediaReportingSettings, until: date) -> Iterator[str]:
    """Yield every stored file; where something else in the store stands in the way, those of each old week by itself."""
    try:
        paths = list(store.list(FOLDER))
    except BlobNameError as error:
        run.note(f"old reports are looked for week by week: {error}")
    else:
        yield from paths
        return
    monday = settings.start_date - timedelta(days=settings.start_date.weekday())
    while monday < until:
        try:
            yield from list(store.list(f"{FOLDER}/{monday}"))
        except BlobNameError as error:
            run.fail(f"old reports of the week of {monday} cannot be looked for: {error}")
        monday += timedelta(weeks=1)


SPEC = JobSpec(
    location=CATH,
    name=JOB,
    schedule=Cron("0 0 * * 1"),
    owner=OWNER,
    summary="Reports each week's media applications as CSV, chart and counts, and mails the team a link.",
    description=(
        "Writes a week's media applications as CSV, a chart and counts to the report store and mails the team a "
        "download link, once a week. Stored reports are deleted after 78 weeks. With delete_reported, the week's "
        "APPROVED and REJECTED applications are deleted exactly as reported, with their proof of identity, after "
        "the report was delivered; they cannot be brought back, unless undo_days is set."
    ),
    settings=MediaReportingSettings,
    run=media_reporting,
    required_variables=("REPORT_URL",),
    is_asset=True,
    timeout=timedelta(hours=1),
    database=DatabaseWork(
        targets=("media_application",),
        privileges={"media_application": ("SELECT", "UPDATE", "DELETE")},
    ),
    partitions=Partitions(default=_last_week, check=Week.of),
    mail=MailWork(
        without_provider="reports are stored and not mailed, and no application is deleted that no mailed report has",
        forgets=_forgotten,
    ),
)
