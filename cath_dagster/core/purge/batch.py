"""Delete or change one batch: everything that happens in one transaction of a purge or a revision."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.archive.archiver import Archiver
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.maintenance.tables import deleted_key
from cath_dagster.core.model.purge import Keys, Purge, Revision, descend
from cath_dagster.core.outbox import files
from cath_dagster.core.postgres.database import BatchConflictError
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.purge.refusal import StayedError
from cath_dagster.core.purge.remaining import Remaining
from cath_dagster.core.references.holds import chosen_of


@dataclass(frozen=True)
class BatchCounts:
    """What one transaction did. `decide_seconds` is the time that finding and deciding on its rows took."""

    candidates: int
    changed: int
    decide_seconds: float = 0.0
    is_full: bool = False
    """Whether the room ended it, so that more may match in the same range."""
    by_group: Mapping[str, int] = field(default_factory=dict)
    """Deleted rows by the value of the purge's `counted_by`."""
    left: Remaining | None = None
    """What is left in the range, where it was looked at."""
    next_id: int | None = None
    """With `left`, the transaction's own id, or if it has written nothing that of the next to write."""
    look_seconds: float = 0.0
    stayed: Keys = ()
    """Rows that were to go, match still, and are there: something keeps them without a word."""


@dataclass(frozen=True, kw_only=True)
class BatchDeleter:
    """Does the batches of one run; each method works in the caller's transaction, and records what it did there."""

    ledger: Ledger
    job: str
    run_id: str
    keeps_keys: bool = False
    """Whether the keys of the purged table's rows are written down as they go, for `cath-dagster explain`."""
    may_keep: frozenset[str] = frozenset()
    """Tables of which a DELETE may leave rows out without a word."""
    clock: Callable[[], float] = field(default=time.perf_counter)

    def delete(
        self,
        purge: Purge,
        within: sa.ColumnElement[bool],
        room: int | None,
        connection: sa.Connection,
        *,
        values: Mapping[str, str] | None = None,
        position: dict[str, Any] | None = None,
    ) -> BatchCounts:
        """Delete what matches `within`, at most `room` rows by their keys; None deletes them by one statement.

        `values` are those of the parameters in `within`, `position` is what the ledger should say of how far the purge has
        come with it, unless the room ended it.
        """
        if room is not None and purge.is_decided_in_two_steps:
            return self._delete_by_decision(connection, purge, within, room, values)
        if room is not None:
            return self._delete_by_keys_found(connection, purge, within, room, values, position)
        deleted = self._delete_rows(connection, _deletion(purge.table, within, purge.predicate), purge, values)
        self._record(connection, purge, {purge.target: {"deleted": deleted}}, position)
        return BatchCounts(deleted, deleted)

    def record_whole(self, connection: sa.Connection, purge: Purge, rows: int, details: dict[str, Any]) -> None:
        """Record that every row of the purge's table goes at once, and write their keys down if they are kept."""
        if self.keeps_keys:
            keys = sa.select(sa.literal(self.run_id), sa.literal(purge.target), sa.cast(purge.key, sa.Text))
            connection.execute(insert(deleted_key).from_select(["run_id", "table_name", "key"], keys))
        self._record(connection, purge, {purge.target: {"deleted": rows}}, details)

    def update(self, revision: Revision, keys: Keys, connection: sa.Connection) -> BatchCounts:
        """Change the rows of these keys that match still."""
        started = self.clock()
        chosen = is_any(revision.key, keys)
        if revision.is_plain:
            return self.update_plain(revision, chosen, connection)
        locked = connection.scalars(
            sa.select(revision.key).where(chosen, revision.predicate).with_for_update(of=revision.table)
        ).all()
        _lock_others(connection, revision, locked)
        decide_seconds = self.clock() - started
        done = self.update_plain(revision, is_any(revision.key, locked), connection)
        return BatchCounts(len(keys), done.changed, decide_seconds)

    def update_plain(
        self,
        revision: Revision,
        within: sa.ColumnElement[bool],
        connection: sa.Connection,
        *,
        values: Mapping[str, str] | None = None,
    ) -> BatchCounts:
        """Change what matches `within` by one statement; a row is judged anew once the lock on it is had."""
        changes = {revision.table.c[name]: value for name, value in revision.values.items()}
        statement = sa.update(revision.table).where(within, revision.predicate).values(changes)
        updated = connection.execute(statement, values).rowcount
        self.ledger.record_batch(connection, {revision.table.name: {"updated": updated}}, rule=revision.rule)
        return BatchCounts(updated, updated)

    def _delete_by_keys_found(
        self,
        connection: sa.Connection,
        purge: Purge,
        within: sa.ColumnElement[bool],
        room: int,
        values: Mapping[str, str] | None,
        position: dict[str, Any] | None,
    ) -> BatchCounts:
        started = self.clock()
        keys = connection.scalars(sa.select(purge.key).where(within, purge.is_due).limit(room), values).all()
        is_full = len(keys) == room
        if keys and purge.holds:
            keys = connection.scalars(chosen_of(purge, keys)).all()
        if not keys:
            return BatchCounts(0, 0)
        decide_seconds = self.clock() - started
        # No lock is needed, nor the right to take one: the predicate is decided again on each row as it is deleted.
        statement = sa.delete(purge.table).where(is_any(purge.key, keys), purge.is_due)
        deleted = self._delete_rows(connection, statement, purge)
        self._record(connection, purge, {purge.target: {"deleted": deleted}}, None if is_full else position)
        stayed = _still_due(connection, purge, keys) if deleted < len(keys) else ()
        return BatchCounts(len(keys), deleted, decide_seconds, is_full=is_full, stayed=stayed)

    def _delete_by_decision(
        self,
        connection: sa.Connection,
        purge: Purge,
        within: sa.ColumnElement[bool],
        room: int,
        values: Mapping[str, str] | None,
    ) -> BatchCounts:
        started = self.clock()
        find = sa.select(purge.key).where(within, purge.is_due).limit(room).with_for_update(of=purge.table)
        candidates = connection.scalars(find, values).all()
        if not candidates:
            return BatchCounts(0, 0)
        _lock_others(connection, purge, candidates)
        # A statement that waited for a lock decides by its old snapshot of other rows; this one has a new snapshot.
        keys = connection.scalars(chosen_of(purge, candidates)).all()
        archiver = Archiver.open(connection, purge, job=self.job, run_id=self.run_id) if keys else None
        decide_seconds = self.clock() - started
        by_group = _count_by_group(connection, purge, keys)
        if keys:
            self._record(connection, purge, self._delete_decided(connection, purge, keys, archiver))
        return BatchCounts(
            len(candidates), len(keys), decide_seconds, is_full=len(candidates) == room, by_group=by_group
        )

    def _delete_decided(
        self, connection: sa.Connection, purge: Purge, keys: Keys, archiver: Archiver | None
    ) -> dict[str, dict[str, int]]:
        chosen = is_any(purge.key, keys)
        copied = _copy(connection, purge, chosen)
        self._queue_files(connection, purge, chosen)
        if archiver is not None:
            archiver.keep(chosen)
        counts: dict[str, dict[str, int]] = {}
        for child, its_rows in reversed(descend(purge.children, purge.table, chosen)):
            if archiver is not None:
                gone = archiver.delete(child, its_rows)
            else:
                gone = connection.execute(sa.delete(child).where(its_rows)).rowcount
            self._check_gone(connection, child, its_rows)
            counts.setdefault(child.name, {"deleted": 0})["deleted"] += gone
        statement = sa.delete(purge.table).where(chosen, purge.is_due)
        deleted = self._delete_rows(connection, statement, purge)
        if deleted != len(keys):
            # No other transaction can have changed rows that are locked: their own trigger may, in place of the delete.
            if purge.table.name in self.may_keep or _still_due(connection, purge, keys):
                raise StayedError
            raise BatchConflictError(f"{len(keys) - deleted} rows of {purge.table.name} stopped matching")
        return {**counts, purge.table.name: {"deleted": deleted, "archived": copied}}

    def _check_gone(self, connection: sa.Connection, child: sa.Table, its_rows: sa.ColumnElement[bool]) -> None:
        """Raise where rows that go along are there still: with their parent's delete they would be orphans."""
        if child.name in self.may_keep and connection.scalar(sa.select(sa.exists().where(its_rows))):
            raise StayedError

    def _delete_rows(
        self, connection: sa.Connection, statement: sa.Delete, purge: Purge, values: Mapping[str, str] | None = None
    ) -> int:
        """Execute the statement, and write the keys of the rows down if they are kept; return how many went."""
        if not self.keeps_keys:
            return connection.execute(statement, values).rowcount
        gone = statement.returning(sa.cast(purge.key, sa.Text).label("key")).cte("gone")
        rows = sa.select(sa.literal(self.run_id), sa.literal(purge.target), gone.c.key)
        keep = insert(deleted_key).from_select(["run_id", "table_name", "key"], rows)
        return connection.execute(keep, values, execution_options={"preserve_rowcount": True}).rowcount

    def _record(
        self,
        connection: sa.Connection,
        purge: Purge,
        counts: dict[str, dict[str, int]],
        position: dict[str, Any] | None = None,
    ) -> None:
        kept = frozenset({purge.target}) if self.keeps_keys else frozenset[str]()
        self.ledger.record_batch(
            connection, counts, rule=purge.rule, cutoff=purge.cutoff, keys_kept=kept, details=position
        )

    def _queue_files(self, connection: sa.Connection, purge: Purge, chosen: sa.ColumnElement[bool]) -> None:
        if purge.files is None:
            return
        files.queue(
            connection,
            purge.files(chosen),
            job=self.job,
            run_id=self.run_id,
            table=purge.table.name,
            due_at=purge.undo.keep_until if purge.undo else None,
        )


