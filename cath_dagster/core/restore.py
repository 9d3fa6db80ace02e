"""Undo a run: put back what it deleted, parents before children, and what its deletions had set to null elsewhere.

What exists is skipped, so that a restore that is killed is finished by the next, and one that is repeated does nothing.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial, reduce
from operator import add

from cath_dagster.core.archived import Part, read_parts, tell_why_none
from cath_dagster.core.database import Database
from cath_dagster.core.errors import ConfigurationError, IncompleteRunError, MaintenanceError, RefusedError
from cath_dagster.core.execution import lock_name
from cath_dagster.core.followers import require_writes
from cath_dagster.core.ledger import Ledger
from cath_dagster.core.outcome import Outcome, RunResult, Scalar, Status
from cath_dagster.core.restorable import Request, Restorable, grouped, prepare
from cath_dagster.core.restore_count import count_links, count_rows
from cath_dagster.core.restore_rows import Done, RowRestorer
from cath_dagster.core.spec import JobSpec, Location

MAX_IDS = 20
"""Ids that an outcome names; more tell an operator nothing."""


class UnknownRunError(RefusedError):
    """No run of that id is known to the location."""


@dataclass
class _Tally:
    """What came of one table's rows."""

    chosen: int = 0
    taken: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Keys of rows that could not be put back, each with what was in the way."""

    def add(self, done: Done) -> None:
        self.taken += done.taken
        self.failed.update(done.refused)


def restore(
    database: Database,
    location: Location,
    specs: Sequence[JobSpec],
    request: Request,
    *,
    restore_id: str,
    now: datetime,
    report: Callable[[str, int, int], None],
    clock: Callable[[], float] = time.perf_counter,
) -> RunResult:
    """Put back what a run deleted and return what was done; failures come back as a status and a message.

    Raises `UnknownRunError` where neither archive nor ledger know the run, and `ConfigurationError` for a table or a
    condition that cannot be meant.
    """
    started = clock()
    parts = database.transaction(partial(read_parts, run_id=request.run_id))
    if not parts:
        raise _no_archive(database, request.run_id)
    job = parts[0].job
    ledger = Ledger(
        database=database, run_id=restore_id, location=location.name, job=job, dry_run=request.dry_run, as_of=now
    )
    undoing = _Undoing(ledger=ledger, report=report)
    status, error = Status.SUCCESS, None
    try:
        if not request.dry_run:
            database.transaction(require_writes)
            for name in _locks(specs, parts):
                database.lock(name)
        # Read anew: the job, or another restore, may have been at work until the locks were had.
        restorable = prepare(database, request, now=now)
        rows = RowRestorer(
            database=database,
            ledger=ledger,
            restorable=restorable,
            run_id=request.run_id,
            restore_id=restore_id,
            now=now,
        )
        undoing.run(rows)
    except ConfigurationError:
        raise
    except RefusedError as refused:
        status, error = Status.REFUSED, str(refused)
    except MaintenanceError as failed:
        status, error = Status.FAILED, str(failed)
    return RunResult(
        location=location.name,
        job=job,
        run_id=restore_id,
        dry_run=request.dry_run,
        as_of=now,
        status=status,
        outcomes=tuple(undoing.outcomes),
        error=error,
        notes=tuple(undoing.notes),
        seconds=clock() - started,
    )


def _no_archive(database: Database, run_id: str) -> RefusedError:
    why = database.transaction(partial(tell_why_none, run_id=run_id))
    if why is not None:
        return RefusedError(why)
    return UnknownRunError(f"no run {run_id} is known; maintenance.purge_ledger has the runs")


def _locks(specs: Sequence[JobSpec], parts: Sequence[Part]) -> list[str]:
    """Return the names of the locks of the run's own job and of every job that deletes from the same tables.

    Another job's run that has been planned does not know of rows that are restored since, and would take them.
    """
    tables = {part.table for part in parts if part.reference is None}
    names = []
    for spec in specs:
        if spec.name == parts[0].job:
            names.append(lock_name(spec, parts[0].partition))
        elif any("DELETE" in spec.privileges.get(table, ()) for table in tables):
            names.append(lock_name(spec, None))
    return sorted(names)


@dataclass(kw_only=True)
class _Undoing:
    """The work of one restore, and what came of it."""

    ledger: Ledger
    report: Callable[[str, int, int], None]
    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def run(self, rows: RowRestorer) -> None:
        """Put the rows back, or in a dry run count them, and keep the ledger."""
        self.ledger.start(*rows.restorable.tables)
        status, error = "interrupted", None
        try:
            with self._told():
                if self.ledger.dry_run:
                    self._count(rows.database, rows.restorable)
                else:
                    self._put_back(rows)
            failed = [outcome for outcome in self.outcomes if outcome.failed]
            if failed:
                told = ", ".join(f"{outcome.failed:,} of {outcome.target}" for outcome in failed)
                raise IncompleteRunError(f"rows could not be restored: {told}; the rest is done")
            status = Status.SUCCESS.value
        except MaintenanceError as failure:
            status, error = Status.FAILED.value, str(failure)
            raise
        finally:
            with contextlib.suppress(MaintenanceError):
                self.ledger.finish(self.outcomes, status=status, error=error)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Let the outcomes have what was committed also where the restore breaks off."""
        try:
            yield
        except BaseException:
            told = {outcome.target for outcome in self.outcomes}
            with contextlib.suppress(MaintenanceError):
                self.outcomes += [
                    Outcome.of(table, {**counts, "matched": counts["restored"] + counts["updated"]})
                    for table, counts in self.ledger.recorded().items()
                    if table not in told
                ]
            raise

    def _count(self, database: Database, restorable: Restorable) -> None:
        for table in restorable.tables:
            counted = reduce(
                add,
                (database.transaction(partial(count_rows, restorable, group)) for group in restorable.groups(table)),
            )
            details: dict[str, Scalar] = {"there_already": counted.there, "would_fail": counted.lacking}
            shown = {name: number for name, number in details.items() if number}
            self.outcomes.append(Outcome(target=table, matched=counted.coming, details=shown))
        for group in grouped(restorable.links):
            matched = database.transaction(partial(count_links, restorable, group))
            self.outcomes.append(Outcome(target=group[0].table, matched=matched))

    def _put_back(self, rows: RowRestorer) -> None:
        restorable = rows.restorable
        parts = {
            part.archive_id: part for table in restorable.tables for part in restorable.parts if part.table == table
        }
        tallies = {table: _Tally() for table in restorable.tables}
        lacking: dict[int, Mapping[int, tuple[str, str]]] = {}
        restored = 0
        for number, part in enumerate(parts.values(), start=1):
            done = rows.put_back(part)
            tallies[part.table].chosen += done.chosen
            tallies[part.table].add(done)
            restored += done.restored
            if done.lacking:
                lacking[part.archive_id] = done.lacking
            self.report(part.table, number, len(parts))
        # A row may refer to one of its own table that comes in a later part.
        while lacking and restored:
            restored, waiting, lacking = 0, lacking, {}
            for archive_id, left in waiting.items():
                done = rows.put_back(parts[archive_id], list(left))
                tallies[parts[archive_id].table].add(done)
                restored += done.restored
                if done.lacking:
                    lacking[archive_id] = done.lacking
        for archive_id, left in lacking.items():
            tallies[parts[archive_id].table].failed.update(dict(left.values()))
        for part in restorable.links:
            rows.link(part)
        self._tell(tallies, list(dict.fromkeys(part.table for part in restorable.links)))

    def _tell(self, tallies: Mapping[str, _Tally], linked: Sequence[str]) -> None:
        # By the ledger: a batch whose commit went unanswered is tried again, and finds its rows there.
        recorded = self.ledger.recorded()
        for table, tally in tallies.items():
            restored, failed = recorded.get(table, {}).get("restored", 0), len(tally.failed)
            details: dict[str, Scalar] = {}
            if tally.failed:
                details["failed_ids"] = sorted(tally.failed)[:MAX_IDS]
                reasons = ", ".join(sorted(set(tally.failed.values())))
                self.notes.append(f"{failed:,} rows of {table} could not be restored, because of {reasons}")
            if tally.taken:
                details["taken_ids"] = sorted(tally.taken)[:MAX_IDS]
                taken = len(tally.taken)
                self.notes.append(f"{taken:,} rows of {table} were skipped, since other rows have their unique values")
            self.outcomes.append(
                Outcome(
                    target=table,
                    matched=restored + failed,
                    restored=restored,
                    skipped=max(0, tally.chosen - restored - failed),
                    failed=failed,
                    details=details,
                )
            )
        for table in linked:
            updated = recorded.get(table, {}).get("updated", 0)
            self.outcomes.append(Outcome(target=table, matched=updated, updated=updated))
