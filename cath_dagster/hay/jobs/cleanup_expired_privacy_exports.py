"""Take exports of personal data back once their time is over: the row's path and token, and the file."""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.core.ledger.ledger import Plan
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Keys
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron, Retry
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.outbox.files import queue
from cath_dagster.core.ports.blobs import BlobStore, BlobStoreError
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.purge.batch import BatchCounts
from cath_dagster.core.purge.batch_runner import BatchRunner, Progress
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from cath_dagster.core.purge.weighted_batches import WeightedBatches
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.hay import HAY, OWNER, exports
from cath_dagster.hay.exports import CleanupExpiredPrivacyExportsSettings, Folder
from cath_dagster.hay.tables import privacy_requests
from cath_dagster.hay.zone import check_zone

STORE = HAY.file_store
RULE = "exports whose time is over"
TABLE = privacy_requests.name
AT_ONCE = 500
SHOWN = 10


def prepare(run: JobRun, settings: CleanupExpiredPrivacyExportsSettings) -> None:
    """Look at the zone, and whether the folder's address is one."""
    check_zone(run, settings)
    _open_store(run)


def cleanup_expired_privacy_exports(run: JobRun, settings: CleanupExpiredPrivacyExportsSettings) -> None:
    """Take back the rows' secrets and queue their files in one transaction; then delete those, and what no row knows."""
    run.preflight()
    store = _open_store(run)
    folder = _read_folder(run, store) if store is not None else None
    due = run.database.transaction(partial(_find_due, run, settings))
    run.ledger.plan(Plan(table=TABLE, rule=RULE, cutoff=run.as_of, matched=len(due)))
    if run.dry_run:
        _foresee(run, settings, due, folder)
        return
    done = _take_back(run, settings, due, has_folder=store is not None)
    if store is None:
        _tell_unreachable(run, done)
        return
    if folder is not None:
        orphans = _orphans(run, folder, settings)
        run.database.transaction(partial(_queue, run, exports.named(orphans)))
    run.drain_files()


def _open_store(run: JobRun) -> BlobStore | None:
    return run.backends.store(STORE) if run.optional(STORE) else None


def _read_folder(run: JobRun, store: BlobStore) -> Folder | None:
    """Return what lies in the folder, None where it cannot be listed: then only the files of rows are deleted."""
    try:
        return Folder.read(store)
    except BlobStoreError as error:
        run.fail(f"files of which no export knows cannot be looked for: {error}; the next run tries again")
        return None


def _find_due(run: JobRun, settings: CleanupExpiredPrivacyExportsSettings, connection: sa.Connection) -> Sequence[UUID]:
    query = sa.select(privacy_requests.c.id).where(exports.is_due(run.as_of, settings))
    return connection.scalars(query.order_by(privacy_requests.c.completed_at, privacy_requests.c.id)).all()


def _orphans(run: JobRun, folder: Folder, settings: CleanupExpiredPrivacyExportsSettings) -> list[str]:
    """Return the files that nobody may have any more, decided after the rows were: an export that is valid keeps its file."""
    valid = run.database.transaction(lambda connection: exports.find_valid(connection, folder, run.as_of, settings))
    return folder.orphans(valid, run.as_of - timedelta(days=settings.orphan_days))


def _foresee(
    run: JobRun, settings: CleanupExpiredPrivacyExportsSettings, due: Sequence[UUID], folder: Folder | None
) -> None:
    """Count what a run would take back and delete; nothing is changed."""
    details: dict[str, Scalar] = {"sample_ids": [str(each) for each in due[:SHOWN]]} if due else {}
    if run.optional(STORE) is None:
        details["unreachable"] = len(due)
    run.record(Outcome(target=TABLE, matched=len(due), details=details))
    if folder is not None:
        files = {*folder.of(due), *_orphans(run, folder, settings)}
        run.record(Outcome(target="files", matched=len(files)))


