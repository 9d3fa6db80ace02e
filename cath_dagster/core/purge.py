"""Describe a purge, and delete by it: in short transactions, every matching row and no other.

Two ways lead to the rows. The *walk* reads the heap once, by ranges of TIDs, with the predicate in the DELETE:
linear however many rows are dead already. A predicate that reads other rows would be worked out anew for every
range; such purges take *keys*: the matching keys are read first, and decided again batch by batch.

Batches are sized by time, because what a row costs is unknown before the first is deleted: a foreign key without
an index scans its whole table for every row.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.sql.visitors import replacement_traverse
from sqlalchemy.types import UserDefinedType

from cath_dagster.core.database import BatchConflictError, Database
from cath_dagster.core.instants import as_utc
from cath_dagster.core.ledger import Ledger
from cath_dagster.core.maintenance import file_outbox

TARGET_SECONDS = 0.1
"""A batch's aim: long enough for the speed of one DELETE, short enough that nobody waits for its locks."""
MAX_BLOCKS = 4_096
"""Reading 32 MB without a match is quick, and should the next 32 MB all match, deleting them is still short."""
FIRST_KEYS = 16
MIN_KEYS = 100
"""Deciding costs the same for few keys as for many where the predicate reads other tables."""
MAX_KEYS = 10_000
KEYS_IN_MEMORY = 100_000
"""Keys read at once; with uuids about 10 MB."""
SMALLEST_TUPLE_BYTES = 28
"""A line pointer and a tuple's header: the block size divided by it bounds a block's tuples."""
MAX_PASSES = 5
"""Walks over one table in one run. Rows that concurrent updates moved behind the walk need a second."""

Keys = Sequence[Any]


@dataclass(frozen=True)
class Child:
    """A table whose rows go with their parent's: they are deleted first, so that they can be counted.

    Whatever ON DELETE the foreign key has, the result is the same; with CASCADE the database would not say how
    many rows went.
    """

    table: sa.Table
    column: sa.Column[Any]
    children: tuple["Child", ...] = ()


@dataclass(frozen=True)
class Archive:
    """Where a row's metadata is kept: target columns and the expressions over the purged table that fill them."""

    table: sa.Table
    values: dict[str, sa.ColumnElement[Any]]


@dataclass(frozen=True, kw_only=True)
class Purge:
    """Rows of one table to be deleted, as one predicate that counting and deleting share.

    `cutoff` is what the rule compares with, for the ledger. `age` is the column whose minimum tells how old the
    oldest row left is. `reads_other_rows` says that the predicate looks at rows other than the one deleted;
    `lock_others` returns the statements that lock those before the decision, given the keys in question.
    `files` returns the paths, as one column, of the files that belong to the rows of the given keys.
    """

    table: sa.Table
    rule: str
    predicate: sa.ColumnElement[bool]
    cutoff: datetime | None = None
    age: sa.ColumnElement[Any] | None = None
    reads_other_rows: bool = False
    lock_others: Callable[[Keys], Sequence[sa.Select[Any]]] | None = None
    children: tuple[Child, ...] = ()
    archive: Archive | None = None
    files: Callable[[sa.ColumnElement[bool]], sa.Select[tuple[str]]] | None = None

    @property
    def key(self) -> sa.Column[Any]:
        (key,) = self.table.primary_key.columns
        return key

    @property
    def is_plain(self) -> bool:
        """Whether nothing goes along, so that one statement deletes a batch."""
        return not (self.children or self.archive or self.files)

    def every_child(self) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
        """Return each table whose rows go along, with the predicate that finds them."""
        return _descend(self.children, sa.select(self.key).where(self.predicate))


@dataclass(frozen=True, kw_only=True)
class Revision:
    """Rows of one table to be changed, as one predicate that counting and updating share."""

    table: sa.Table
    rule: str
    predicate: sa.ColumnElement[bool]
    values: dict[str, sa.ColumnElement[Any]]
    lock_others: Callable[[Keys], Sequence[sa.Select[Any]]] | None = None

    @property
    def key(self) -> sa.Column[Any]:
        (key,) = self.table.primary_key.columns
        return key


