"""Delete by a purge, change by a revision: in short transactions, every matching row and no other.

Two ways lead to the rows. The *walk* reads the heap once, by ranges of TIDs, with the predicate in the DELETE:
linear however many rows are dead already. A predicate that reads other rows would be worked out anew for every
range; such purges take *keys*: the matching keys are read first, and decided again batch by batch.

Batches are sized by time. What a row costs is unknown before some are deleted (a foreign key without an index
scans its whole table for every row), so the first are few; and a range of blocks is deleted by one statement only
if that stays short should all of its rows match.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.database import BatchConflictError, Database
from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.heap import Keys, Tid, between, heap_shape, is_any, tid_of
from cath_dagster.core.instants import as_utc
from cath_dagster.core.ledger import Ledger
from cath_dagster.core.maintenance import deleted_key, file_outbox
from cath_dagster.core.purge import Purge, Revision, descend
from cath_dagster.core.revision_walk import Reach, is_worth_a_walk

TARGET_SECONDS = 0.1
"""A batch's aim: long enough for the speed of one DELETE, short enough that nobody waits for its locks."""
MAX_BLOCKS = 4_096
"""32 MB. Reading more at once gains nothing."""
FIRST_ROWS = 16
"""Rows of the first batches: what a row costs is not known before some are deleted."""
MAX_ROWS = 10_000
"""Rows of a batch that is decided and deleted by keys."""
DENSE = 16
"""A range is worth one statement if at least one in so many of the rows that it may take match."""
MAX_OVERHEAD = 0.005
"""Seconds. What a batch takes beyond is put down to its rows."""
KEYS_IN_MEMORY = 100_000
"""Keys read at once; with uuids about 10 MB."""
MAX_PASSES = 5
"""Attempts to leave no matching row behind, while others insert and move rows."""


@dataclass
class Progress:
    """What a purge or revision has done so far; one per call, never shared."""

    changed: int = 0
    batches: int = 0
    seconds: float = 0.0
    longest_seconds: float = 0.0
    reached_limit: bool = False
    gave_up: bool = False
    """Rows matched still after every attempt."""
    rows_left: int = 0
    oldest_at: datetime | None = None
    overhead: float = MAX_OVERHEAD
    """Seconds that a batch takes however few rows it has."""
    by_group: Counter[str] = field(default_factory=Counter)
    """Deleted rows by the value of the purge's `counted_by`."""

    def add(self, batch: "_Batch") -> None:
        self.changed += batch.changed
        self.batches += 1
        self.seconds += batch.seconds
        self.overhead = min(self.overhead, batch.row_seconds)
        self.longest_seconds = max(self.longest_seconds, batch.seconds)
        self.by_group.update(batch.by_group)


@dataclass(frozen=True)
class _Done:
    """What one transaction did. `decide_seconds` is the time that finding and deciding on its rows took."""

    candidates: int
    changed: int
    decide_seconds: float = 0.0
    is_full: bool = False
    """Whether the room ended it, so that more may match in the same range."""
    by_group: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Batch(_Done):
    seconds: float = 0.0

    @property
    def row_seconds(self) -> float:
        """The time that grows with the rows: their deletion, and the commit with its deferred constraints."""
        return self.seconds - self.decide_seconds


