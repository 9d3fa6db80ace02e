"""Explain one row: which run deleted it, by which rule; or which rule will take it, when, and else why none.

Of a row that is there the jobs themselves are asked: their purges for a later reference time say what a run would
take then. Of a row that is gone every place is asked that holds keys of deleted rows, else the ledger what it has of the
table.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DataError, NoSuchTableError

from cath_dagster.core.archive.archiver import pin_text
from cath_dagster.core.archive.protected_rows import spare, tables_left_alone
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.inspection.evidence import (
    Deletion,
    Named,
    Restoration,
    deletions_by_key,
    deletions_without_keys,
    restorations,
)
from cath_dagster.core.inspection.phases import after_change, of_change, of_changed
from cath_dagster.core.instants import as_utc
from cath_dagster.core.model.purge import CopyTo, Purge
from cath_dagster.core.model.schedule import NO_SCHEDULE
from cath_dagster.core.model.settings import JobSettings, PurgeSettings, read_settings
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.relations import key_text
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.core.references.examination import examine
from cath_dagster.core.run.spec import JobSpec, purged_tables

HORIZON = timedelta(days=400)
"""More than a year: the longest period by default is one."""
GONE = "gone"
INFERRED = (
    "the keys of deleted rows were not kept: these runs deleted rows of the table, and one of them may have deleted "
    "this one, if it ever existed"
)
KEPT = "its key was kept in the transaction that deleted the row"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What one rule makes of a row that is there.

    `at` is the first scheduled tick whose run takes it; None if none does before the horizon. `unmet` says which
    conditions still fail at the horizon. `effect` is what the row is then: gone, or what a job makes of it first.
    """

    job: str
    rule: str
    at: datetime | None
    matches_now: bool
    unmet: tuple[str, ...] = ()
    effect: str = GONE
    has_schedule: bool = True
    """Whether it takes rows by itself, and not only when somebody runs it."""


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
    restorations: tuple[Restoration, ...] = ()


@dataclass(frozen=True)
class Moment:
    """What a job plans with: as a run of that reference time would."""

    as_of: datetime
    environ: Mapping[str, str]
    run_id: str = "explain"


@dataclass(frozen=True)
class _Question:
    """One row, asked after. By the types of its key's columns a key typed by a person is read."""

    database: Database
    table: str
    types: Mapping[str, sa.types.TypeEngine[Any]]
    values: tuple[str, ...]
    key: str
    left_alone: frozenset[str] = frozenset()
    """Tables of which restored rows are left alone for a while."""

    def named(self, copies: tuple[tuple[CopyTo, str], ...] = ()) -> Named:
        return Named(table=self.table, columns=tuple(self.types), values=self.values, key=self.key, copies=copies)

    def exists(self) -> bool:
        return self.holds(sa.true(), sa.table(self.table, *map(sa.column, self.types), schema=SERVICE))

    def holds(self, condition: sa.ColumnElement[bool], table: sa.FromClause) -> bool:
        """Return whether the row is there and fulfils a condition over its table."""
        is_the_row = (
            _column_of(table, name) == sa.cast(sa.literal(value, sa.Text), kind)
            for (name, kind), value in zip(self.types.items(), self.values, strict=True)
        )
        query = sa.select(sa.literal(1)).select_from(table).where(*is_the_row, condition)
        return self.database.transaction(lambda connection: connection.scalar(query)) is not None


def _column_of(table: sa.FromClause, name: str) -> sa.ColumnElement[Any]:
    """Return a column of the table, which need not be one that a service's `tables.py` declares."""
    return table.c[name] if name in table.c else sa.column(name, _selectable=table)


def explain(
    database: Database,
    specs: Sequence[JobSpec],
    table: str,
    key: str,
    *,
    now: datetime,
    environ: Mapping[str, str],
) -> Explanation:
    """Return what became, or will become, of the row of `table` whose key is `key`. Changes nothing.

    Raises `ConfigurationError` for a table from which no job deletes, and for a key that cannot be one of it.
    """
    known = purged_tables(specs)
    if table not in known:
        raise ConfigurationError(f"no job purges a table named {table!r}; they purge {', '.join(known)}")
    moment = Moment(now, environ)
    question = _ask(database, table, key, _declared_keys(specs, moment), now)
    if question.exists():
        return _of_a_row_that_is_there(question, specs, now, environ)
    return _of_a_row_that_is_gone(question, specs, moment)


