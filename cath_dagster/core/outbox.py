"""Delete the files of deleted rows: queued in the rows' own transaction, deleted after its commit.

Killed between the two, a run leaves its queue to the next. Deleting a file twice does no harm, forgetting one does. A
file is due at once, or when its row can no longer be brought back. One whose row is there again is let be: a file of
two rows is deleted when neither is there, and both are due.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.blobs import BlobStore, Removal, RemovalResult
from cath_dagster.core.database import Database
from cath_dagster.core.maintenance import file_outbox
from cath_dagster.core.outcome import Outcome
from cath_dagster.core.relations import existing_keys, read_relation

FILES_AT_ONCE = 500


@dataclass(frozen=True)
class _Batch:
    """Entries of the queue: those to be deleted, and those whose rows are there again."""

    last: int
    files: tuple[tuple[int, str], ...]
    needed: tuple[str, ...]


def queue(
    connection: sa.Connection,
    files: sa.Select[tuple[str, str]],
    *,
    job: str,
    run_id: str,
    table: str,
    due_at: datetime | None,
) -> None:
    """Queue the files of rows about to be deleted, given their keys and paths, in the caller's transaction."""
    chosen = files.distinct().subquery()
    key, path = chosen.c
    values = {
        "job": sa.literal(job),
        "run_id": sa.literal(run_id),
        "table_name": sa.literal(table),
        "row_key": key,
        "path": path,
        "due_at": sa.literal(due_at, sa.DateTime(timezone=True)),
    }
    statement = insert(file_outbox).from_select(list(values), sa.select(*values.values()))
    # A row that was restored and is deleted again: its files wait for the later instant.
    later = sa.func.greatest(file_outbox.c.due_at, statement.excluded.due_at)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["path", "table_name", "row_key"],
            set_={"due_at": later, "run_id": statement.excluded.run_id},
        )
    )


def take_off(connection: sa.Connection, table: str, keys: list[str]) -> int:
    """Take the files of rows that are there again off the queue, whoever queued them; return how many files."""
    theirs = sa.select(file_outbox.c.path).where(file_outbox.c.table_name == table, file_outbox.c.row_key.in_(keys))
    statement = sa.delete(file_outbox).where(file_outbox.c.path.in_(theirs)).returning(file_outbox.c.path)
    return len(set(connection.scalars(statement)))


def count_due(database: Database, job: str, as_of: datetime) -> int:
    """Return how many files a job's run of that reference time would delete."""
    return sum(len(batch.files) for batch in _batches(database, job, as_of))


def count_held(connection: sa.Connection, job: str, as_of: datetime) -> int:
    """Return how many of a job's files wait for the end of their window."""
    held = file_outbox.c.job == job, file_outbox.c.due_at > as_of
    return connection.scalar(sa.select(sa.func.count(file_outbox.c.path.distinct())).where(*held)) or 0


def drain(
    database: Database, store: BlobStore, *, job: str, as_of: datetime, report: Callable[[str, int, int], None]
) -> Outcome:
    """Delete a job's queued files that are due; one that fails stays queued and is tried by the next run.

    `skipped` counts files that were not there, `kept` those whose rows are there again.
    """
    # A crash of the server must not bring a row back whose file is gone.
    database.flush()
    total = count_due(database, job, as_of)
    counts = dict.fromkeys(Removal, 0)
    batches, kept = 0, 0
    for batch in _batches(database, job, as_of):
        results = store.delete([path for _, path in batch.files]) if batch.files else {}
        database.transaction(partial(_settle, batch, results))
        for result in results.values():
            counts[result.removal] += 1
        kept += len(batch.needed)
        batches += 1
        report("files", sum(counts.values()), total)
    return Outcome(
        target="files",
        matched=sum(counts.values()),
        deleted=counts[Removal.DELETED],
        skipped=counts[Removal.MISSING],
        failed=counts[Removal.FAILED],
        kept=kept,
        batches=batches,
    )


def _batches(database: Database, job: str, as_of: datetime) -> Iterator[_Batch]:
    after = 0
    while batch := database.transaction(partial(_next_batch, job, as_of, after)):
        after = batch.last
        yield batch


def _next_batch(job: str, as_of: datetime, after: int, connection: sa.Connection) -> _Batch | None:
    other, first = file_outbox.alias("other"), file_outbox.alias("first")
    is_due = sa.or_(file_outbox.c.due_at.is_(None), file_outbox.c.due_at <= as_of)
    is_held = sa.exists().where(other.c.path == file_outbox.c.path, other.c.due_at > as_of)
    # A file that several rows had is queued several times, and deleted once.
    is_repeated = sa.exists().where(
        first.c.path == file_outbox.c.path, first.c.job == job, first.c.file_id < file_outbox.c.file_id
    )
    query = (
        sa.select(file_outbox.c.file_id, file_outbox.c.path)
        .where(file_outbox.c.job == job, file_outbox.c.file_id > after, is_due, ~is_held, ~is_repeated)
        .order_by(file_outbox.c.file_id)
        .limit(FILES_AT_ONCE)
    )
    rows = [(file_id, path) for file_id, path in connection.execute(query)]
    if not rows:
        return None
    needed = _needed(connection, [path for _, path in rows])
    return _Batch(rows[-1][0], tuple(row for row in rows if row[1] not in needed), tuple(sorted(needed)))


def _needed(connection: sa.Connection, paths: list[str]) -> set[str]:
    """Return which of the files belong to a row that is there again."""
    query = sa.select(file_outbox.c.table_name, file_outbox.c.row_key, file_outbox.c.path).where(
        file_outbox.c.path.in_(paths), file_outbox.c.table_name != ""
    )
    owners: dict[str, dict[str, set[str]]] = {}
    for table, key, path in connection.execute(query):
        owners.setdefault(table, {}).setdefault(key, set()).add(path)
    needed: set[str] = set()
    for table, paths_of in owners.items():
        relation = read_relation(connection, table)
        if relation is not None:
            needed.update(*(paths_of[key] for key in existing_keys(connection, relation, list(paths_of))))
    return needed


def _settle(batch: _Batch, results: Mapping[str, RemovalResult], connection: sa.Connection) -> None:
    failed = [(file_id, path) for file_id, path in batch.files if results[path].removal is Removal.FAILED]
    left = {path for _, path in failed}
    gone = [path for _, path in batch.files if path not in left]
    if gone or batch.needed:
        connection.execute(sa.delete(file_outbox).where(file_outbox.c.path.in_([*gone, *batch.needed])))
    for file_id, path in failed:
        connection.execute(
            sa.update(file_outbox)
            .where(file_outbox.c.file_id == file_id)
            .values(attempts=file_outbox.c.attempts + 1, last_error=results[path].error)
        )
