"""Say what a purge did, or in a dry run would do: per table an outcome with its counts and how the work went."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.maintenance.tables import file_outbox
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.purge import Purge
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.purge.batch_runner import Progress
from cath_dagster.core.purge.pace import Pacer
from cath_dagster.core.purge.refusal import Refusal
from cath_dagster.core.references.holds import IDS_SHOWN, Held, count_held
from cath_dagster.core.run.planning import PlannedPurge
from cath_dagster.core.run.record import RunRecord

SAMPLE_IDS = 5
"""Ids that a dry run shows, for an operator to look a few rows up."""
GROUPS_SHOWN = 50
"""Businesses, say, of which a purge tells how many rows each lost."""


def record_dry_purge(record: RunRecord, database: Database, planned: PlannedPurge) -> None:
    """Add what a run would delete, with a few of the ids."""
    purge = planned.purge
    query = sa.select(sa.cast(purge.key, sa.Text)).where(purge.predicate).order_by(purge.key).limit(SAMPLE_IDS)
    ids = database.transaction(lambda connection: list(connection.scalars(query)))
    details: dict[str, Scalar] = {"sample_ids": ids, **_undo_until(purge)} if ids else {}
    held = database.transaction(lambda connection: count_held(connection, purge))
    details |= _note_held_rows(record, purge, held)
    record.add(Outcome(target=purge.table.name, matched=planned.measured.matched, details=details))
    for measured in planned.children:
        record.add(Outcome(target=measured.table, matched=measured.matched))
    if purge.files is not None:
        _, path = purge.files(purge.predicate).subquery().c
        # A file that is queued already counts where the queue is counted.
        not_queued = path.not_in(sa.select(file_outbox.c.path))
        count = database.count(sa.select(sa.func.count(path.distinct())).where(not_queued))
        if purge.undo is None:
            record.add(Outcome(target="files", matched=count))
        else:
            record.files_to_hold += count


def record_purge(
    record: RunRecord,
    database: Database,
    ledger: Ledger,
    planned: PlannedPurge,
    progress: Progress,
    details: dict[str, Scalar],
    seconds: float,
) -> None:
    """Add what a purge deleted, by the ledger, and what it left and why."""
    measured, recorded = planned.measured, ledger.recorded() if progress.batches else {}
    done = record.unrecorded(recorded, measured.table)
    record.take(done["deleted"])
    purge, refused = planned.purge, progress.refused
    held = database.transaction(lambda connection: count_held(connection, purge, beside=list(refused)))
    undone = sum(not refusal.is_hold for refusal in refused.values())
    met = done["deleted"] + len(refused)
    matched = measured.matched if measured.is_exact or progress.reached_limit else met
    left = max(0, matched - met) if progress.reached_limit else 0
    if not measured.is_exact:
        details |= {"estimated": measured.matched, "margin": measured.margin}
    details |= _by_group(purge, progress) | _note_held_rows(record, purge, held)
    if done["deleted"]:
        details |= _undo_until(purge)
    rows_left = progress.rows_left
    if rows_left is None:
        rows_left = max(0, measured.rows - done["deleted"])
        details["rows_left_estimated"] = True
    record.outcomes.append(
        Outcome(
            target=measured.table,
            matched=max(matched, done["deleted"]),
            deleted=done["deleted"],
            archived=done["archived"],
            skipped=left,
            kept=held.rows + len(refused) - undone,
            failed=undone,
            batches=progress.batches,
            longest_transaction_seconds=progress.longest_seconds,
            seconds=seconds,
            deleting_seconds=progress.seconds,
            rows_left=rows_left,
            oldest_at=progress.oldest_at,
            details=details,
        )
    )
    for child in dict.fromkeys(measured.table for measured in planned.children):
        gone = record.unrecorded(recorded, child)["deleted"]
        record.outcomes.append(Outcome(target=child, matched=gone, deleted=gone))
    report_refused_rows(record, measured.table, refused)
    report_remaining_rows(record, measured.table, left, progress)


def report_refused_rows(record: RunRecord, table: str, refused: Mapping[Any, Refusal]) -> None:
    """Say which rows the database did not let go; those that nothing refers to are left undone, and fail the run."""
    for refusal in dict.fromkeys(refused.values()):
        keys = [str(key) for key, each in refused.items() if each == refusal]
        what_for = "kept" if refusal.is_hold else "left undone"
        says = f"{_rows(len(keys), table)} due and {what_for}, because {refusal.says}: {_ids(keys, len(keys))}"
        if refusal.is_hold:
            record.note(says)
        else:
            record.fail(f"{says}; the next run tries again")


def report_remaining_rows(record: RunRecord, table: str, left: int, progress: Progress) -> None:
    """Say which rows match still: by `max_rows` that is no failure, for any other reason it is."""
    if left:
        record.note(f"max_rows reached: {left:,} rows of {table} are left for the next run")
    if progress.gave_up:
        locked = f" ({progress.passed_over} of them locked)" if progress.passed_over else ""
        record.fail(
            f"rows of {table} still match: others keep adding, changing or locking them{locked}; the next run tries again"
        )


def describe_work(progress: Progress, pacer: Pacer) -> dict[str, Scalar]:
    """Return how the work was done, for an operator who wonders why it took so long."""
    how: dict[str, Scalar] = {**progress.accessed.as_details(), **pacer.summary()}
    return how | ({"timeouts": progress.timeouts} if progress.timeouts else {})


def _note_held_rows(record: RunRecord, purge: Purge, held: Held) -> dict[str, Scalar]:
    """Say how many rows are due and kept because others refer to them, and by which keys."""
    if not held.rows:
        return {}
    record.note(
        f"{_rows(held.rows, purge.target)} due and kept, because rows that stay refer to them by {held.names}: "
        f"{_ids(held.ids, held.rows)}"
    )
    return {"held_ids": list(held.ids)}


def _rows(count: int, table: str) -> str:
    return f"1 row of {table} is" if count == 1 else f"{count:,} rows of {table} are"


def _ids(ids: Sequence[str], count: int) -> str:
    return ", ".join(ids[:IDS_SHOWN]) + (", …" if count > IDS_SHOWN else "")


def _by_group(purge: Purge, progress: Progress) -> dict[str, Scalar]:
    """Return how many rows went by group, the largest first."""
    if purge.counted_by is None or not progress.by_group:
        return {}
    largest = progress.by_group.most_common(GROUPS_SHOWN)
    return {f"by_{purge.counted_by.name}": [f"{group}: {count:,}" for group, count in largest]}


def _undo_until(purge: Purge) -> dict[str, Scalar]:
    return {"undo_until": purge.undo.keep_until.isoformat()} if purge.undo else {}
