"""Warn of deletions, soft-delete surveys whose retention is over, and delete for good those whose grace is over too."""

from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from cath_dagster.checktick import CHECKTICK, OWNER, retention
from cath_dagster.checktick.console_report import report_governance
from cath_dagster.checktick.deletion import DEPENDENT, POLICY, TABLES, find_gaps
from cath_dagster.checktick.erasure import Eraser, SurveyPurge, select_files
from cath_dagster.checktick.exempt import as_details, find_exempt, why_not_hard_deleted, why_not_soft_deleted
from cath_dagster.checktick.files_left import record_files_left
from cath_dagster.checktick.marking import Marker
from cath_dagster.checktick.retention import JOB, DataGovernanceSettings
from cath_dagster.checktick.survey_batches import fail_for_surveys, take_surveys
from cath_dagster.checktick.tables import response, survey
from cath_dagster.checktick.warnings import check_mail, find_due, has_warning, no_longer_matters, send_warnings
from cath_dagster.core.ledger.ledger import Plan
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Planning, Purge
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.purge.weighted_batches import WeightedBatches
from cath_dagster.core.run.job_parts import Change, DatabaseWork, MailWork, Step
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

SURVEYS = survey.name
SOFT_RULE = "closed surveys whose date of deletion has come"
HARD_RULE = "soft-deleted surveys whose date of hard deletion has come"


def prepare(run: JobRun, settings: DataGovernanceSettings) -> None:
    """Look for what speaks against any of the steps, before the first of them writes or sends anything."""
    run.refuse(run.database.transaction(find_gaps))
    check_mail(run, run.database.transaction(partial(find_due, settings=settings, as_of=run.as_of)))
    run.plan(*purges(run, settings))


def purges(planning: Planning, settings: DataGovernanceSettings) -> list[Purge]:
    """Return the surveys to be deleted for good, with all that goes along."""
    del settings
    return [
        SurveyPurge(
            table=survey,
            rule=HARD_RULE,
            predicate=retention.is_hard_deletable(planning.as_of),
            cutoff=planning.as_of,
            age=survey.c.hard_deletion_date,
            reads_other_rows=True,
            files=select_files,
            conditions=retention.hard_deletion_conditions(planning.as_of),
        )
    ]


def change(planning: Planning, settings: DataGovernanceSettings) -> Change:
    """Return the soft deletion, which comes before the other."""
    return Change(
        table=survey,
        rule=SOFT_RULE,
        says="soft-deleted",
        predicate=retention.is_soft_deletable(planning.as_of),
        is_made=survey.c.deleted_at.is_not(None),
        values=retention.soft_deletion_values(planning.as_of, timedelta(days=settings.grace_days)),
        conditions=retention.soft_deletion_conditions(planning.as_of),
    )


def soft_delete(run: JobRun, settings: DataGovernanceSettings) -> None:
    """Mark the closed surveys whose date has come as deleted; what stands in the way is counted and named."""
    due = retention.is_soft_deletable(run.as_of)
    past = sa.or_(retention.is_past_soft_deletion(run.as_of), retention.is_undated())
    exempt = run.database.transaction(partial(find_exempt, why=why_not_soft_deleted(), is_past=past))
    ids = _find(run, due, survey.c.deletion_date)
    run.ledger.plan(Plan(table=SURVEYS, rule=SOFT_RULE, cutoff=run.as_of, matched=len(ids)))
    details: dict[str, Scalar] = {
        **as_details("soft", exempt),
        "soft_unwarned": _count(run, due, ~has_warning()),
        "soft_with_open_request": _count(run, due, retention.has_open_request()),
    }
    kept = sum(each.count for each in exempt)
    if run.dry_run:
        run.record(Outcome(target=SURVEYS, matched=len(ids), details={**details, "would_soft_delete": len(ids)}))
        return
    marker = Marker(
        ledger=run.ledger,
        as_of=run.as_of,
        now=run.request.now,
        grace=timedelta(days=settings.grace_days),
        rule=SOFT_RULE,
    )
    batches = take_surveys(run, ids, settings, marker.mark)
    done = run.ledger.recorded().get(SURVEYS, {}).get("updated", 0)
    _finish(run, batches, "soft_deleted", done=done, kept=kept, due=len(ids), details=details)


