"""Read the ledger: how much was deleted each day, by which rule of which job."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from cath_dagster.core.maintenance.tables import ledger_event

EFFECTS = ("deleted", "archived", "updated", "restored")
"""What a day's row tells of the rows of a table."""
UNFINISHED = "unfinished"
ENDINGS = ("success", "failed", "refused", "interrupted", "timeout", UNFINISHED)
"""How the work on a table ended; without an end it is going on still, or was killed."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """What one rule did to one table on one day, in UTC. Effects without a rule, such as files, have none."""

    day: date
    job: str
    table: str
    rule: str | None
    deleted: int
    archived: int
    updated: int
    restored: int
    runs: int
    endings: dict[str, int]

    @property
    def trouble(self) -> dict[str, int]:
        """How many runs ended otherwise than well, by how."""
        return {ending: count for ending, count in self.endings.items() if ending != "success"}


def read_days(connection: sa.Connection, *, since: datetime, job: str | None = None) -> list[Day]:
    """Return what was done each day from `since` on, newest first; dry runs are left out.

    The database adds up: what comes back is a row per day, job, table and rule, however many events there are.
    A batch counts on the day of its commit; a run over midnight is a run of both days.
    """
    work = _work(since, job).subquery()
    counts = [sa.cast(sa.func.sum(work.c[name]), sa.BigInteger).label(name) for name in EFFECTS]
    did_something = sa.or_(*(work.c[name] > 0 for name in EFFECTS))
    runs = sa.func.count(work.c.run_id.distinct())
    endings = [runs.filter(work.c.ending == ending).label(ending) for ending in ENDINGS]
    identity = (work.c.day, work.c.job, work.c.table_name, work.c.rule)
    query = (
        sa.select(*identity, *counts, runs.label("runs"), *endings)
        # A table that a run only reports on says nothing here, unless the run did not end well.
        .where(sa.or_(work.c.rule.is_not(None), work.c.ending != "success", did_something))
        .group_by(*identity)
        .order_by(work.c.day.desc(), work.c.job, work.c.table_name, work.c.rule.nulls_last())
    )
    return [_as_day(row) for row in connection.execute(query).mappings()]


def _work(since: datetime, job: str | None) -> sa.Select[tuple[object, ...]]:
    """Return per day, run, table and rule what was done, and how the run ended on that table."""
    event = ledger_event.c
    is_batch, is_end = event.kind == "batch", event.kind == "finished"
    day = sa.cast(sa.func.timezone("UTC", event.at), sa.Date).label("day")
    identity = (event.run_id, event.job, event.step, event.table_name, event.rule)
    total = sa.func.sum
    parts = (
        sa.select(
            day,
            *identity,
            *(total(event[name]).filter(is_batch).label(f"batch_{name}") for name in EFFECTS),
            *(total(event[name]).filter(is_end).label(f"end_{name}") for name in EFFECTS),
            sa.func.count().filter(is_batch).label("batches"),
            sa.func.max(event.outcome).filter(is_end).label("ending"),
        )
        .where(event.at >= since, sa.not_(event.dry_run), sa.true() if job is None else event.job == job)
        .group_by(day, *identity)
        .subquery("parts")
    )
    whole = [parts.c.run_id, parts.c.job, parts.c.step, parts.c.table_name]
    # Sums of the batches where there are any; effects such as files are told only at the end.
    has_batches = total(parts.c.batches).over(partition_by=whole) > 0
    work = sa.select(
        parts.c.day,
        parts.c.run_id,
        parts.c.job,
        parts.c.table_name,
        parts.c.rule,
        sa.func.coalesce(sa.func.max(parts.c.ending).over(partition_by=whole), UNFINISHED).label("ending"),
        sa.func.bool_or(parts.c.rule.is_not(None)).over(partition_by=whole).label("has_rule"),
        *(
            sa.func.coalesce(sa.case((has_batches, parts.c[f"batch_{name}"]), else_=parts.c[f"end_{name}"]), 0).label(
                name
            )
            for name in EFFECTS
        ),
    ).subquery("work")
    # A run's start and end belong to no rule, and would show among the rules of the same table as one more.
    return sa.select(work).where(sa.or_(work.c.rule.is_not(None), sa.not_(work.c.has_rule)))


def _as_day(values: sa.RowMapping) -> Day:
    return Day(
        day=values["day"],
        job=values["job"],
        table=values["table_name"],
        rule=values["rule"],
        deleted=values["deleted"],
        archived=values["archived"],
        updated=values["updated"],
        restored=values["restored"],
        runs=values["runs"],
        endings={ending: values[ending] for ending in ENDINGS if values[ending]},
    )


def largest(days: Sequence[Day]) -> int:
    """Return the most that any row deleted."""
    return max((day.deleted for day in days), default=0)
