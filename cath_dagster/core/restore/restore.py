"""Undo a run: put back what it deleted, parents before children, and what its deletions had set to null elsewhere.

What exists is skipped, so that a restore that is killed is finished by the next, and one that is repeated does nothing.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from cath_dagster.core.errors import ConfigurationError, IncompleteRunError, MaintenanceError, RefusedError
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import Outcome, RunResult, Status, collect
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.followers import require_writes
from cath_dagster.core.restore.archive_sql import Name, Part, explain_absence, read_parts
from cath_dagster.core.restore.checks import untold
from cath_dagster.core.restore.dry_run import Foresight
from cath_dagster.core.restore.hindrance import Hindrance, by_kind
from cath_dagster.core.restore.preparation import Request, Restorable, grouped, prepare
from cath_dagster.core.restore.rows import BatchCounts, Lacking, RowRestorer
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.run.steps import lock_name

MAX_IDS = 20
"""Ids that an outcome names; more tell an operator nothing."""


class UnknownRunError(RefusedError):
    """No run of that id is known to the location."""


@dataclass
class _Tally:
    """What came of one table's rows."""

    chosen: int = 0
    taken: list[str] = field(default_factory=list)
    failed: dict[str, Hindrance] = field(default_factory=dict)
    """Keys of rows that cannot come back, each with what is in the way."""

    def add(self, done: BatchCounts) -> None:
        self.taken += done.taken
        self.failed.update(done.refused)


def restore(
    database: Database,
    location: CodeLocation,
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
        outcomes=collect(undoing.outcomes),
        error=error,
        notes=tuple(undoing.notes),
        seconds=clock() - started,
        undoes=request.run_id,
    )


def _no_archive(database: Database, run_id: str) -> RefusedError:
    why = database.transaction(partial(explain_absence, run_id=run_id))
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
        self.ledger.start(*map(rows.restorable.target, rows.restorable.tables))
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
                rest = "the rest can" if self.ledger.dry_run else "the rest is done"
                raise IncompleteRunError(f"rows cannot come back: {told}; {rest}")
            status = Status.SUCCESS.value
        except MaintenanceError as failure:
            status, error = Status.FAILED.value, str(failure)
            raise
        finally:
            with contextlib.suppress(MaintenanceError):
                self.ledger.finish(collect(self.outcomes), status=status, error=error)

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
        foresight = Foresight(database=database, restorable=restorable).work_out()
        for table in restorable.tables:
            tally = _Tally(chosen=foresight.count(table))
            there = 0
            for verdict in foresight.of(table):
                there += verdict.is_there
                if verdict.is_taken and not verdict.is_there:
                    tally.taken.append(verdict.key)
                elif verdict.hindrance is not None and not verdict.is_there:
                    tally.failed[verdict.key] = verdict.hindrance
            coming = tally.chosen - there - len(tally.taken) - len(tally.failed)
            self._report(restorable.target(table), tally, coming)
            if coming and (names := database.transaction(partial(untold, relation=restorable.relations[table]))):
                told = ", ".join(names)
                self.notes.append(
                    f"{restorable.target(table)}: only the restore itself can tell what these say: {told}"
                )
        for group in grouped(restorable.links):
            matched = foresight.count_links(group)
            self.outcomes.append(Outcome(target=restorable.target(group[0].name), matched=matched))

    def _put_back(self, rows: RowRestorer) -> None:
        restorable = rows.restorable
        parts = {
            part.archive_id: part for table in restorable.tables for part in restorable.parts if part.name == table
        }
        tallies = {table: _Tally() for table in restorable.tables}
        lacking: dict[int, Lacking] = {}
        for number, part in enumerate(parts.values(), start=1):
            done = rows.put_back(part)
            tallies[part.name].chosen += done.chosen
            tallies[part.name].add(done)
            if done.lacking:
                lacking[part.archive_id] = done.lacking
            self.report(restorable.target(part.name), number, len(parts))
        self._put_back_lacking(rows, parts, tallies, lacking)
        for part in restorable.links:
            rows.link(part)
        # By the ledger: a batch whose commit went unanswered is tried again, and finds its rows there.
        recorded = self.ledger.recorded()
        for table, tally in tallies.items():
            target = restorable.target(table)
            restored = recorded.get(target, {}).get("restored", 0)
            self._report(target, tally, restored)
        for target in dict.fromkeys(restorable.target(part.name) for part in restorable.links):
            updated = recorded.get(target, {}).get("updated", 0)
            self.outcomes.append(Outcome(target=target, matched=updated, updated=updated))

    def _put_back_lacking(
        self,
        rows: RowRestorer,
        parts: Mapping[int, Part],
        tallies: Mapping[Name, _Tally],
        lacking: Mapping[int, Lacking],
    ) -> None:
        """Put rows back that came before the row they refer to, as long as that helps, then those that wait for each other."""
        helps = True
        while lacking and helps:
            helps, still = False, dict[int, Lacking]()
            for archive_id, left in lacking.items():
                done = rows.put_back(parts[archive_id], list(left))
                tallies[parts[archive_id].name].add(done)
                helps = helps or bool(done.restored)
                if done.lacking:
                    still[archive_id] = done.lacking
            lacking = still
        together = self._waiting_for_each_other(rows, lacking)
        came = together if together and rows.put_back_together(parts, together) else {}
        for archive_id, left in lacking.items():
            tally = tallies[parts[archive_id].name]
            places = [place for place in left if place not in came.get(archive_id, {})]
            if places:
                done = rows.put_back(parts[archive_id], places, apart=True)
                tally.add(done)
                tally.failed.update(dict(done.lacking.values()))

    def _waiting_for_each_other(self, rows: RowRestorer, lacking: Mapping[int, Lacking]) -> dict[int, dict[int, str]]:
        """Return of the rows that lack one they refer to those which lack only each other."""
        if not lacking:
            return {}
        # The operator's condition has chosen them already.
        restorable = replace(rows.restorable, where=None)
        out = Foresight(database=rows.database, restorable=restorable, only=lacking).work_out().verdicts
        left = {
            archive: {place: key for place, (key, _) in found.items() if place not in out.get(archive, {})}
            for archive, found in lacking.items()
        }
        return {archive: found for archive, found in left.items() if found}

    def _report(self, target: str, tally: _Tally, coming: int) -> None:
        """Record what came of one table's rows, or in a dry run would."""
        failed = len(tally.failed)
        details: dict[str, Scalar] = {}
        if tally.failed:
            details["failed_ids"] = sorted(tally.failed)[:MAX_IDS]
            details["reasons"] = reasons = by_kind(tally.failed.values())
            self.notes.append(f"{failed:,} rows of {target} cannot come back: {'; '.join(reasons)}")
        if tally.taken:
            details["taken_ids"] = sorted(tally.taken)[:MAX_IDS]
            taken = len(tally.taken)
            self.notes.append(f"{taken:,} rows of {target} are skipped, since other rows have their unique values")
        skipped = max(0, tally.chosen - coming - failed)
        restored = 0 if self.ledger.dry_run else coming
        self.outcomes.append(
            Outcome(
                target=target,
                matched=coming + failed,
                restored=restored,
                skipped=skipped,
                failed=failed,
                details=details,
            )
        )
