"""Delete by a purge, change by a revision: in short transactions, every matching row and no other.

A purge that needs nothing but its own rows walks the heap, or an index where few match (`access_path`). A predicate that
reads other rows would be worked out anew for every range; such purges take keys. Batches are sized by time, since
what a row costs is unknown before some are deleted: a foreign key without an index scans its whole table for each.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa

from cath_dagster.core.archive.dependents import tables_of
from cath_dagster.core.extremes import is_on_calendar
from cath_dagster.core.instants import as_utc
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.model.purge import Purge, Revision
from cath_dagster.core.model.settings import Pace
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.expressions import is_any
from cath_dagster.core.postgres.heap import read_heaps
from cath_dagster.core.purge.access_path import Access, Accessed, AccessPath, choose_access_path, on_heap
from cath_dagster.core.purge.batch import BatchDeleter
from cath_dagster.core.purge.batch_runner import BatchRunner, Progress
from cath_dagster.core.purge.closing_scan import closing_scan
from cath_dagster.core.purge.heap_walk import HeapWalk, without
from cath_dagster.core.purge.key_walk import FIRST_WAIT_SECONDS, KeyWalk
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer
from cath_dagster.core.purge.partitions import PartitionDropper
from cath_dagster.core.purge.refusal import Guards, read_guards
from cath_dagster.core.purge.revision_walk import RevisionWalk, is_worth_a_walk
from cath_dagster.core.purge.single_writer import SingleWriter, watch_for_writers

MAX_PASSES = 5
"""Attempts to leave no matching row behind, while others insert, move and lock rows."""


def _at_full_pace() -> Pacer:
    return Pacer(PACE_LIMITS[Pace.BULK])


@dataclass(frozen=True, kw_only=True)
class Purger:
    """Deletes by the purges of one run. `report(table, done, total)` is called after every batch, in blocks or rows."""

    database: Database
    ledger: Ledger
    job: str
    run_id: str
    report: Callable[[str, int, int], None]
    pacer: Pacer = field(default_factory=_at_full_pace)
    keeps_keys: bool = False
    """Whether the keys of the purged table's rows are written down as they go, for `cath-dagster explain`."""
    drops_partitions: bool = False
    """Whether a partition whose rows all match is dropped, as long as no limit is set."""
    clock: Callable[[], float] = field(default=time.perf_counter)

    def delete(self, purge: Purge, *, limit: int | None) -> Progress:
        """Delete every row that matches, at most `limit`; return what was done.

        Each batch commits by itself: after an interruption at most the batch in flight is undone.
        """
        progress = Progress()
        # Before the lengths of the heaps are read: what others add afterwards is a second writer.
        single_writer, path = self.database.transaction(lambda c: (watch_for_writers(c), choose_access_path(c, purge)))
        # Of a partition the walk knows its rows only, and nothing that goes along or is kept.
        is_whole = all(heap.table is purge.table for heap in path.heaps)
        is_walkable = not purge.predicate_reads_other_rows and (purge.is_plain or is_whole)
        is_walked = is_walkable and path.along is None and limit is None
        if is_walked and _is_empty(purge, path):
            return Progress(accessed=Accessed.by(path), rows_left=0)
        guards = self._guards(*tables_of(purge))
        if is_walked:
            alone = single_writer if self._may_skip_closing_scan(purge, path) else None
            self._walk_heaps(purge, path, self._runner(progress, guards), alone)
        else:
            self._walk_keys(purge, path, limit, self._runner(progress, guards))
        self._make_durable(progress)
        return progress

    def update(self, revision: Revision, *, limit: int | None, matched: int = 0) -> Progress:
        """Change every row that matches, at most `limit`, in short transactions; about `matched` are expected."""
        guards = self._guards(revision.table)
        if revision.is_plain and limit is None:
            heaps = self.database.transaction(lambda connection: read_heaps(connection, revision.table))
            if len(heaps) == 1 and is_worth_a_walk(matched, heaps[0]):
                return self._walk_revision(revision, guards)
        progress = Progress(accessed=Accessed(Access.KEYS))
        KeyWalk(
            runner=self._runner(progress, guards),
            change=revision,
            work=partial(self._batcher(guards).update, revision),
            room=self._room(revision.table, "updated", limit),
            report=partial(self.report, revision.table.name),
        ).run()
        self._make_durable(progress)
        return progress

    def _walk_revision(self, revision: Revision, guards: Guards) -> Progress:
        progress = Progress(accessed=Accessed(Access.HEAP))
        runner = self._runner(progress, guards)
        for number in range(MAX_PASSES):
            if progress.passed_over:
                self.pacer.back_off("locked rows", FIRST_WAIT_SECONDS * 2 ** (number - 1))
            progress.passed_over = 0
            (heap,) = self.database.transaction(lambda connection: read_heaps(connection, revision.table))
            RevisionWalk(
                runner=runner,
                batcher=self._batcher(guards),
                revision=revision,
                heap=heap,
                report=partial(self.report, revision.table.name),
            ).run()
            # What others moved past the end that was read at the start is found by the next pass.
            is_open = sa.not_(is_any(revision.key, list(progress.refused)))
            matches = sa.select(sa.exists().where(revision.predicate, is_open))
            if not self._finds(matches):
                break
        else:
            progress.gave_up = True
        self._make_durable(progress)
        return progress

    def _finds(self, query: sa.Select[tuple[bool]]) -> bool:
        return bool(self.database.transaction(lambda connection: connection.scalar(query)))

    def _make_durable(self, progress: Progress) -> None:
        """Wait until the disk has what the batches committed; the server has written most of it by itself meanwhile."""
        if progress.batches:
            self.database.flush()

    def _walk_heaps(
        self, purge: Purge, path: AccessPath, runner: BatchRunner, single_writer: SingleWriter | None
    ) -> None:
        progress = runner.progress
        if self.drops_partitions and purge.is_plain:
            path = self._drop_partitions(purge, path, runner)
        else:
            progress.accessed = Accessed.by(path)
        left_off = self.ledger.left_off(purge.table.name, rule=purge.rule, cutoff=purge.cutoff)
        single_writer = None if left_off else single_writer
        for number in range(MAX_PASSES):
            if progress.passed_over:
                self.pacer.back_off("locked rows", FIRST_WAIT_SECONDS * 2 ** (number - 1))
            progress.passed_over, before = 0, 0
            blocks = sum(heap.blocks for heap in path.heaps)
            for heap in path.heaps:
                HeapWalk(
                    runner=runner,
                    batcher=self._batcher(runner.guards),
                    purge=on_heap(without(purge, list(progress.refused)), heap),
                    heap=heap,
                    report=partial(self._report_blocks, purge, before, blocks),
                    # What an earlier run with this cutoff has walked holds no more than the closing look finds.
                    position=left_off.get(heap.filenode, 0) if number == 0 else 0,
                    single_writer=single_writer,
                ).run()
                before += heap.blocks
            if single_writer is not None and not self.database.transaction(single_writer.is_over):
                progress.rows_left, progress.oldest_at = single_writer.left.rows, single_writer.left.oldest_at
                return
            single_writer = None
            if not self._closing_scan(without(purge, list(progress.refused)), progress, asks_for_matches=True):
                return
            path = self.database.transaction(lambda connection: choose_access_path(connection, purge))
        progress.gave_up = True

    def _may_skip_closing_scan(self, purge: Purge, path: AccessPath) -> bool:
        """Return whether to look, on the way, at what a walk leaves: at full pace, and where it sees the whole table.

        What a trigger does is done with the walk's own transaction id.
        """
        is_seen = all(heap.table is purge.table and not heap.has_triggers for heap in path.heaps)
        return is_seen and purge.is_plain and not self.pacer.is_polite

    def _drop_partitions(self, purge: Purge, path: AccessPath, runner: BatchRunner) -> AccessPath:
        """Return the path that is left when the partitions that go as a whole are gone."""
        dropper = PartitionDropper(runner=runner, batcher=self._batcher(runner.guards), purge=purge)
        left = AccessPath(dropper.drop(path.heaps))
        dropped = len(path.heaps) - len(left.heaps)
        runner.progress.accessed = Accessed.by(left, partitions_dropped=dropped)
        return left

    def _walk_keys(self, purge: Purge, path: AccessPath, limit: int | None, runner: BatchRunner) -> None:
        along = None if purge.predicate_reads_other_rows else path.along
        progress, batcher = runner.progress, self._batcher(runner.guards)
        progress.accessed = Accessed.by(path) if along is not None else Accessed(Access.KEYS)
        KeyWalk(
            runner=runner,
            change=purge,
            work=lambda keys, connection: batcher.delete(purge, is_any(purge.key, keys), len(keys), connection),
            room=self._room(purge.table, "deleted", limit),
            report=partial(self.report, purge.table.name),
            along=along,
        ).run()
        if along is None:
            self._closing_scan(purge, progress, asks_for_matches=False)
            return
        # The walk ends with a look along the index that finds nothing. To count what is left would read the whole
        # table, which the index is there to avoid.
        query = sa.select(sa.func.min(along)).where(is_on_calendar(along))
        oldest = self.database.transaction(lambda connection: connection.scalar(query))
        progress.oldest_at = as_utc(oldest) if oldest else None

    def _closing_scan(self, purge: Purge, progress: Progress, *, asks_for_matches: bool) -> int:
        """Return how many rows match still; the same scan tells how many are left and how old the oldest is."""
        left = closing_scan(self.database, purge, asks_for_matches=asks_for_matches, pacer=self.pacer, clock=self.clock)
        progress.rows_left, progress.oldest_at = left.rows, left.oldest_at
        return left.matching

    def _room(self, table: sa.Table, count: str, limit: int | None) -> Callable[[], int | None]:
        if limit is None:
            return lambda: None

        # By the ledger: a batch whose commit went unanswered is tried again and seems to have changed nothing.
        def recorded() -> int:
            return self.ledger.recorded().get(table.name, {}).get(count, 0)

        most = recorded() + limit
        return lambda: most - recorded()

    def _report_blocks(self, purge: Purge, before: int, blocks: int, done: int) -> None:
        self.report(purge.target, before + done, blocks)

    def _guards(self, *tables: sa.Table) -> Guards:
        return self.database.transaction(lambda connection: read_guards(connection, tables))

    def _runner(self, progress: Progress, guards: Guards) -> BatchRunner:
        return BatchRunner(database=self.database, pacer=self.pacer, progress=progress, guards=guards, clock=self.clock)

    def _batcher(self, guards: Guards) -> BatchDeleter:
        return BatchDeleter(
            ledger=self.ledger,
            job=self.job,
            run_id=self.run_id,
            keeps_keys=self.keeps_keys,
            may_keep=guards.keeping,
            clock=self.clock,
        )


def _is_empty(purge: Purge, path: AccessPath) -> bool:
    """Return whether the whole table has no page that could be read; partitions that are left out may have some."""
    return bool(path.heaps) and all(heap.table is purge.table and not heap.blocks for heap in path.heaps)
