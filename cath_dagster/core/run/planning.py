"""Plan a run's purges before its first write: measure them, and find what speaks against them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import sqlalchemy as sa

from cath_dagster.core import telemetry
from cath_dagster.core.archive.obstacles import find_obstacles
from cath_dagster.core.archive.protected_rows import count_spared, spare
from cath_dagster.core.errors import BlastRadiusError, PreflightError
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Purge, Undo
from cath_dagster.core.postgres import vacuum
from cath_dagster.core.purge import partitions
from cath_dagster.core.purge.blast_radius import Measure, measure, refusal
from cath_dagster.core.references.examination import Examined, examine, tell_unread
from cath_dagster.core.run.preflight import Preflight, check_access, check_purge

if TYPE_CHECKING:
    from cath_dagster.core.run.job_run import JobRun


@dataclass(frozen=True)
class PlannedPurge:
    """A purge that was measured and may go on."""

    purge: Purge
    measured: Measure
    children: tuple[Measure, ...]


def plan_purges(run: "JobRun", *purges: Purge) -> list[PlannedPurge]:
    """Return what each purge would take; see `JobRun.plan`."""
    if any(purge.files is not None for purge in purges):
        # A store that cannot be opened is found out before anything is deleted.
        run.resources.store(run.file_store)
    # Measuring needs privileges as well, and waits for locks.
    reasons = (*_check_access(run, purges).reasons, *_check_extras(run, purges))
    run.refuse_as(PreflightError, reasons)
    examined = run.database.transaction(partial(_examine, run, purges))
    run.refuse_as(PreflightError, list(dict.fromkeys(reason for each in examined for reason in each.refusals)))
    spared = _spared(run, [each.purge for each in examined])
    purges = tuple(each.of(_undoable(run, purge)) for each, purge in zip(examined, spared, strict=True))
    _tell_unread(run, examined)
    planned = [_measure(run, purge) for purge in purges]
    # Of a purge that is refused anyway nobody needs to know besides what it would lose.
    run.refuse_as(
        PreflightError, _find_undo_obstacles(run, [p for p, e in zip(purges, examined, strict=True) if not e.refusals])
    )
    measures = [measured for plan in planned for measured in (plan.measured, *plan.children)]
    run.planned_rows |= {measured.table: measured.matched for measured in measures}
    for plan in planned:
        run.reporter.info(f"{plan.purge.rule}: {plan.measured}")
    run.write_plans(planned)
    too_large = None if run.allow_large else refusal(measures)
    found = run.database.transaction(lambda connection: check_purge(connection, _expected(run, planned)))
    for note in found.notes:
        run.note(note)
    reasons = (*([too_large] if too_large else ()), *found.reasons)
    if reasons and not run.dry_run:
        run.outcomes += [Outcome(target=measured.table, matched=measured.matched) for measured in measures]
    run.refuse_as(BlastRadiusError if too_large else PreflightError, reasons)
    run.planned += planned
    return planned


def _spared(run: "JobRun", purges: Sequence[Purge]) -> list[Purge]:
    """Return the purges without the rows that were restored lately, and say how many rows those are."""
    left_alone = run.left_alone()
    spared = [spare(purge, left_alone, run.as_of) for purge in purges]
    for before, after in zip(purges, spared, strict=True):
        kept = 0 if after is before else run.read(count_spared(before, after))
        if kept:
            run.record(Outcome(target=before.table.name, kept=kept))
            run.note(f"{kept:,} rows of {before.table.name} match and are left alone: they were restored lately")
    return spared


def _examine(run: "JobRun", purges: Sequence[Purge], connection: sa.Connection) -> list[Examined]:
    return [examine(connection, purge, allowed=run.purging.allowed_cascades) for purge in purges]


def _tell_unread(run: "JobRun", examined: Sequence[Examined]) -> None:
    for reference in dict.fromkeys(reference for each in examined for reference in each.unread):
        run.note(tell_unread(reference))


def _undoable(run: "JobRun", purge: Purge) -> Purge:
    if not run.undo.days:
        return purge
    keep_until = run.as_of + timedelta(days=run.undo.days)
    return replace(purge, undo=Undo(days=run.undo.days, keep_until=keep_until, partition=run.partition))


def _find_undo_obstacles(run: "JobRun", purges: Sequence[Purge]) -> list[str]:
    if not run.undo.days:
        return []
    found = [run.database.transaction(partial(find_obstacles, purge=purge, policy=run.undo)) for purge in purges]
    return list(dict.fromkeys(reason for reasons in found for reason in reasons))


def _check_access(run: "JobRun", purges: Sequence[Purge]) -> Preflight:
    purged = {table.name for purge in purges for table in purge.every_table}
    in_parts: dict[str, tuple[str, ...]] = {}
    for purge in purges:
        in_parts[purge.table.name] = (*in_parts.get(purge.table.name, ()), *_needed_in_parts(run, purge))
    return run.database.transaction(
        lambda connection: check_access(
            connection, run.privileges, purged, in_parts=in_parts, location=run.ledger.location
        )
    )


def _needed_in_parts(run: "JobRun", purge: Purge) -> tuple[str, ...]:
    """Return what the purge needs on each partition: a walk deletes by their names, all else by the whole table's."""
    is_walked = purge.is_plain and not (purge.predicate_reads_other_rows or run.undo.days) and run.max_rows is None
    # The look back reads each by its name, also one that cannot hold a matching row.
    return ("SELECT", "DELETE") if is_walked else ("SELECT",)


def _check_extras(run: "JobRun", purges: Sequence[Purge]) -> list[str]:
    """Return why what the settings ask for beyond deleting could not be done."""
    checks = [
        *([partitions.find_obstacle] if run.purging.drop_partitions else []),
        *([vacuum.find_obstacle] if run.purging.vacuum else []),
    ]
    tables = [purge.table for purge in purges]

    def find(connection: sa.Connection) -> list[str | None]:
        return [check(connection, table) for table in tables for check in checks]

    return [obstacle for obstacle in run.database.transaction(find) if obstacle]


def _expected(run: "JobRun", planned: Sequence[PlannedPurge]) -> dict[str, int]:
    """Return how many rows the run would delete per table: what matches, and with `max_rows` its share of that."""
    expected: dict[str, int] = {}
    room = run.room()
    for plan in planned:
        matched = plan.measured.matched
        share = 1.0 if room is None or matched <= room else room / matched
        for measured in (plan.measured, *plan.children):
            expected[measured.table] = expected.get(measured.table, 0) + round(measured.matched * share)
    return expected


def _measure(run: "JobRun", purge: Purge) -> PlannedPurge:
    def work(connection: sa.Connection) -> PlannedPurge:
        tables = [(purge.table, purge.predicate), *purge.every_child()]
        first, *children = [measure(connection, table, predicate, exact=run.dry_run) for table, predicate in tables]
        return PlannedPurge(purge, first, tuple(children))

    with telemetry.span("count", target=purge.target, rule=purge.rule) as span:
        planned = run.database.transaction(work)
        span.tell(matched=planned.measured.matched, is_exact=planned.measured.is_exact)
    return planned
