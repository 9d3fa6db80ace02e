"""Explain one row: which run deleted it, by which rule; or which rule will take it, when, and else why none.

Of a row that is there the jobs themselves are asked: their purges for a later reference time say what a run would
take then. Of a row that is gone the ledger is asked: by its key where keys were kept, else by what it has of the table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from cronsim import CronSim
from sqlalchemy.exc import DataError, NoSuchTableError

from cath_dagster.core.database import Database
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.maintenance import deleted_key, ledger_event
from cath_dagster.core.purge import Purge
from cath_dagster.core.restored import spare, tables_left_alone
from cath_dagster.core.session import SERVICE
from cath_dagster.core.settings import read_settings
from cath_dagster.core.spec import JobSpec

HORIZON = timedelta(days=400)
"""More than a year: the longest period by default is one."""
RUNS_SHOWN = 10
INFERRED = (
    "the keys of deleted rows were not kept: these runs deleted rows of the table, and one of them may have deleted "
    "this one, if it ever existed"
)
KEPT = "the key was written down in the transaction that deleted the row"


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
class Forecast:
    """What one rule makes of a row that is there.

    `at` is the first scheduled tick whose run takes it; None if none does before the horizon. `unmet` says which
    conditions still fail at the horizon.
    """

    job: str
    rule: str
    at: datetime | None
    matches_now: bool
    unmet: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All that is known of one row. `is_certain` is false where deletions are an inference."""

    table: str
    key: str
    exists: bool
    is_certain: bool
    says: str
    deletions: tuple[Deletion, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    not_foreseen: tuple[str, ...] = ()
    """Jobs that may delete rows of the table by what only their run knows."""
    switched_off: tuple[str, ...] = ()
    """Jobs whose rule for the table is switched off."""


@dataclass(frozen=True)
class Moment:
    """What a job plans with: as a run of that reference time would."""

    as_of: datetime
    environ: Mapping[str, str]
    run_id: str = "explain"


@dataclass(frozen=True)
class _Question:
    """One row, asked after. `key_type` is the key column's, by which a key typed by a person is read."""

    database: Database
    table: str
    column: str
    key_type: sa.types.TypeEngine[Any]
    key: str
    left_alone: frozenset[str] = frozenset()
    """Tables of which restored rows are left alone for a while."""

    def exists(self) -> bool:
        return self.holds(sa.true(), sa.table(self.table, sa.column(self.column), schema=SERVICE))

    def holds(self, condition: sa.ColumnElement[bool], table: sa.FromClause) -> bool:
        """Return whether the row is there and fulfils a condition over its table."""
        is_the_row = table.c[self.column] == sa.cast(sa.literal(self.key, sa.Text), self.key_type)
        query = sa.select(sa.literal(1)).where(is_the_row, condition)
        return self.database.transaction(lambda connection: connection.scalar(query)) is not None


def tables_deleted_from(specs: Sequence[JobSpec]) -> list[str]:
    """Return the service's tables from which the jobs delete."""
    return sorted(
        {
            table
            for spec in specs
            for table, privileges in spec.privileges.items()
            if "DELETE" in privileges and "." not in table
        }
    )


def explain(
    database: Database,
    specs: Sequence[JobSpec],
    table: str,
    key: str,
    *,
    now: datetime,
    environ: Mapping[str, str],
) -> Explanation:
    """Return what became, or will become, of the row of `table` whose primary key is `key`. Changes nothing.

    Raises `ConfigurationError` for a table from which no job deletes, and for a key that cannot be one of it.
    """
    known = tables_deleted_from(specs)
    if table not in known:
        raise ConfigurationError(f"no job purges a table named {table!r}; they purge {', '.join(known)}")
    question = _ask(database, table, key, now)
    if question.exists():
        return _of_a_row_that_is_there(question, specs, now, environ)
    return _of_a_row_that_is_gone(question)


def _ask(database: Database, table: str, key: str, now: datetime) -> _Question:
    def read(connection: sa.Connection) -> tuple[str, sa.types.TypeEngine[Any], str]:
        inspector = sa.inspect(connection)
        try:
            (column,) = inspector.get_pk_constraint(table, SERVICE)["constrained_columns"]
            types = {item["name"]: item["type"] for item in inspector.get_columns(table, SERVICE)}
        except (NoSuchTableError, ValueError):
            raise ConfigurationError(f"the database has no table {table!r} with a primary key of one column") from None
        typed = sa.cast(sa.cast(sa.literal(key, sa.Text), types[column]), sa.Text)
        try:
            return column, types[column], str(connection.scalar(sa.select(typed)))
        except DataError:
            # The server's words would be as good; they are not ours to pass on.
            raise ConfigurationError(f"{key!r} is no key of {table}: {column} is of type {types[column]}") from None

    column, key_type, canonical = database.transaction(read)
    left_alone = database.transaction(lambda connection: tables_left_alone(connection, now))
    return _Question(database, table, column, key_type, canonical, left_alone)


def _of_a_row_that_is_there(
    question: _Question, specs: Sequence[JobSpec], now: datetime, environ: Mapping[str, str]
) -> Explanation:
    forecasts: list[Forecast] = []
    not_foreseen: list[str] = []
    switched_off: list[str] = []
    for spec in specs:
        if question.table not in tables_deleted_from([spec]):
            continue
        found = list(_forecasts(question, spec, now, environ))
        forecasts += found
        if not found:
            (not_foreseen if spec.purges is None else switched_off).append(spec.name)
    forecasts.sort(key=lambda forecast: (forecast.at is None, forecast.at or now))
    return Explanation(
        table=question.table,
        key=question.key,
        exists=True,
        is_certain=not not_foreseen,
        says=_foresee(forecasts, not_foreseen),
        forecasts=tuple(forecasts),
        not_foreseen=tuple(not_foreseen),
        switched_off=tuple(switched_off),
    )


def _foresee(forecasts: Sequence[Forecast], not_foreseen: Sequence[str]) -> str:
    if not forecasts or forecasts[0].at is None:
        but = f", as far as can be foreseen: {', '.join(not_foreseen)} may" if not_foreseen else ""
        return f"the row is there, and as things stand no rule takes it within {HORIZON.days} days{but}"
    first = forecasts[0]
    when = "matches now; the next run takes it" if first.matches_now else "takes it, as things stand,"
    return f"the row is there; {first.job} ({first.rule}) {when} at {first.at:%Y-%m-%d %H:%M %Z} at the earliest"


def _forecasts(question: _Question, spec: JobSpec, now: datetime, environ: Mapping[str, str]) -> Iterator[Forecast]:
    """Yield what each rule of the job makes of the row, the rules that take it along with another row included."""
    zone = ZoneInfo(spec.location.timezone)
    ticks = list(takewhile(lambda tick: tick <= now + HORIZON, CronSim(spec.cron, now.astimezone(zone))))
    ways = len(_ways(spec, Moment(now, environ), question))
    for number in range(ways):

        def takes(as_of: datetime, number: int = number) -> bool:
            way = _ways(spec, Moment(as_of, environ), question)[number]
            return question.holds(way.predicate, way.table)

        first = _first(ticks, takes)
        way = _ways(spec, Moment(ticks[-1], environ), question)[number]
        unmet = () if first else tuple(words for words, holds in way.conditions if not question.holds(holds, way.table))
        yield Forecast(job=spec.name, rule=way.rule, at=first, matches_now=takes(now), unmet=unmet)


def _first(ticks: Sequence[datetime], takes: Callable[[datetime], bool]) -> datetime | None:
    """Return the first tick that takes the row, None if not even the last does.

    By bisection: a rule that takes a row at one reference time takes it at every later one.
    """
    if not takes(ticks[-1]):
        return None
    low, high = 0, len(ticks) - 1
    while low < high:
        middle = (low + high) // 2
        if takes(ticks[middle]):
            high = middle
        else:
            low = middle + 1
    return ticks[low]


@dataclass(frozen=True)
class _Way:
    """One way in which a purge takes rows of a table: as its own, or along with another table's."""

    table: sa.Table
    rule: str
    predicate: sa.ColumnElement[bool]
    conditions: tuple[tuple[str, sa.ColumnElement[bool]], ...]


def _ways(spec: JobSpec, moment: Moment, question: _Question) -> list[_Way]:
    if spec.purges is None:
        return []
    settings = read_settings(spec.settings, {}, location=spec.location.name, job=spec.name, environ=moment.environ)
    purges = [spare(purge, question.left_alone, moment.as_of) for purge in spec.purges(moment, settings)]
    return [way for purge in purges for way in _ways_of(purge) if way.table.name == question.table]


def _ways_of(purge: Purge) -> Iterator[_Way]:
    own = tuple(purge.conditions.items()) or ((purge.rule, purge.predicate),)
    yield _Way(purge.table, purge.rule, purge.predicate, own)
    for child, its_rows in purge.every_child():
        along = f"along with {purge.table.name}: {purge.rule}"
        yield _Way(child, along, its_rows, ((f"its row of {purge.table.name} is taken", its_rows),))


def _of_a_row_that_is_gone(question: _Question) -> Explanation:
    by_key = question.database.transaction(lambda connection: _deletions_by_key(connection, question))
    found = by_key or question.database.transaction(lambda connection: _deletions_of(connection, question.table))
    if by_key:
        says = KEPT
    elif found:
        says = INFERRED
    else:
        says = "there is no such row, and no run in the ledger that could have deleted it"
    return Explanation(
        table=question.table,
        key=question.key,
        exists=False,
        is_certain=bool(by_key),
        says=says,
        deletions=tuple(found),
    )


def _deletions_by_key(connection: sa.Connection, question: _Question) -> list[Deletion]:
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
    query = (
        sa.select(gone.run_id, batch.c.job, batch.c.rule, batch.c.cutoff, gone.deleted_at, batch.c.deleted)
        .select_from(deleted_key.join(batch, sa.true()))
        .where(gone.table_name == question.table, gone.key == question.key)
        .order_by(gone.deleted_at.desc())
        .limit(RUNS_SHOWN)
    )
    return [Deletion(**_named(row)) for row in connection.execute(query)]


def _deletions_of(connection: sa.Connection, table: str) -> list[Deletion]:
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
    return [Deletion(**_named(row)) for row in connection.execute(query)]


def _named(row: sa.Row[Any]) -> dict[str, Any]:
    return dict(zip(("run_id", "job", "rule", "cutoff", "deleted_at", "rows"), row, strict=True))