def _ask(database: Database, table: str, key: str, declared: Mapping[str, Sequence[str]], now: datetime) -> _Question:
    def read(connection: sa.Connection) -> _Question:
        types = _key_types(connection, table, declared.get(table, ()))
        given = _values_of(table, key, types)
        # In the form in which keys are archived.
        pin_text(connection)
        typed = [
            sa.cast(sa.cast(sa.literal(value, sa.Text), kind), sa.Text)
            for value, kind in zip(given, types.values(), strict=True)
        ]
        try:
            row = connection.execute(sa.select(*typed, key_text(typed))).one()
        except DataError:
            # The server's words would be as good; they are not ours to pass on.
            told = ", ".join(f"{name} is of type {kind}" for name, kind in types.items())
            raise ConfigurationError(f"{key!r} is no key of {table}: {told}") from None
        *values, canonical = row
        left_alone = tables_left_alone(connection, now)
        return _Question(database, table, types, tuple(values), canonical, left_alone)

    return database.transaction(read)


def _key_types(connection: sa.Connection, table: str, declared: Sequence[str]) -> dict[str, sa.types.TypeEngine[Any]]:
    """Return the types of the columns by which the jobs know the table's rows, else of its primary key's."""
    inspector = sa.inspect(connection)
    try:
        columns = declared or inspector.get_pk_constraint(table, SERVICE)["constrained_columns"]
        types = {item["name"]: item["type"] for item in inspector.get_columns(table, SERVICE)}
        found = {name: types[name] for name in columns}
    except (NoSuchTableError, KeyError):
        found = {}
    if not found:
        raise ConfigurationError(f"the database has no table {table!r} with a key by which the jobs know its rows")
    return found


def _values_of(table: str, key: str, columns: Collection[str]) -> Sequence[str]:
    """Return the parts of a key as a person writes it: of several columns as a JSON array."""
    if len(columns) == 1:
        return [key]
    try:
        parts = json.loads(key)
    except ValueError:
        parts = None
    if not isinstance(parts, list) or len(parts) != len(columns):
        raise ConfigurationError(
            f"{key!r} is no key of {table}: write the values of {', '.join(columns)} as a JSON array, such as "
            f"{json.dumps([str(number) for number, _ in enumerate(columns, start=1)])}"
        )
    return [str(part) for part in parts]


def _declared_keys(specs: Sequence[JobSpec], moment: Moment) -> dict[str, list[str]]:
    """Return by table the columns by which the jobs know its rows."""
    tables = [table for spec in specs for purge in _purges(spec, moment) for table in purge.every_table]
    return {table.name: [column.name for column in table.primary_key.columns] for table in tables}


def _of_a_row_that_is_there(
    question: _Question, specs: Sequence[JobSpec], now: datetime, environ: Mapping[str, str]
) -> Explanation:
    forecasts: list[Forecast] = []
    not_foreseen: list[str] = []
    switched_off: list[str] = []
    for spec in specs:
        if question.table not in purged_tables([spec]):
            continue
        found = list(_phases(question, spec, now, environ))
        forecasts += found
        if not found:
            (not_foreseen if spec.database is None or spec.database.purges is None else switched_off).append(spec.name)
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
        restorations=tuple(question.database.transaction(lambda c: restorations(c, question.named()))),
    )


def _foresee(forecasts: Sequence[Forecast], not_foreseen: Sequence[str]) -> str:
    if not forecasts or forecasts[0].at is None:
        if by_hand := next((each for each in forecasts if each.matches_now and not each.has_schedule), None):
            return f"the row is there; {by_hand.job} ({by_hand.rule}) has {NO_SCHEDULE}, and takes it once somebody runs it"
        but = f", as far as can be foreseen: {', '.join(not_foreseen)} may" if not_foreseen else ""
        return f"the row is there, and as things stand no rule takes it within {HORIZON.days} days{but}"
    first = forecasts[0]
    if first.effect != GONE:
        return f"the row is there; as things stand, {_foresee_phases(forecasts)}"
    when = "matches now; the next run takes it" if first.matches_now else "takes it, as things stand,"
    return f"the row is there; {first.job} ({first.rule}) {when} at {first.at:%Y-%m-%d %H:%M %Z} at the earliest"


def _foresee_phases(forecasts: Sequence[Forecast]) -> str:
    """Return in order what becomes of the row until it is gone, or as far as can be seen."""
    told: list[str] = []
    for forecast in (each for each in forecasts if each.at is not None):
        told.append(f"{forecast.effect} on {forecast.at:%Y-%m-%d %H:%M %Z} by {forecast.job}")
        if forecast.effect == GONE:
            return ", ".join(told)
    return f"{', '.join(told)}, and not gone within {HORIZON.days} days of that"


