"""Delete the files of deleted rows: queued in the rows' own transaction, deleted after its commit.

Killed between the two, a run leaves its queue to the next. Deleting a file twice does no harm, forgetting one does. A
file is due at once, or when its row can no longer be brought back. One whose row is there again is let be: a file of
two rows is deleted when neither is there, and both are due.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from cath_dagster.core.maintenance.tables import file_outbox
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.outbox.left_files import Leaving
from cath_dagster.core.ports.blobs import BlobStore, Removal, RemovalResult
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.postgres.relations import existing_keys, read_relation

FILES_AT_ONCE = 500
NOTHING_ELSEWHERE = Leaving(folders=())
"""Where it is not known in which folders a service keeps its files, a missing one is taken to be gone."""
FILES_IN_MEMORY = 100_000
"""Files that one look at the queue finds; a number each, 4 MB."""


@dataclass(frozen=True)
class _File:
    """A file with all its entries in the queue, `file_id` being the job's own first."""

    file_id: int
    path: str
    entries: tuple[int, ...]


@dataclass(frozen=True)
class _Batch:
    """Files to be deleted, and those whose rows are there again."""

    files: tuple[_File, ...]
    needed: tuple[_File, ...]


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
    database: Database,
    store: BlobStore,
    *,
    job: str,
    as_of: datetime,
    report: Callable[[str, int, int], None],
    leaving: Leaving = NOTHING_ELSEWHERE,
) -> Outcome:
    """Delete a job's queued files that are due; one that fails stays queued and is tried by the next run.

    `skipped` counts files that were not there or cannot be, `kept` those whose rows are there again; what is left by hand
    is among the details.
    """
    # A crash of the server must not bring a row back whose file is gone.
    database.flush()
    total = count_due(database, job, as_of)
    counts = dict.fromkeys(Removal, 0)
    batches, kept, left = 0, 0, 0
    for batch in _batches(database, job, as_of):
        results = store.delete([file.path for file in batch.files]) if batch.files else {}
        by_hand = leaving.reasons(results)
        database.transaction(partial(_settle, batch, results, leaving, by_hand))
        for path, result in results.items():
            counts[Removal.MISSING if path in by_hand else result.removal] += 1
        left += len(by_hand)
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
        details={"left_by_hand": left} if left else {},
    )


def _batches(database: Database, job: str, as_of: datetime) -> Iterator[_Batch]:
    """Yield what is due, each batch as it stands when it is taken.

    The queue is read once, and from then on by its primary key: whatever the planner knows of the table, or does not, the
    work grows with the number of files and no faster.
    """
    after = 0
    while found := database.transaction(partial(_read_due, job, as_of, after)):
        after = found[-1]
        for start in range(0, len(found), FILES_AT_ONCE):
            chunk = found[start : start + FILES_AT_ONCE]
            batch = database.transaction(partial(_read_batch, job, as_of, chunk))
            if batch.files or batch.needed:
                yield batch


def _is_due(as_of: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(file_outbox.c.due_at.is_(None), file_outbox.c.due_at <= as_of)


def _read_due(job: str, as_of: datetime, after: int, connection: sa.Connection) -> Sequence[int]:
    """Return the first entry of each file that is due: one that several rows had is queued several times, and deleted once."""
    is_ours = file_outbox.c.job == job
    first = sa.func.min(file_outbox.c.file_id).filter(is_ours)
    is_held = sa.func.bool_or(file_outbox.c.due_at > as_of)
    query = (
        sa.select(first)
        .group_by(file_outbox.c.path)
        .having(sa.func.bool_or(sa.and_(is_ours, _is_due(as_of))), is_held.is_not(sa.true()), first > after)
        .order_by(first)
        .limit(FILES_IN_MEMORY)
    )
    return connection.scalars(query).all()


def _read_batch(job: str, as_of: datetime, file_ids: Sequence[int], connection: sa.Connection) -> _Batch:
    """Return what is still due of the entries: a restore may have taken some off the queue since it was read."""
    other = file_outbox.alias("other")
    # Rows aggregated without a group are joined one by one, by the index on their path.
    same_file = (
        sa.select(
            sa.func.array_agg(other.c.file_id, type_=ARRAY(sa.BigInteger)).label("entries"),
            sa.func.bool_or(other.c.due_at > as_of).label("is_held"),
        )
        .where(other.c.path == file_outbox.c.path)
        .lateral("same_file")
    )
    query = (
        sa.select(file_outbox.c.file_id, file_outbox.c.path, same_file.c.entries)
        .select_from(file_outbox.join(same_file, sa.true()))
        .where(is_any(file_outbox.c.file_id, file_ids), file_outbox.c.job == job, _is_due(as_of))
        .where(same_file.c.is_held.is_not(sa.true()))
        .order_by(file_outbox.c.file_id)
    )
    files = [_File(file_id, path, tuple(entries)) for file_id, path, entries in connection.execute(query)]
    needed = _needed(connection, [entry for file in files for entry in file.entries])
    return _Batch(
        files=tuple(file for file in files if file.path not in needed),
        needed=tuple(file for file in files if file.path in needed),
    )


def _needed(connection: sa.Connection, entries: Sequence[int]) -> set[str]:
    """Return which of the files belong to a row that is there again."""
    query = sa.select(file_outbox.c.table_name, file_outbox.c.row_key, file_outbox.c.path).where(
        is_any(file_outbox.c.file_id, entries), file_outbox.c.table_name != ""
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


def _settle(
    batch: _Batch,
    results: Mapping[str, RemovalResult],
    leaving: Leaving,
    by_hand: Mapping[str, str],
    connection: sa.Connection,
) -> None:
    leaving.note(connection, [entry for file in batch.files for entry in file.entries], by_hand)
    failed = [file for file in batch.files if results[file.path].removal is Removal.FAILED and file.path not in by_hand]
    gone = [file for file in (*batch.files, *batch.needed) if file not in failed]
    if gone:
        entries = [entry for file in gone for entry in file.entries]
        connection.execute(sa.delete(file_outbox).where(is_any(file_outbox.c.file_id, entries)))
    for file in failed:
        connection.execute(
            sa.update(file_outbox)
            .where(file_outbox.c.file_id == file.file_id)
            .values(attempts=file_outbox.c.attempts + 1, last_error=results[file.path].error)
        )
