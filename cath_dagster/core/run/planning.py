"""Plan a run's purges before its first write: measure them, and find what speaks against them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import sqlalchemy as sa

from cath_dagster.core import telemetry
from cath_dagster.core.archive.dependents import tables_of
from cath_dagster.core.archive.obstacles import find_obstacles
from cath_dagster.core.archive.protected_rows import count_spared, spare, tables_left_alone
from cath_dagster.core.errors import BlastRadiusError, PreflightError
from cath_dagster.core.ledger.ledger import Ledger, Plan
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Purge, Undo
from cath_dagster.core.postgres import vacuum
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.relations import foresee, one_look
from cath_dagster.core.purge import partitions
from cath_dagster.core.purge.blast_radius import Measure, measure_each, refusal
from cath_dagster.core.references.examination import Examined, describe_unread, examine
from cath_dagster.core.run.backends import Backends
from cath_dagster.core.run.preflight import Preflight, check_access, check_purge
from cath_dagster.core.run.record import RunRecord
from cath_dagster.core.run.request import RunRequest


@dataclass(frozen=True)
class PlannedPurge:
    """A purge that was measured and may go on."""

    purge: Purge
    measured: Measure
    children: tuple[Measure, ...]


def write_plans(ledger: Ledger, plans: Iterable[PlannedPurge]) -> None:
    """Write into the ledger what a run is about to take, in a transaction of its own."""
    ledger.plan(*map(_as_recorded, plans))


def _as_recorded(plan: PlannedPurge) -> Plan:
    purge = plan.purge
    return Plan(table=purge.table.name, rule=purge.rule, cutoff=purge.cutoff, matched=plan.measured.matched)


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Plans the purges of one run, and refuses it where something speaks against them."""

    request: RunRequest
    record: RunRecord
    database: Database
    ledger: Ledger
    backends: Backends
    step_deletes: bool
    """Whether the step at work deletes what is planned, so that the plan belongs into its part of the ledger."""

    def preflight(self) -> None:
        """Refuse a run that purges nothing and could not do its work."""
        self.plan()

    def plan(self, *purges: Purge) -> list[PlannedPurge]:
        """Return what each purge would take; see `JobRun.plan`."""
        if any(purge.files is not None for purge in purges):
            # A store that cannot be opened is found out before anything is deleted.
            self.backends.store(self.request.file_store)
        # Measuring needs privileges as well, and waits for locks.
        self._refuse([*self._check_access(purges).reasons, *self._check_extras(purges)])
        examined = self.database.transaction(partial(self._examine, purges))
        self._refuse(list(dict.fromkeys(reason for each in examined for reason in each.refusals)))
        spared = self._spared([each.purge for each in examined])
        purges = tuple(each.of(self._undoable(purge)) for each, purge in zip(examined, spared, strict=True))
        self._note_unread(examined)
        planned = [self._measure(purge) for purge in purges]
        # Of a purge that is refused anyway nobody needs to know besides what it would lose.
        self._refuse(self._find_undo_obstacles([p for p, e in zip(purges, examined, strict=True) if not e.refusals]))
        self._judge(planned)
        return planned

    def _judge(self, planned: Sequence[PlannedPurge]) -> None:
        """Write down what was measured, and refuse the run where that is too much, or the database in no state for it."""
        measures = [measured for plan in planned for measured in (plan.measured, *plan.children)]
        self.record.planned_rows |= {measured.table: measured.matched for measured in measures}
        for plan in planned:
            self.record.reporter.info(f"{plan.purge.rule}: {plan.measured}")
        if self.step_deletes:
            write_plans(self.ledger, planned)
        too_large = None if self.request.options.allow_large else refusal(measures)
        found = self.database.transaction(lambda connection: check_purge(connection, self._expected(planned)))
        for note in found.notes:
            self.record.note(note)
        reasons = (*([too_large] if too_large else ()), *found.reasons)
        if reasons and not self.request.options.dry_run:
            self.record.outcomes += [Outcome(target=measured.table, matched=measured.matched) for measured in measures]
        self.record.refuse(BlastRadiusError if too_large else PreflightError, reasons)

    def _refuse(self, reasons: Sequence[str]) -> None:
        self.record.refuse(PreflightError, reasons)

    def _spared(self, purges: Sequence[Purge]) -> list[Purge]:
        """Return the purges without the rows that were restored lately, and say how many rows those are."""
        as_of = self.request.options.as_of
        protected = self.database.transaction(lambda connection: tables_left_alone(connection, as_of))
        spared = [spare(purge, protected, as_of) for purge in purges]
        for before, after in zip(purges, spared, strict=True):
            kept = 0 if after is before else self.database.count(count_spared(before, after))
            if kept:
                table = before.table.name
                self.record.add(Outcome(target=table, kept=kept))
                self.record.note(f"{kept:,} rows of {table} match and are left alone: they were restored lately")
        return spared

    def _examine(self, purges: Sequence[Purge], connection: sa.Connection) -> list[Examined]:
        allowed = self.request.purging.allowed_cascades
        together = [purge for purge in purges if not purge.is_checked_apart]
        with one_look():
            foresee(connection, [(table.schema, table.name) for purge in together for table in tables_of(purge)])
            return [examine(connection, purge, allowed=allowed) for purge in purges]

    def _note_unread(self, examined: Sequence[Examined]) -> None:
        for reference in dict.fromkeys(reference for each in examined for reference in each.unread):
            self.record.note(describe_unread(reference))

    def _undoable(self, purge: Purge) -> Purge:
        days = self.request.undo.days
        if not days:
            return purge
        keep_until = self.request.options.as_of + timedelta(days=days)
        return replace(purge, undo=Undo(days=days, keep_until=keep_until, partition=self.request.partition))

    def _find_undo_obstacles(self, purges: Sequence[Purge]) -> list[str]:
        policy = self.request.undo
        if not policy.days:
            return []
        found = [self.database.transaction(partial(find_obstacles, purge=purge, policy=policy)) for purge in purges]
        return list(dict.fromkeys(reason for reasons in found for reason in reasons))

    def _check_access(self, purges: Sequence[Purge]) -> Preflight:
        purged = {table.name for purge in purges for table in purge.every_table}
        in_parts: dict[str, tuple[str, ...]] = {}
        for purge in purges:
            in_parts[purge.table.name] = (*in_parts.get(purge.table.name, ()), *self._needed_in_parts(purge))
        request = self.request
        return self.database.transaction(
            lambda connection: check_access(
                connection, request.privileges, purged, in_parts=in_parts, location=request.location
            )
        )

    def _needed_in_parts(self, purge: Purge) -> tuple[str, ...]:
        """Return what the purge needs on each partition: a walk deletes by their names, all else by the whole table's."""
        is_keyed = (
            purge.predicate_reads_other_rows or self.request.undo.days or self.request.options.max_rows is not None
        )
        # The closing scan reads each by its name, also one that cannot hold a matching row.
        return ("SELECT", "DELETE") if purge.is_plain and not is_keyed else ("SELECT",)

    def _check_extras(self, purges: Sequence[Purge]) -> list[str]:
        """Return why what the settings ask for in addition to deleting could not be done."""
        checks = [
            *([partitions.find_obstacle] if self.request.purging.drop_partitions else []),
            *([vacuum.find_obstacle] if self.request.purging.vacuum else []),
        ]
        tables = [purge.table for purge in purges]

        def find(connection: sa.Connection) -> list[str | None]:
            return [check(connection, table) for table in tables for check in checks]

        return [obstacle for obstacle in self.database.transaction(find) if obstacle]

    def _expected(self, planned: Sequence[PlannedPurge]) -> dict[str, int]:
        """Return how many rows the run would delete per table: what matches, and with `max_rows` its share of that."""
        expected: dict[str, int] = {}
        room = self.record.room()
        for plan in planned:
            matched = plan.measured.matched
            share = 1.0 if room is None or matched <= room else room / matched
            for measured in (plan.measured, *plan.children):
                expected[measured.table] = expected.get(measured.table, 0) + round(measured.matched * share)
        return expected

    def _measure(self, purge: Purge) -> PlannedPurge:
        exact = self.request.options.dry_run

        def work(connection: sa.Connection) -> PlannedPurge:
            tables = [(purge.table, purge.predicate), *purge.every_child()]
            first, *children = measure_each(connection, tables, exact=exact)
            return PlannedPurge(purge, first, tuple(children))

        with telemetry.span("count", target=purge.target, rule=purge.rule) as span:
            planned = self.database.transaction(work)
            span.set_attributes(matched=planned.measured.matched, is_exact=planned.measured.is_exact)
        return planned