def _phases(question: _Question, spec: JobSpec, now: datetime, environ: Mapping[str, str]) -> Iterator[Forecast]:
    """Yield what each rule of the job makes of the row, what it changes first included."""
    deletions = list(_forecasts(question, spec, now, environ))
    work = spec.database
    if work is None or work.change is None or work.purges is None:
        yield from deletions
        return
    moment = Moment(now, environ)
    says = work.change(moment, _settings(spec, moment)).says
    made = [question.holds(way.predicate, way.table) for way in _ways(of_changed(spec), moment, question)]
    for number, change in enumerate(_forecasts(question, of_change(spec), now, environ)):
        deletion = deletions[number]
        if made[number] or deletion.at is not None:
            yield deletion
            continue
        yield replace(change, effect=says)
        if change.at is not None:
            then = list(_forecasts(question, after_change(spec, change.at), change.at, environ))
            deletion = replace(then[number], matches_now=False)
        yield deletion


def _forecasts(question: _Question, spec: JobSpec, now: datetime, environ: Mapping[str, str]) -> Iterator[Forecast]:
    """Yield what each rule of the job makes of the row, the rules that take it along with another row included."""
    ends_at = as_utc(now) + HORIZON
    ticks = spec.ticks_until(now, ends_at)
    ways = len(_ways(spec, Moment(now, environ), question))
    for number in range(ways):

        def takes(as_of: datetime, number: int = number) -> bool:
            way = _ways(spec, Moment(as_of, environ), question)[number]
            return question.holds(way.predicate, way.table)

        first = _first(ticks, takes)
        way = _ways(spec, Moment((ticks or [ends_at])[-1], environ), question)[number]
        unmet = () if first else tuple(words for words, holds in way.conditions if not question.holds(holds, way.table))
        yield Forecast(
            job=spec.name,
            rule=way.rule,
            at=first,
            matches_now=takes(now),
            unmet=unmet,
            has_schedule=spec.schedule is not None,
        )


def _first(ticks: Sequence[datetime], takes: Callable[[datetime], bool]) -> datetime | None:
    """Return the first tick that takes the row, None if not even the last does.

    By bisection: a rule that takes a row at one reference time takes it at every later one.
    """
    if not ticks or not takes(ticks[-1]):
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
    settings = _settings(spec, moment)
    allowed = settings.allowed_cascades if isinstance(settings, PurgeSettings) else ()
    purges = [_as_a_run_has_it(question, purge, moment, allowed) for purge in _purges(spec, moment)]
    return [way for purge in purges for way in _ways_of(purge) if way.table.name == question.table]


def _as_a_run_has_it(question: _Question, purge: Purge, moment: Moment, allowed: Collection[str]) -> Purge:
    examined = question.database.transaction(lambda connection: examine(connection, purge, allowed=allowed))
    return examined.of(spare(examined.purge, question.left_alone, moment.as_of))


def _ways_of(purge: Purge) -> Iterator[_Way]:
    own = tuple(purge.conditions.items()) or ((purge.rule, purge.predicate),)
    yield _Way(purge.table, purge.rule, purge.predicate, own)
    for child, its_rows in purge.every_child():
        along = f"along with {purge.table.name}: {purge.rule}"
        yield _Way(child, along, its_rows, ((f"its row of {purge.table.name} is taken", its_rows),))


def _of_a_row_that_is_gone(question: _Question, specs: Sequence[JobSpec], moment: Moment) -> Explanation:
    named = question.named(_copies(specs, moment, question.table))
    by_key, back = question.database.transaction(lambda c: (deletions_by_key(c, named), restorations(c, named)))
    found = by_key or question.database.transaction(lambda c: deletions_without_keys(c, question.table))
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
        restorations=tuple(back),
    )


def _copies(specs: Sequence[JobSpec], moment: Moment, table: str) -> tuple[tuple[CopyTo, str], ...]:
    """Return where the jobs keep copies of the table's rows, each with the column that has the key."""
    purges = [purge for spec in specs for purge in _purges(spec, moment) if purge.table.name == table]
    copies = {
        purge.copies.table.fullname: (purge.copies, purge.copy_key)
        for purge in purges
        if purge.copies is not None and purge.copy_key is not None
    }
    return tuple(copies.values())


def _settings(spec: JobSpec, moment: Moment) -> JobSettings:
    settings: JobSettings = read_settings(
        spec.settings, {}, location=spec.location.name, job=spec.name, environ=moment.environ
    )
    return settings


def _purges(spec: JobSpec, moment: Moment) -> Sequence[Purge]:
    return spec.purges_at(moment, _settings(spec, moment)) or ()
