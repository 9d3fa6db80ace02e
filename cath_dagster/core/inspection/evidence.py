"""Ask every place of ours that holds keys of deleted rows which run deleted one, and which restore put it back.

A key is written down where `ledger_keys` asks for it, where the row itself is archived, where a copy of it is kept, and
where its files are queued: each time in the transaction that deletes the row.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from cath_dagster.core.maintenance.tables import archived_rows, deleted_key, file_outbox, ledger_event, restored_row
from cath_dagster.core.model.purge import CopyTo

RUNS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What a run deleted of a table by one rule. `deleted_at` is the row's where its key was kept, else the last batch's."""

    run_id: str
    job: str
    rule: str | None
    cutoff: datetime | None
    deleted_at: datetime
    rows: int


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """When a row was put back, by which restore, and until when it is left alone. `run_id` had deleted it."""

    run_id: str
    restored_by: str
    restored_at: datetime
    left_alone_until: datetime


@dataclass(frozen=True, kw_only=True)
class Named:
    """A row by its table, the columns of its key with their values as text, and the key as it is written down.

    `copies` are where copies of such rows are kept.
    """

    table: str
    columns: tuple[str, ...]
    values: tuple[str, ...]
    key: str
    copies: tuple[tuple[CopyTo, str], ...] = ()
    """Each with the column that holds the row's key."""


def deletions_by_key(connection: sa.Connection, named: Named) -> list[Deletion]:
    """Return the runs of which it is known that they deleted the row, newest first."""
    queries = [
        _written_down(named),
        _archived(named),
        *(_copied(named, copy, column) for copy, column in named.copies if copy.run is not None),
        _queued(named),
    ]
    by_run: dict[str, Deletion] = {}
    for found in _read(connection, queries):
        by_run.setdefault(found.run_id, found)
    return sorted(by_run.values(), key=lambda deletion: deletion.deleted_at, reverse=True)[:RUNS_SHOWN]


def deletions_without_keys(connection: sa.Connection, table: str) -> list[Deletion]:
    """Return the latest runs that deleted rows of the table without writing their keys down, newest first."""
    event = ledger_event.c
    last = sa.func.max(event.at)
    identity = (event.run_id, event.job, event.rule, event.cutoff)
    query = (
        sa.select(*identity, last, sa.cast(sa.func.sum(event.deleted), sa.BigInteger))
        .where(event.table_name == table, event.kind == "batch", event.deleted > 0, sa.not_(event.keys_kept))
        .group_by(*identity)
        .order_by(last.desc())
        .limit(RUNS_SHOWN)
    )
    return list(_read(connection, [query]))


def restorations(connection: sa.Connection, named: Named) -> list[Restoration]:
    """Return when the row was last put back, if it was lately."""
    known = restored_row.c
    query = sa.select(known.run_id, known.restored_by, known.restored_at, known.left_alone_until).where(
        known.table_name == named.table, known.key == named.key
    )
    names = ("run_id", "restored_by", "restored_at", "left_alone_until")
    return [Restoration(**dict(zip(names, row, strict=True))) for row in connection.execute(query)]


def _written_down(named: Named) -> sa.Select[Any]:
    event, gone = ledger_event.c, deleted_key.c
    # The batch's event is written in the transaction of its keys, at the end: it is the first one after their instant.
    batch = (
        sa.select(event.job, event.rule, event.cutoff, event.deleted)
        .where(
            event.run_id == gone.run_id,
            event.table_name == gone.table_name,
            event.kind == "batch",
            event.keys_kept,
            event.at >= gone.deleted_at,
        )
        .order_by(event.at)
        .limit(1)
        .lateral("batch")
    )
    return (
        sa.select(gone.run_id, batch.c.job, batch.c.rule, batch.c.cutoff, gone.deleted_at, batch.c.deleted)
        .select_from(deleted_key.join(batch, sa.true()))
        .where(gone.table_name == named.table, gone.key == named.key)
        .order_by(gone.deleted_at.desc())
        .limit(RUNS_SHOWN)
    )


def _archived(named: Named) -> sa.Select[Any]:
    archive = archived_rows.c
    columns = sa.func.json_array_elements(archive.columns)
    column = columns.table_valued("value", with_ordinality="number").render_derived("col")
    row = sa.func.json_array_elements(archive.rows).table_valued("value").render_derived("archived")
    wanted = sa.literal(list(named.columns), ARRAY(sa.Text))
    name = column.c.value.op("->>")("name")
    # The number counts from 1, the places of a JSON array from 0.
    value = row.c.value.op("->>")(sa.cast(column.c.number - 1, sa.Integer))
    its_key = (
        sa.select(sa.func.array_agg(aggregate_order_by(value, sa.func.array_position(wanted, name))))
        .select_from(column)
        .where(name == sa.any_(wanted))
        .correlate(archived_rows, row)
        .scalar_subquery()
    )
    return (
        sa.select(archive.run_id, archive.job, archive.rule, archive.cutoff, archive.archived_at, archive.row_count)
        .select_from(archived_rows.join(row, sa.true()))
        .where(archive.table_name == named.table, archive.reference.is_(None))
        .where(its_key == sa.literal(list(named.values), ARRAY(sa.Text)))
        .order_by(archive.archived_at.desc())
        .limit(RUNS_SHOWN)
    )


def _copied(named: Named, copy: CopyTo, column: str) -> sa.Select[Any]:
    run = sa.cast(copy.table.c[copy.run or ""], sa.Text)
    batch = _batches_of(named.table)
    return (
        sa.select(run, batch.c.job, batch.c.rule, batch.c.cutoff, batch.c.at, batch.c.deleted)
        .select_from(copy.table.join(batch, batch.c.run_id == run))
        .where(copy.table.c[column] == sa.cast(sa.literal(named.key, sa.Text), copy.table.c[column].type))
        .limit(RUNS_SHOWN)
    )


def _queued(named: Named) -> sa.Select[Any]:
    queued, batch = file_outbox.c, _batches_of(named.table)
    at = sa.func.max(queued.queued_at)
    identity = (queued.run_id, batch.c.job, batch.c.rule, batch.c.cutoff)
    return (
        sa.select(*identity, at, batch.c.deleted)
        .select_from(file_outbox.join(batch, batch.c.run_id == queued.run_id))
        .where(queued.table_name == named.table, queued.row_key == named.key)
        .group_by(*identity, batch.c.deleted)
        .limit(RUNS_SHOWN)
    )


def _batches_of(table: str) -> sa.Subquery:
    """Return what each run deleted of the table, by each of its rules."""
    event = ledger_event.c
    identity = (event.run_id, event.job, event.rule, event.cutoff)
    deleted = sa.cast(sa.func.sum(event.deleted), sa.BigInteger).label("deleted")
    return (
        sa.select(*identity, sa.func.max(event.at).label("at"), deleted)
        .where(event.table_name == table, event.kind == "batch", event.deleted > 0)
        .group_by(*identity)
        .subquery("batch")
    )


def _read(connection: sa.Connection, queries: Sequence[sa.Select[Any]]) -> Iterator[Deletion]:
    rows: Iterable[sa.Row[Any]] = (row for query in queries for row in connection.execute(query))
    for row in rows:
        run_id, job, rule, cutoff, deleted_at, count = row
        yield Deletion(run_id=run_id, job=job, rule=rule, cutoff=cutoff, deleted_at=deleted_at, rows=count)