def hard_delete(run: JobRun, settings: DataGovernanceSettings) -> None:
    """Delete for good the surveys whose grace is over, with every row and file of theirs; leave a record of each."""
    due = retention.is_hard_deletable(run.as_of)
    past = sa.or_(
        retention.is_past_hard_deletion(run.as_of),
        sa.and_(survey.c.deleted_at.is_not(None), survey.c.hard_deletion_date.is_(None)),
    )
    exempt = run.database.transaction(partial(find_exempt, why=why_not_hard_deleted(), is_past=past))
    ids = _find(run, due, survey.c.hard_deletion_date)
    is_frozen = sa.exists().where(response.c.survey_id == survey.c.id, response.c.is_frozen)
    details: dict[str, Scalar] = {
        **as_details("hard", exempt),
        "hard_with_open_request": _count(run, due, retention.has_open_request()),
        "hard_with_frozen_response": _count(run, due, is_frozen),
    }
    kept = sum(each.count for each in exempt)
    if run.dry_run:
        for planned in run.planned:
            run.purge(planned)
        run.record(Outcome(target=SURVEYS, details={**details, "would_hard_delete": len(ids)}))
        run.drain_files()
        return
    eraser = Eraser(
        ledger=run.ledger, job=run.job, run_id=run.run_id, as_of=run.as_of, now=run.request.now, rule=HARD_RULE
    )
    batches = take_surveys(run, ids, settings, eraser.erase)
    recorded = run.ledger.recorded()
    for table in DEPENDENT:
        counts = recorded.get(table.name, {})
        run.record(Outcome.of(table.name, {**counts, "matched": counts.get("deleted", 0)}))
    done = recorded.get(SURVEYS, {}).get("deleted", 0)
    _finish(run, batches, "hard_deleted", done=done, kept=kept, due=len(ids), details=details)
    run.drain_files()


def _find(run: JobRun, due: sa.ColumnElement[bool], date: sa.Column[object]) -> list[int]:
    """Return the surveys that are due, the longest due first."""
    query = sa.select(survey.c.id).where(due).order_by(date, survey.c.id)
    return run.database.transaction(lambda connection: list(connection.scalars(query)))


def _count(run: JobRun, *conditions: sa.ColumnElement[bool]) -> int:
    return run.count(sa.select(sa.func.count()).select_from(survey).where(*conditions))


def _finish(
    run: JobRun, batches: WeightedBatches, purpose: str, *, done: int, kept: int, due: int, details: dict[str, Scalar]
) -> None:
    """Record what was done to the surveys, and fail the run for those that failed."""
    run.account.take(done)
    left = max(0, due - done - len(batches.failed)) if run.account.room() == 0 else 0
    failed: dict[str, Scalar] = {f"not_{purpose}_ids": [str(key) for key in sorted(batches.failed)]}
    counts = run.ledger.recorded().get(SURVEYS, {})
    run.record(
        Outcome(
            target=SURVEYS,
            matched=max(due, done),
            deleted=counts.get("deleted", 0),
            updated=counts.get("updated", 0),
            failed=len(batches.failed),
            kept=kept,
            skipped=left,
            batches=batches.runner.progress.batches,
            longest_transaction_seconds=batches.runner.progress.longest_seconds,
            details={**details, purpose: done, **(failed if batches.failed else {})},
        )
    )
    if left:
        run.note(f"max_rows reached: {left:,} surveys are left for the next run")
    fail_for_surveys(run, batches, purpose.replace("_", "-"))


def _privileges() -> dict[str, tuple[str, ...]]:
    """Return what the deletion needs on every table of which rows go or change."""
    changed = {reference.child.name for reference in POLICY if reference.is_kept}
    wanted = {table.name: ("SELECT", "DELETE", *(("UPDATE",) if table.name in changed else ())) for table in TABLES}
    wanted["surveys_legalhold"] = ("SELECT", "UPDATE", "DELETE")
    wanted["surveys_auditlog"] = ("SELECT", "INSERT", "DELETE")
    return wanted | {"auth_user": ("SELECT",)}


SPEC = JobSpec(
    location=CHECKTICK,
    name=JOB,
    schedule=Cron("0 2 * * *"),
    owner=OWNER,
    summary="Warns owners of deletions to come, soft-deletes surveys past retention, deletes them for good 30 days later.",
    description=(
        "Warns the owner by e-mail 30, 7 and 1 days before a closed survey's deletion date, soft-deletes it on that date, "
        "and 30 days after that deletes it for good: encryption keys overwritten, every dependent row deleted, files "
        "removed, and a row in surveys_auditlog left that says so. A legal hold stops both, and so does publishing the "
        "survey again. A soft-deleted survey is brought back by setting deleted_at and hard_deletion_date to NULL and "
        "deletion_date to a later day; one that was deleted for good cannot be."
    ),
    settings=DataGovernanceSettings,
    steps=(
        Step(
            name="send_warnings",
            run=send_warnings,
            summary="Warn owners 30, 7 and 1 days before a deletion, once for each survey, tier and date.",
            targets=("mail",),
        ),
        Step(
            name="soft_delete",
            run=soft_delete,
            summary="Mark closed surveys whose deletion date has come as deleted.",
            targets=(SURVEYS,),
        ),
        Step(
            name="hard_delete",
            run=hard_delete,
            summary="Delete for good what was soft-deleted 30 days ago, with all that goes along, and leave a record.",
            purges=True,
            targets=(SURVEYS, *(table.name for table in DEPENDENT)),
        ),
    ),
    prepare=prepare,
    required_variables=("MEDIA_URL",),
    database=DatabaseWork(
        targets=(SURVEYS, *(table.name for table in DEPENDENT)),
        purges=purges,
        change=change,
        privileges=_privileges(),
        age_columns={SURVEYS: "hard_deletion_date"},
        on_files_left=record_files_left,
    ),
    mail=MailWork(
        without_provider="surveys are deleted all the same, and their owners are not warned",
        forgets=no_longer_matters,
    ),
    console_report=report_governance,
)
