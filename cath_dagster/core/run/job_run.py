"""What a job's function is given: its reference time, its database, its mail and files, and a place for outcomes."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from itertools import islice
from operator import length_hint
from typing import Any

import sqlalchemy as sa

from cath_dagster.core import telemetry
from cath_dagster.core.archive import archiver
from cath_dagster.core.archive.protected_rows import spare_revision, tables_left_alone
from cath_dagster.core.errors import (
    DatabaseLostError,
    DatabaseStatementError,
    DatabaseUnavailableError,
    PreflightError,
)
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.model.check import Check, CheckResult, Verdict
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Purge, Revision
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.outbox import files, forgetting
from cath_dagster.core.outbox.left_files import Leaving, LeftFile
from cath_dagster.core.outbox.notices import Notice, NoticeSender, Patience, not_settled
from cath_dagster.core.postgres import vacuum
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.heap import read_heaps
from cath_dagster.core.purge.engine import Purger
from cath_dagster.core.purge.pace import PACE_LIMITS, Pacer, choose_pace
from cath_dagster.core.run.backends import Backends, Reporter, application_name, required
from cath_dagster.core.run.mail_outcome import report_sent
from cath_dagster.core.run.planning import PlannedPurge, Planner, write_plans
from cath_dagster.core.run.purge_outcome import (
    describe_work,
    record_dry_purge,
    record_purge,
    report_refused_rows,
    report_remaining_rows,
)
from cath_dagster.core.run.record import RunRecord
from cath_dagster.core.run.request import RunRequest

NOTICES_AT_ONCE = 500
"""Notices that are looked up together, whether an earlier run is done with them."""
NEXT_RUN = "the next run tries again"


@dataclass(kw_only=True)
class JobRun:
    """One run of one job, at work.

    A job's function plans its purges first, since a run may be refused only before its first write, then does
    its work through the methods below. In a dry run they count and change nothing.
    """

    request: RunRequest
    account: RunRecord
    database: Database
    ledger: Ledger
    backends: Backends
    clock: Callable[[], float]
    on_files_left: "Callable[[JobRun, sa.Connection, Sequence[LeftFile]], None] | None" = None
    """Told of files that are left to be done by hand, in the transaction that notes them."""
    patience: Patience = field(default_factory=Patience)
    """How long messages are waited for that the provider puts off."""
    planned: list[PlannedPurge] = field(default_factory=list)
    """The purges that were planned so far."""
    step_deletes: bool = True
    """Whether the step at work deletes what was planned."""
    has_drained: bool = False
    """Whether this run has deleted the files that were due, or tried to."""

    @property
    def job(self) -> str:
        return self.request.job

    @property
    def run_id(self) -> str:
        return self.request.run_id

    @property
    def as_of(self) -> datetime:
        """The instant from which every cutoff is measured."""
        return self.request.options.as_of

    @property
    def dry_run(self) -> bool:
        return self.request.options.dry_run

    @property
    def reporter(self) -> Reporter:
        """Where the run says what it does."""
        return self.account.reporter

    @property
    def environ(self) -> Mapping[str, str]:
        return self.backends.environ

    @property
    def has_mail(self) -> bool:
        """Whether a mail provider is configured."""
        return self.backends.has_mail

    def note(self, message: str) -> None:
        """Tell operators something about this run that is no failure."""
        self.account.note(message)

    def fail(self, message: str) -> None:
        """Record that something due is left undone; the run goes on and ends failed."""
        self.account.fail(message)

    def record(self, outcome: Outcome) -> None:
        """Record what became of a table or an effect; in a dry run only what matched."""
        self.account.add(outcome)

    def judge(self, check: Check[Any], verdict: Verdict, *, gates: bool = False) -> None:
        """Record how one of the job's checks came out; with `gates` one that did not pass fails the run."""
        self.account.judge(CheckResult.of(check, verdict), gates=gates)

    def refuse(self, reasons: Sequence[str]) -> None:
        """Refuse the run if there are reasons to; in a dry run only keep them.

        Raises `PreflightError`.
        """
        self.account.refuse(PreflightError, reasons)

    def begin(self, step: str, tables: Sequence[str], *, deletes: bool, rule_table: str) -> None:
        """Turn to a step, the only one of most jobs: its own outcomes and failures, and its own part of the ledger.

        Of a job of several steps, rows of `rule_table` that the others have changed count against `max_rows`.
        """
        self.step_deletes = deletes
        self.ledger = replace(self.ledger, step=step)
        self.ledger.start(*tables)
        self.account.turn_to_step(self.ledger.changed_by_other_steps(rule_table) if step else self.account.taken)
        if deletes:
            write_plans(self.ledger, self.planned)

    def count(self, query: sa.Select[tuple[int]]) -> int:
        """Return the one number a query counts."""
        return self.database.count(query)

    @contextlib.contextmanager
    def open_database(self) -> Iterator[Database]:
        """Yield another connection to the maintained database, for work that goes on in several threads.

        It does not hold the job's lock: what may not be done twice needs row locks.
        """
        engine = self.backends.engine(application_name(self.job, self.run_id))
        with Database(engine) as database:
            yield database
        engine.dispose()

    def require(self, *names: str) -> dict[str, str]:
        """Return environment variables of the location by their names without its prefix.

        Raises `MissingConfigurationError` naming every one that is not set.
        """
        return required(self.backends, *names)

    def optional(self, name: str) -> str | None:
        """Return an environment variable of the location by its name without the prefix, None if it is not set."""
        return self.backends.environ.get(f"{self.backends.prefix}_{name}")

    def require_mail(self, template: str, *names: str) -> dict[str, str]:
        """Return environment variables by which messages of a template are written; all that sending needs is checked.

        Raises `ConfigurationError` for what is missing or unusable, so that a run finds out before it changes anything.
        """
        found = self.require(*names, *self.backends.mail_variables(template))
        self.backends.mailer()
        return found

    def team_address(self, template: str) -> str:
        """Return where the team's mail goes, "" without a provider; see `require_mail`."""
        return self.require_mail(template, "TEAM_EMAIL")["TEAM_EMAIL"] if self.has_mail else ""

    def plan(self, *purges: Purge) -> list[PlannedPurge]:
        """Measure what each purge would take, its children's rows included.

        Raises `BlastRadiusError` where one would take too much and `PreflightError` where the database is in no state
        for it; a dry run remembers that it would.
        """
        planned = self._planner().plan(*purges)
        self.planned += planned
        return planned

    def preflight(self) -> None:
        """Refuse a run that purges nothing and could not do its work; raises as `plan` does."""
        self._planner().preflight()

    def purge(self, planned: PlannedPurge) -> None:
        """Delete what was planned and record it; with `max_rows`, no more than is left of it.

        One that the database refuses is a failure of the run, and none of what comes after it.
        """
        with self._going_on(planned.purge.target):
            self._purge(planned)

    def _purge(self, planned: PlannedPurge) -> None:
        if self.dry_run:
            record_dry_purge(self.account, self.database, planned)
            return
        started = self.clock()
        pacer = self._pacer(planned.measured.heap_bytes)
        with telemetry.span("batches", target=planned.purge.target, rule=planned.purge.rule) as span:
            progress = self._purger(pacer).delete(planned.purge, limit=self.account.room())
            details = describe_work(progress, pacer)
            span.set_attributes(changed=progress.changed, batches=progress.batches, **details)
        if self.request.purging.vacuum and vacuum.is_worthwhile(progress.changed, progress.rows_left):
            details |= vacuum.vacuum(self.database, planned.purge.table, is_polite=pacer.is_polite)
        seconds = self.clock() - started
        record_purge(self.account, self.database, self.ledger, planned, progress, details, seconds)

    def revise(self, revision: Revision) -> int:
        """Change the rows a revision describes and record it; with `max_rows`, no more than is left of it.

        Return how many changed, in a dry run how many would. One that the database refuses fails as a purge does.
        """
        before = self.account.taken
        with self._going_on(revision.table.name):
            return self._revise(revision)
        return self.account.taken - before

    def _revise(self, revision: Revision) -> int:
        table = revision.table.name
        revision = spare_revision(revision, self._left_alone(), self.as_of)
        matched = self.count(sa.select(sa.func.count()).select_from(revision.table).where(revision.predicate))
        if self.dry_run:
            self.record(Outcome(target=table, matched=matched))
            return matched
        started = self.clock()
        heaps = self.database.transaction(lambda connection: read_heaps(connection, revision.table))
        pacer = self._pacer(sum(heap.bytes for heap in heaps))
        with telemetry.span("batches", target=table, rule=revision.rule) as span:
            progress = self._purger(pacer).update(revision, limit=self.account.room(), matched=matched)
            span.set_attributes(changed=progress.changed, batches=progress.batches, **describe_work(progress, pacer))
        updated = self.account.unrecorded(self.ledger.recorded(), table)["updated"]
        self.account.take(updated)
        left = max(0, matched - updated - len(progress.refused)) if progress.reached_limit else 0
        self.account.outcomes.append(
            Outcome(
                target=table,
                matched=max(matched, updated),
                updated=updated,
                skipped=left,
                failed=len(progress.refused),
                batches=progress.batches,
                longest_transaction_seconds=progress.longest_seconds,
                seconds=self.clock() - started,
                details=describe_work(progress, pacer),
            )
        )
        report_refused_rows(self.account, table, progress.refused)
        report_remaining_rows(self.account, table, left, progress)
        return updated

    @contextlib.contextmanager
    def _going_on(self, target: str) -> Iterator[None]:
        """Record a failure of the database as the run's own; what follows is tried all the same."""
        try:
            yield
        except DatabaseLostError:
            raise
        except (DatabaseStatementError, DatabaseUnavailableError) as error:
            self.fail(f"{target}: {error}")
            done = self.account.unrecorded(self.ledger.recorded(), target)
            self.account.take(done["deleted"] + done["updated"])

    def drain_left(self) -> None:
        """Delete the files that are due where the work broke off before it came to them."""
        if not self.has_drained and files.count_due(self.database, self.job, self.as_of):
            self.drain_files()

    def drain_files(self) -> None:
        """Delete the files this job has queued, those of an earlier run that was killed included."""
        self.has_drained = True
        if self.dry_run:
            due = files.count_due(self.database, self.job, self.as_of)
            self.record(Outcome(target="files", matched=due, details=self._held_files()))
            return
        started = self.clock()
        with telemetry.span("outbox", target="files") as span:
            outcome = files.drain(
                self.database,
                self.backends.store(self.request.file_store),
                job=self.job,
                as_of=self.as_of,
                report=self.reporter.progress,
                leaving=Leaving(self.request.file_folders, self.on_files_left and partial(self.on_files_left, self)),
            )
            span.set_outcome(outcome)
        self.record(replace(outcome, seconds=self.clock() - started, details={**outcome.details, **self._held_files()}))
        if left := outcome.details.get("left_by_hand"):
            location = self.request.location
            self.note(
                f"{left} files cannot be deleted from here and are left to be done by hand: cath-dagster files list "
                f"{location} tells which and why; once they were seen to, cath-dagster files settle {location} ID"
            )
        if outcome.kept:
            self.note(f"{outcome.kept} queued files were let be: their rows are there again")
        if outcome.failed:
            self.fail(f"{outcome.failed} files could not be deleted; they stay queued and the next run tries again")

    def delete_archives(self) -> None:
        """Delete what this job archived and can no longer be restored, whichever of its runs it was."""
        if self.dry_run:
            ended = self.database.transaction(lambda connection: archiver.count_ended(connection, self.job, self.as_of))
        else:
            ended = archiver.delete_ended(self.database, self.job, self.as_of, report=self.reporter.progress)
        if ended:
            self.record(Outcome(target="archives", matched=ended, deleted=ended))

    def forget(self, which: sa.ColumnElement[bool]) -> None:
        """Delete the job's notices that matter no more; in a dry run only count them."""
        work = forgetting.count_forgotten if self.dry_run else forgetting.forget
        ended = self.database.transaction(lambda connection: work(connection, self.job, which))
        if ended:
            self.record(Outcome(target="notices", matched=ended, deleted=ended))

    def send(self, notices: Iterable[Notice], *, then: str = NEXT_RUN, patience: Patience | None = None) -> Outcome:
        """Send the notices that were not sent before, and record them; in a dry run only count them.

        They may be made one by one, as those before them go: then few are in memory at a time. `then` says what
        becomes of those that could not be sent, `patience` how long they are waited for.
        """
        pending = self._pending(notices)
        if self.dry_run:
            outcome = Outcome(target="mail", matched=sum(1 for _ in pending))
            self.record(outcome)
            return outcome
        sender = NoticeSender(
            database=self.database,
            mailer=self.backends.mailer(),
            job=self.job,
            run_id=self.run_id,
            as_of=self.as_of,
            report=self.reporter.progress,
            say=self.reporter.warning,
            patience=self.patience if patience is None else replace(patience, sleep=self.patience.sleep),
            clock=self.clock,
        )
        started = self.clock()
        with telemetry.span("notifications", target="mail") as span:
            outcome = sender.send_all(pending, total=length_hint(notices))
            span.set_outcome(outcome)
        self.record(outcome.timed(self.clock() - started))
        report_sent(self.account, outcome, then)
        return outcome

    def _pending(self, notices: Iterable[Notice]) -> Iterator[Notice]:
        """Yield the notices that no earlier run is done with."""
        source = iter(notices)
        while some := list(islice(source, NOTICES_AT_ONCE)):
            yield from self.database.transaction(partial(not_settled, job=self.job, notices=some))

    def _left_alone(self) -> frozenset[str]:
        return self.database.transaction(lambda connection: tables_left_alone(connection, self.as_of))

    def _held_files(self) -> dict[str, Scalar]:
        """Return how many files wait for the end of their window, after this run."""
        queued = self.database.transaction(lambda connection: files.count_held(connection, self.job, self.as_of))
        held = queued + self.account.files_to_hold
        return {"held": held} if held else {}

    def _pacer(self, heap_bytes: int) -> Pacer:
        pace = choose_pace(self.request.purging.pace, is_scheduled=self.request.is_scheduled, heap_bytes=heap_bytes)
        return Pacer(PACE_LIMITS[pace], clock=self.clock)

    def _planner(self) -> Planner:
        return Planner(
            request=self.request,
            record=self.account,
            database=self.database,
            ledger=self.ledger,
            backends=self.backends,
            step_deletes=self.step_deletes,
        )

    def _purger(self, pacer: Pacer) -> Purger:
        return Purger(
            database=self.database,
            ledger=self.ledger,
            job=self.job,
            run_id=self.run_id,
            report=self.reporter.progress,
            pacer=pacer,
            keeps_keys=self.request.purging.ledger_keys,
            drops_partitions=self.request.purging.drop_partitions,
            clock=self.clock,
        )