def _take_back(
    run: JobRun, settings: CleanupExpiredPrivacyExportsSettings, due: Sequence[UUID], *, has_folder: bool
) -> int:
    """Take back what is due still, as far as there is room; return how many rows."""
    started, room = run.clock(), run.account.room()
    chosen = due if room is None else due[:room]

    def work(ids: Keys, connection: sa.Connection) -> BatchCounts:
        statement = (
            sa.update(privacy_requests)
            .where(is_any(privacy_requests.c.id, ids), exports.is_due(run.as_of, settings))
            .values(exports.without_secrets(run.as_of))
            .returning(privacy_requests.c.id)
        )
        taken = list(connection.scalars(statement))
        if has_folder:
            _queue(run, exports.files_of(taken), connection)
        run.ledger.record_batch(connection, {TABLE: {"updated": len(taken)}}, rule=RULE, cutoff=run.as_of)
        return BatchCounts(len(ids), len(taken))

    pacer = Pacer(PACE_LIMITS[Pace.BULK], clock=run.clock)
    batches = WeightedBatches(
        runner=BatchRunner(database=run.database, pacer=pacer, progress=Progress(), clock=run.clock),
        work=work,
        weights={},
        most_rows=AT_ONCE,
        most_weight=AT_ONCE,
        report=lambda done, total: run.reporter.progress(TABLE, done, total),
    )
    batches.take(chosen)
    done = run.ledger.recorded().get(TABLE, {}).get("updated", 0)
    run.account.take(done)
    run.record(
        Outcome(
            target=TABLE,
            matched=max(len(due), done),
            updated=done,
            failed=len(batches.failed),
            skipped=len(due) - len(chosen),
            batches=batches.runner.progress.batches,
            longest_transaction_seconds=batches.runner.progress.longest_seconds,
            seconds=run.clock() - started,
        )
    )
    if len(chosen) < len(due):
        run.note(f"max_rows reached: {len(due) - len(chosen):,} exports are left for the next run")
    if batches.failed:
        told = [f"{each}: {why}" for each, why in list(batches.failed.items())[:SHOWN]]
        run.fail(f"{len(batches.failed)} exports could not be taken back ({'; '.join(told)}); the next run tries again")
    return done


def _queue(run: JobRun, files: sa.Select[tuple[str, str]], connection: sa.Connection) -> None:
    """Queue files that belong to no row which may come back: a request stays when its export goes."""
    queue(connection, files, job=run.job, run_id=run.run_id, table="", due_at=None)


def _tell_unreachable(run: JobRun, count: int) -> None:
    run.record(Outcome(target=TABLE, details={"unreachable": count}))
    if count:
        run.note(
            f"the files of {count} exports stay where they are: set {HAY.prefix}_{STORE} to the folder of the exports, and files "
            "that no valid export knows go with a later run"
        )


SPEC = JobSpec(
    location=HAY,
    name="cleanup_expired_privacy_exports",
    schedule=Cron("0 2 * * *"),
    timeout=timedelta(minutes=10),
    retry=Retry(attempts=3),
    owner=OWNER,
    summary="Takes back exports of personal data whose time is over: path and token in the row, and the file.",
    description=(
        "Removes exportUrl and downloadToken from the metadata of completed exports that have expired, were downloaded as often as "
        "allowed more than a day ago, or do not say when they expire and are a week old; exportDeletedAt comes in. Where "
        "HAY_EXPORTS_URL names their folder, their files are deleted, and after seven days files named as exports of which no valid one "
        "knows. A file of another name is never touched. What was deleted cannot be brought back; who needs it asks anew."
    ),
    settings=CleanupExpiredPrivacyExportsSettings,
    run=cleanup_expired_privacy_exports,
    prepare=prepare,
    database=DatabaseWork(
        targets=(TABLE,),
        privileges={TABLE: ("SELECT", "UPDATE")},
    ),
)