@lru_cache(maxsize=8)
def _deletion(table: sa.Table, within: sa.ColumnElement[bool], predicate: sa.ColumnElement[bool]) -> sa.Delete:
    """Return the statement of a walk, made once: SQLAlchemy knows it again by the object."""
    return sa.delete(table).where(within, predicate)


def _still_due(connection: sa.Connection, purge: Purge, keys: Keys) -> Keys:
    return connection.scalars(sa.select(purge.key).where(is_any(purge.key, keys), purge.is_due)).all()


def _count_by_group(connection: sa.Connection, purge: Purge, keys: Keys) -> dict[str, int]:
    if purge.counted_by is None or not keys:
        return {}
    group = sa.cast(purge.counted_by, sa.Text)
    query = sa.select(group, sa.func.count()).where(is_any(purge.key, keys)).group_by(group)
    return dict(connection.execute(query).tuples().all())


def _lock_others(connection: sa.Connection, change: Purge | Revision, keys: Keys) -> None:
    for lock in change.lock_others(keys) if change.lock_others is not None else ():
        connection.execute(lock)


def _copy(connection: sa.Connection, purge: Purge, chosen: sa.ColumnElement[bool]) -> int:
    if purge.copies is None:
        return 0
    rows = sa.select(*purge.copies.values.values()).where(chosen)
    statement = insert(purge.copies.table).from_select(list(purge.copies.values), rows).on_conflict_do_nothing()
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount
