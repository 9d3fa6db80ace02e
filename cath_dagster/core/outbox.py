"""Delete the files of deleted rows: queued in the rows' own transaction, deleted after its commit.

Killed between the two, a run leaves its queue to the next. Deleting a file twice does no harm, forgetting one does.
"""

from collections.abc import Callable, Mapping
from functools import partial

import sqlalchemy as sa

from cath_dagster.core.blobs import BlobStore, Removal, RemovalResult
from cath_dagster.core.database import Database
from cath_dagster.core.maintenance import file_outbox
from cath_dagster.core.outcome import Outcome

FILES_AT_ONCE = 500


def count_queued(connection: sa.Connection, job: str) -> int:
    """Return how many files wait to be deleted for a job."""
    return connection.scalar(sa.select(sa.func.count()).where(file_outbox.c.job == job)) or 0


def drain(database: Database, store: BlobStore, *, job: str, report: Callable[[str, int, int], None]) -> Outcome:
    """Delete every queued file of a job; a file that fails stays queued and is tried by the next run.

    `skipped` counts files that were not there.
    """
    # A crash of the server must not bring a row back whose file is gone.
    database.flush()
    total = database.transaction(lambda connection: count_queued(connection, job))
    counts = dict.fromkeys(Removal, 0)
    after, batches = 0, 0
    while rows := database.transaction(partial(_next_files, job, after)):
        results = store.delete([path for _, path in rows])
        database.transaction(partial(_settle, rows, results))
        for result in results.values():
            counts[result.removal] += 1
        after, batches = rows[-1][0], batches + 1
        report("files", sum(counts.values()), total)
    return Outcome(
        target="files",
        matched=sum(counts.values()),
        deleted=counts[Removal.DELETED],
        skipped=counts[Removal.MISSING],
        failed=counts[Removal.FAILED],
        batches=batches,
    )


def _next_files(job: str, after: int, connection: sa.Connection) -> list[tuple[int, str]]:
    query = (
        sa.select(file_outbox.c.file_id, file_outbox.c.path)
        .where(file_outbox.c.job == job, file_outbox.c.file_id > after)
        .order_by(file_outbox.c.file_id)
        .limit(FILES_AT_ONCE)
    )
    return [(file_id, path) for file_id, path in connection.execute(query)]


def _settle(rows: list[tuple[int, str]], results: Mapping[str, RemovalResult], connection: sa.Connection) -> None:
    gone = [file_id for file_id, path in rows if results[path].removal is not Removal.FAILED]
    if gone:
        connection.execute(sa.delete(file_outbox).where(file_outbox.c.file_id.in_(gone)))
    for file_id, path in rows:
        if results[path].removal is Removal.FAILED:
            connection.execute(
                sa.update(file_outbox)
                .where(file_outbox.c.file_id == file_id)
                .values(attempts=file_outbox.c.attempts + 1, last_error=results[path].error)
            )