@dataclass(frozen=True, kw_only=True)
class Purger:
    """Deletes by the purges of one run. `report(table, done, total)` hears of every batch, in blocks or rows."""

    database: Database
    ledger: Ledger
    job: str
    run_id: str
    report: Callable[[str, int, int], None]
    keeps_keys: bool = False
    """Whether the keys of the purged table's rows are written down as they go, for `cath-dagster explain`."""
    clock: Callable[[], float] = field(default=time.perf_counter)

    def delete(self, purge: Purge, *, limit: int | None) -> Progress:
        """Delete every row that matches, at most `limit`; return what was done.

        Each batch commits by itself: after an interruption at most the batch in flight is undone.
        """
        progress = Progress()
        if purge.reads_other_rows or limit is not None:
            self._change_by_keys(purge, limit, progress, partial(self._delete_keys, purge))
            self._take_census(purge, sa.false(), progress)
            return progress
        for _ in range(MAX_PASSES):
            self._walk(purge, progress)
            if not self._take_census(purge, purge.predicate, progress):
                return progress
        progress.gave_up = True
        return progress

    def update(self, revision: Revision, *, limit: int | None, matched: int = 0) -> Progress:
        """Change every row that matches, at most `limit`, in short transactions; about `matched` are expected."""
        progress = Progress()
        if revision.is_plain and limit is None:
            shape = self.database.transaction(lambda connection: heap_shape(connection, revision.table))
            if is_worth_a_walk(matched, *shape):
                self._walk_revision(revision, progress)
                return progress
        self._change_by_keys(revision, limit, progress, partial(self._update_keys, revision))
        return progress

    def _change_by_keys(
        self,
        change: Purge | Revision,
        limit: int | None,
        progress: Progress,
        work: Callable[[Keys, sa.Connection], "_Done"],
    ) -> None:
        """Read the matching keys and change their rows, until none matches, the limit is reached or nothing moves."""
        rows, idle = FIRST_ROWS, 0
        # By the ledger: a batch whose commit went unanswered is tried again and seems to have changed nothing.
        most = None if limit is None else self._recorded(change) + limit
        while (room := KEYS_IN_MEMORY if most is None else min(KEYS_IN_MEMORY, most - self._recorded(change))) > 0:
            keys = self.database.transaction(partial(_matching_keys, change, room))
            if not keys:
                return
            before, position = progress.changed, 0
            while position < len(keys):
                chunk = keys[position : position + rows]
                batch = self._timed(partial(work, chunk))
                progress.add(batch)
                position += len(chunk)
                rows = min(MAX_ROWS, _next_rows(rows, batch, progress.overhead))
                self.report(change.table.name, position, len(keys))
            # Rows that others rescue match no longer; a rule that never settles must not hold the run for ever.
            idle = 0 if progress.changed > before else idle + 1
            if idle == MAX_PASSES:
                progress.gave_up = True
                return
        progress.reached_limit = True

    def _recorded(self, change: Purge | Revision) -> int:
        """Return how many of the table's rows this run has changed, by the ledger."""
        counts = self.ledger.recorded().get(change.table.name, {})
        return counts.get("deleted" if isinstance(change, Purge) else "updated", 0)

    def _delete_keys(self, purge: Purge, keys: Keys, connection: sa.Connection) -> "_Done":
        return self._delete_batch(purge, is_any(purge.key, keys), len(keys), connection)

    def _walk_revision(self, revision: Revision, progress: Progress) -> None:
        """Change the heap's rows range by range, until none matches.

        Changed rows lie in other blocks, some of them ahead, and match no longer. What others move past the end that
        was read at the start is found by the next pass.
        """
        matches = sa.select(sa.exists().where(revision.predicate))
        for _ in range(MAX_PASSES):
            blocks, density = self.database.transaction(lambda connection: heap_shape(connection, revision.table))
            position, reach = 0, Reach.first(density)
            while position < blocks:
                until = min(position + reach.blocks, blocks)
                batch = self._timed(partial(self._update_range, revision, between(revision.table, position, until)))
                progress.add(batch)
                position, reach = until, reach.after(batch.seconds, batch.changed)
                self.report(revision.table.name, position, blocks)
            if not self.database.transaction(lambda connection: connection.scalar(matches)):
                return
        progress.gave_up = True

    def _update_range(self, revision: Revision, within: sa.ColumnElement[bool], connection: sa.Connection) -> "_Done":
        # Nothing waits for the disk: a crash of the server may take the last ranges back, their ledger events with
        # them, and the next run changes them again. The ledger's closing entry is written through, and all before it.
        connection.execute(sa.text("SET LOCAL synchronous_commit = off"))
        return self._update_plain(revision, within, connection)

    def _update_plain(self, revision: Revision, chosen: sa.ColumnElement[bool], connection: sa.Connection) -> "_Done":
        """Change the chosen rows that match: a row that another rescued is judged anew once its lock is had."""
        values = {revision.table.c[name]: value for name, value in revision.values.items()}
        statement = sa.update(revision.table).where(chosen, revision.predicate).values(values)
        updated = connection.execute(statement).rowcount
        self.ledger.record_batch(connection, {revision.table.name: {"updated": updated}}, rule=revision.rule)
        return _Done(updated, updated)

    def _update_keys(self, revision: Revision, keys: Keys, connection: sa.Connection) -> "_Done":
        started = self.clock()
        chosen = is_any(revision.key, keys)
        if revision.is_plain:
            return self._update_plain(revision, chosen, connection)
        locked = connection.scalars(
            sa.select(revision.key).where(chosen, revision.predicate).with_for_update(of=revision.table)
        ).all()
        _lock_others(connection, revision, locked)
        decide_seconds = self.clock() - started
        done = self._update_plain(revision, is_any(revision.key, locked), connection)
        return _Done(len(keys), done.changed, decide_seconds)

    def _walk(self, purge: Purge, progress: Progress) -> None:
        blocks, density = self.database.transaction(lambda connection: heap_shape(connection, purge.table))
        position, size, rows, idle = 0, 1, FIRST_ROWS, 0
        knows_cost = False
        while position < blocks:
            until = min(position + size, blocks)
            within = between(purge.table, position, until)
            # One statement deletes a range only if, should all its rows match, it stays short. Where few match, a
            # longer range with a limit on its rows is as safe and reads the table faster.
            is_plain = purge.is_plain and knows_cost and (until - position) * density <= rows
            batch = self._timed(partial(self._delete_batch, purge, within, None if is_plain else min(rows, MAX_ROWS)))
            progress.add(batch)
            is_dense = batch.changed * DENSE >= rows
            if batch.changed:
                knows_cost = True
                rows = _next_rows(rows, batch, progress.overhead)
            idle = idle + 1 if batch.is_full and not batch.changed else 0
            if idle == MAX_PASSES:
                raise DatabaseStatementError(
                    f"rows of {purge.table.name} match and cannot be deleted: a row-level policy or a trigger keeps them"
                )
            if batch.is_full:
                # More may match in the same range, which is taken again in a smaller part.
                size = max(1, size // 4)
                continue
            position = until
            size = _next_size(size, batch.seconds)
            if purge.is_plain and is_dense:
                size = min(size, max(1, rows // density))
            self.report(purge.table.name, position, blocks)

    def _take_census(self, purge: Purge, predicate: sa.ColumnElement[bool], progress: Progress) -> int:
        """Return how many rows match still; the same scan tells how many are left and how old the oldest is."""
        oldest = sa.func.min(purge.age) if purge.age is not None else sa.null()
        count = sa.func.count()
        # By TIDs: a sequential scan of a large table goes through a small ring of buffers, and would have to write
        # every page that it prunes of the rows just deleted before it may read the next.
        everywhere = tid_of(purge.table) >= sa.literal("(0,0)", Tid)
        query = sa.select(count, oldest, count.filter(predicate)).select_from(purge.table).where(everywhere)
        left, oldest_at, matching = self.database.transaction(lambda connection: connection.execute(query).one())
        progress.rows_left, progress.oldest_at = left, as_utc(oldest_at) if oldest_at else None
        return int(matching)

    def _timed(self, work: Callable[[sa.Connection], "_Done"]) -> "_Batch":
        started = self.clock()
        done = self.database.transaction(work)
        return _Batch(**vars(done), seconds=self.clock() - started)

    def _delete_batch(
        self, purge: Purge, within: sa.ColumnElement[bool], room: int | None, connection: sa.Connection
    ) -> "_Done":
        """Delete what matches `within`, at most `room` rows by their keys; None deletes them by one statement."""
        if room is not None and purge.is_decided_in_two_steps:
            return self._delete_by_decision(connection, purge, within, room)
        if room is not None:
            return self._delete_by_keys_found(connection, purge, within, room)
        deleted = self._delete_rows(connection, purge, within)
        self._record(connection, purge, {purge.table.name: {"deleted": deleted}})
        return _Done(deleted, deleted)

    def _delete_by_keys_found(
        self, connection: sa.Connection, purge: Purge, within: sa.ColumnElement[bool], room: int
    ) -> "_Done":
        started = self.clock()
        keys = connection.scalars(sa.select(purge.key).where(within, purge.predicate).limit(room)).all()
        if not keys:
            return _Done(0, 0)
        decide_seconds = self.clock() - started
        # No lock is needed, nor the right to take one: the predicate is decided again on each row as it is deleted.
        deleted = self._delete_rows(connection, purge, is_any(purge.key, keys))
        self._record(connection, purge, {purge.table.name: {"deleted": deleted}})
        return _Done(len(keys), deleted, decide_seconds, is_full=len(keys) == room)

    def _delete_by_decision(
        self, connection: sa.Connection, purge: Purge, within: sa.ColumnElement[bool], room: int
    ) -> "_Done":
        started = self.clock()
        candidates = connection.scalars(
            sa.select(purge.key).where(within, purge.predicate).limit(room).with_for_update(of=purge.table)
        ).all()
        if not candidates:
            return _Done(0, 0)
        _lock_others(connection, purge, candidates)
        # A statement that waited for a lock decides by its old snapshot of other rows; this one has a new snapshot.
        keys = connection.scalars(sa.select(purge.key).where(is_any(purge.key, candidates), purge.predicate)).all()
        decide_seconds = self.clock() - started
        by_group = _count_by_group(connection, purge, keys)
        if keys:
            self._record(connection, purge, self._delete_decided(connection, purge, keys))
        return _Done(len(candidates), len(keys), decide_seconds, is_full=len(candidates) == room, by_group=by_group)

    def _delete_decided(self, connection: sa.Connection, purge: Purge, keys: Keys) -> dict[str, dict[str, int]]:
        chosen = is_any(purge.key, keys)
        archived = _archive(connection, purge, chosen)
        self._queue_files(connection, purge, chosen)
        counts: dict[str, dict[str, int]] = {}
        for child, its_rows in reversed(descend(purge.children, sa.select(purge.key).where(chosen))):
            gone = connection.execute(sa.delete(child).where(its_rows)).rowcount
            counts.setdefault(child.name, {"deleted": 0})["deleted"] += gone
        deleted = self._delete_rows(connection, purge, chosen)
        if deleted != len(keys):
            raise BatchConflictError(f"{len(keys) - deleted} rows of {purge.table.name} stopped matching")
        return {**counts, purge.table.name: {"deleted": deleted, "archived": archived}}

    def _delete_rows(self, connection: sa.Connection, purge: Purge, chosen: sa.ColumnElement[bool]) -> int:
        """Delete the chosen rows that match, and write their keys down if they are kept; return how many went."""
        statement = sa.delete(purge.table).where(chosen, purge.predicate)
        if not self.keeps_keys:
            return connection.execute(statement).rowcount
        gone = statement.returning(sa.cast(purge.key, sa.Text).label("key")).cte("gone")
        rows = sa.select(sa.literal(self.run_id), sa.literal(purge.table.name), gone.c.key)
        keep = insert(deleted_key).from_select(["run_id", "table_name", "key"], rows)
        return connection.execute(keep, execution_options={"preserve_rowcount": True}).rowcount

    def _record(self, connection: sa.Connection, purge: Purge, counts: dict[str, dict[str, int]]) -> None:
        kept = frozenset({purge.table.name}) if self.keeps_keys else frozenset[str]()
        self.ledger.record_batch(connection, counts, rule=purge.rule, cutoff=purge.cutoff, keys_kept=kept)

    def _queue_files(self, connection: sa.Connection, purge: Purge, chosen: sa.ColumnElement[bool]) -> None:
        if purge.files is None:
            return
        paths = purge.files(chosen).subquery()
        (path,) = paths.c
        connection.execute(
            insert(file_outbox)
            .from_select(
                ["job", "run_id", "path"], sa.select(sa.literal(self.job), sa.literal(self.run_id), path).distinct()
            )
            .on_conflict_do_nothing()
        )


def _next_size(size: int, seconds: float) -> int:
    """Return how many blocks to take next, by how long these took."""
    factor = min(2.0, max(0.25, TARGET_SECONDS / max(seconds, 1e-6)))
    return max(1, min(MAX_BLOCKS, int(size * factor)))


def _next_rows(rows: int, batch: _Batch, overhead: float) -> int:
    """Return how many rows the next batch may take, by what these cost; a batch that changed none tells nothing."""
    if not batch.changed:
        return rows
    affordable = int(batch.changed * TARGET_SECONDS / max(batch.row_seconds - overhead, 1e-6))
    return max(1, min(2 * rows, affordable))


def _count_by_group(connection: sa.Connection, purge: Purge, keys: Keys) -> dict[str, int]:
    if purge.counted_by is None or not keys:
        return {}
    group = sa.cast(purge.counted_by, sa.Text)
    query = sa.select(group, sa.func.count()).where(is_any(purge.key, keys)).group_by(group)
    return dict(connection.execute(query).tuples().all())


def _lock_others(connection: sa.Connection, change: Purge | Revision, keys: Keys) -> None:
    for lock in change.lock_others(keys) if change.lock_others is not None else ():
        connection.execute(lock)


def _matching_keys(change: Purge | Revision, room: int, connection: sa.Connection) -> Keys:
    return connection.scalars(sa.select(change.key).where(change.predicate).limit(room)).all()


def _archive(connection: sa.Connection, purge: Purge, chosen: sa.ColumnElement[bool]) -> int:
    if purge.archive is None:
        return 0
    rows = sa.select(*purge.archive.values.values()).where(chosen)
    statement = insert(purge.archive.table).from_select(list(purge.archive.values), rows).on_conflict_do_nothing()
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