@dataclass
class Progress:
    """What a purge has done so far; one per call, never shared."""

    deleted: int = 0
    updated: int = 0
    batches: int = 0
    longest_seconds: float = 0.0
    reached_limit: bool = False
    rows_left: int = 0
    oldest_at: datetime | None = None


@dataclass(frozen=True)
class _Batch:
    seconds: float
    deleted: int
    is_full: bool
    """Whether the budget ended it, so that more may match in the same range."""


@dataclass(frozen=True, kw_only=True)
class Purger:
    """Deletes by the purges of one run. `report(table, done, total)` hears of every batch, in blocks or rows."""

    database: Database
    ledger: Ledger
    job: str
    run_id: str
    report: Callable[[str, int, int], None]
    clock: Callable[[], float] = field(default=time.perf_counter)

    def delete(self, purge: Purge, *, limit: int | None) -> Progress:
        """Delete every row that matches, at most `limit`; return what was done.

        Each batch commits by itself: after an interruption at most the batch in flight is undone.
        """
        progress = Progress()
        if purge.reads_other_rows or limit is not None:
            self._delete_by_keys(purge, limit, progress)
            self._take_census(purge, sa.false(), progress)
        else:
            for _ in range(MAX_PASSES):
                self._walk(purge, progress)
                if not self._take_census(purge, purge.predicate, progress):
                    break
        return progress

    def update(self, revision: Revision, *, limit: int | None) -> Progress:
        """Change every row that matches, at most `limit`, in short transactions; `Progress.deleted` stays 0."""
        progress = Progress()
        size = FIRST_KEYS
        while limit is None or progress.updated < limit:
            room = min(size, size if limit is None else limit - progress.updated)
            started = self.clock()
            updated = self.database.transaction(
                lambda connection, room=room: self._update_batch(connection, revision, room)
            )  # type: ignore[misc]
            seconds = self.clock() - started
            progress.updated += updated
            progress.batches += 1
            progress.longest_seconds = max(progress.longest_seconds, seconds)
            if updated == 0:
                return progress
            size = _next_size(size, seconds, smallest=MIN_KEYS, largest=MAX_KEYS)
        progress.reached_limit = True
        return progress

    def _update_batch(self, connection: sa.Connection, revision: Revision, room: int) -> int:
        keys = connection.scalars(
            sa.select(revision.key).where(revision.predicate).limit(room).with_for_update(of=revision.table)
        ).all()
        if not keys:
            return 0
        _lock_others(connection, revision, keys)
        statement = (
            sa.update(revision.table)
            .where(is_any(revision.key, keys), revision.predicate)
            .values({revision.table.c[name]: value for name, value in revision.values.items()})
        )
        updated = connection.execute(statement).rowcount
        self.ledger.record_batch(connection, {revision.table.name: {"updated": updated}})
        return updated

    def _walk(self, purge: Purge, progress: Progress) -> None:
        blocks, block_size = self.database.transaction(lambda connection: heap_size(connection, purge.table))
        # Positions count tuple slots, so that a batch may be smaller than a block.
        slots = block_size // SMALLEST_TUPLE_BYTES
        end, position, size, budget = blocks * slots, 0, slots // 8, FIRST_KEYS
        while position < end:
            until = min(position + size, end)
            within = _between(purge.table, divmod(position, slots), divmod(until, slots))
            batch = self._batch(purge, within, None if purge.is_plain else budget, progress)
            if not purge.is_plain:
                budget = _next_budget(budget, batch)
                if batch.is_full:
                    continue
            position = until
            size = _next_size(size, batch.seconds, smallest=8, largest=MAX_BLOCKS * slots)
            self.report(purge.table.name, position // slots, blocks)

    def _take_census(self, purge: Purge, predicate: sa.ColumnElement[bool], progress: Progress) -> int:
        """Return how many rows match still; the same scan tells how many are left and how old the oldest is."""
        oldest = sa.func.min(purge.age) if purge.age is not None else sa.null()
        count = sa.func.count()
        query = sa.select(count, oldest, count.filter(predicate)).select_from(purge.table)
        left, oldest_at, matching = self.database.transaction(lambda connection: connection.execute(query).one())
        progress.rows_left, progress.oldest_at = left, as_utc(oldest_at) if oldest_at else None
        return int(matching)

    def _delete_by_keys(self, purge: Purge, limit: int | None, progress: Progress) -> None:
        size = FIRST_KEYS
        while True:
            room = KEYS_IN_MEMORY if limit is None else min(KEYS_IN_MEMORY, limit - progress.deleted)
            keys = self.database.transaction(lambda connection: _matching_keys(connection, purge, room))
            before, position = progress.deleted, 0
            while position < len(keys):
                chunk = keys[position : position + size]
                batch = self._batch(purge, is_any(purge.key, chunk), len(chunk), progress)
                position += len(chunk)
                size = _next_size(size, batch.seconds, smallest=MIN_KEYS, largest=MAX_KEYS)
                self.report(purge.table.name, position, len(keys))
            if limit is not None and progress.deleted >= limit:
                progress.reached_limit = True
                return
            if len(keys) < room or progress.deleted == before:
                return

    def _batch(self, purge: Purge, within: sa.ColumnElement[bool], budget: int | None, progress: Progress) -> "_Batch":
        """Delete what matches `within`, at most `budget` rows; None deletes them by one statement."""
        started = self.clock()
        deleted, is_full = self.database.transaction(
            lambda connection: self._delete_batch(connection, purge, within, budget)
        )
        seconds = self.clock() - started
        progress.deleted += deleted
        progress.batches += 1
        progress.longest_seconds = max(progress.longest_seconds, seconds)
        return _Batch(seconds, deleted, is_full)

    def _delete_batch(
        self, connection: sa.Connection, purge: Purge, within: sa.ColumnElement[bool], budget: int | None
    ) -> tuple[int, bool]:
        is_full = False
        if budget is None:
            statement = sa.delete(purge.table).where(within, purge.predicate)
            counts = {purge.table.name: {"deleted": connection.execute(statement).rowcount}}
        else:
            counts, is_full = self._delete_with_dependants(connection, purge, within, budget)
        self.ledger.record_batch(connection, counts)
        return counts[purge.table.name]["deleted"], is_full

    def _delete_with_dependants(
        self, connection: sa.Connection, purge: Purge, within: sa.ColumnElement[bool], budget: int
    ) -> tuple[dict[str, dict[str, int]], bool]:
        candidates = connection.scalars(
            sa.select(purge.key).where(within, purge.predicate).limit(budget).with_for_update(of=purge.table)
        ).all()
        is_full = len(candidates) == budget
        _lock_others(connection, purge, candidates)
        # A statement that waited for a lock decides by its old snapshot of other rows; this one has a new snapshot.
        keys = connection.scalars(sa.select(purge.key).where(is_any(purge.key, candidates), purge.predicate)).all()
        chosen = is_any(purge.key, keys)
        counts = {purge.table.name: {"deleted": 0, "archived": 0}}
        if not keys:
            return counts, False
        counts[purge.table.name]["archived"] = _archive(connection, purge, chosen)
        self._queue_files(connection, purge, chosen)
        for child, its_rows in reversed(_descend(purge.children, sa.select(purge.key).where(chosen))):
            gone = connection.execute(sa.delete(child).where(its_rows)).rowcount
            counts.setdefault(child.name, {"deleted": 0})["deleted"] += gone
        deleted = connection.execute(sa.delete(purge.table).where(chosen, purge.predicate)).rowcount
        if deleted != len(keys):
            raise BatchConflictError(f"{len(keys) - deleted} rows of {purge.table.name} stopped matching")
        counts[purge.table.name]["deleted"] = deleted
        return counts, is_full

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


class Tid(UserDefinedType[str]):
    """A tuple's physical place, as `(block,offset)`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "tid"

    def bind_expression(self, bindvalue: sa.BindParameter[str]) -> sa.ColumnElement[Any]:
        return sa.cast(bindvalue, self)


def heap_size(connection: sa.Connection, table: sa.Table) -> tuple[int, int]:
    """Return how many blocks the table's heap has, and a block's bytes."""
    block_size = sa.cast(sa.func.current_setting("block_size"), sa.BigInteger)
    relation = sa.cast(qualified_name(table), sa.dialects.postgresql.REGCLASS)
    blocks, size = connection.execute(sa.select(sa.func.pg_relation_size(relation) / block_size, block_size)).one()
    return int(blocks), int(size)


def qualified_name(table: sa.Table) -> str:
    """Return the table's name as SQL writes it, quoted where it must be."""
    return sa.dialects.postgresql.dialect().identifier_preparer.format_table(table)


def rebind(predicate: sa.ColumnElement[bool], table: sa.Table, source: sa.FromClause) -> sa.ColumnElement[bool]:
    """Return the predicate over another source of the same rows: a sample, an alias."""

    def replace(element: Any, **_: Any) -> Any:
        if isinstance(element, sa.Column) and element.table is table:
            return source.c[element.key]
        return None

    result: sa.ColumnElement[bool] = replacement_traverse(predicate, {}, replace)
    return result


def _next_size(size: int, seconds: float, *, smallest: int, largest: int) -> int:
    factor = min(2.0, max(0.25, TARGET_SECONDS / max(seconds, 1e-6)))
    return max(smallest, min(largest, int(size * factor)))


def _next_budget(budget: int, batch: _Batch) -> int:
    """Return how many rows the next batch may delete, by what this one's rows cost; a batch without rows tells nothing."""
    if not batch.deleted:
        return budget
    affordable = int(batch.deleted * TARGET_SECONDS / max(batch.seconds, 1e-6))
    return max(1, min(2 * budget, affordable, MAX_KEYS))


def _between(table: sa.Table, low: tuple[int, int], high: tuple[int, int]) -> sa.ColumnElement[bool]:
    # A table's system column, added to no Table: INSERT and SELECT of all columns must not see it.
    ctid: sa.ColumnElement[str] = sa.literal_column(f"{qualified_name(table)}.ctid", Tid)
    return sa.and_(ctid >= sa.literal(_tid(low), Tid), ctid < sa.literal(_tid(high), Tid))


def _tid(place: tuple[int, int]) -> str:
    return f"({place[0]},{place[1]})"


def is_any(key: sa.Column[Any], keys: Keys) -> sa.ColumnElement[bool]:
    """Return whether a key is one of many, passed as one parameter however many there are."""
    return key == sa.any_(sa.literal(list(keys), ARRAY(key.type)))


def _lock_others(connection: sa.Connection, change: Purge | Revision, keys: Keys) -> None:
    for lock in change.lock_others(keys) if change.lock_others is not None else ():
        connection.execute(lock)


def _matching_keys(connection: sa.Connection, purge: Purge, room: int) -> Keys:
    return connection.scalars(sa.select(purge.key).where(purge.predicate).limit(room)).all()


def _descend(children: Sequence[Child], parents: sa.Select[Any]) -> list[tuple[sa.Table, sa.ColumnElement[bool]]]:
    """Return the children with the predicates of their rows, each before its own children."""
    found: list[tuple[sa.Table, sa.ColumnElement[bool]]] = []
    for child in children:
        its_rows = child.column.in_(parents)
        found.append((child.table, its_rows))
        (key,) = child.table.primary_key.columns
        found += _descend(child.children, sa.select(key).where(its_rows))
    return found


def _archive(connection: sa.Connection, purge: Purge, chosen: sa.ColumnElement[bool]) -> int:
    if purge.archive is None:
        return 0
    rows = sa.select(*purge.archive.values.values()).where(chosen)
    statement = insert(purge.archive.table).from_select(list(purge.archive.values), rows).on_conflict_do_nothing()
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
