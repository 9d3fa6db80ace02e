"""Say in SQL which rows of a purge foreign keys hold, given which go if nothing holds them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.model.purge import Child, Hold, Purge
from cath_dagster.core.model.relation import Reference

Goes = Callable[[sa.FromClause], sa.ColumnElement[bool]]
"""Whether a row of the purged table, from whatever source, goes if nothing holds it."""


def is_held(purge: Purge, goes: Goes) -> sa.ColumnElement[bool]:
    """Return whether a row of the purge's table that is to go is held."""
    others = [hold for hold in purge.holds if not hold.is_chain]

    def is_held_by_others(source: sa.FromClause) -> sa.ColumnElement[bool]:
        return sa.or_(sa.false(), *(is_referred_to(purge, hold, source, goes) for hold in others))

    if len(others) == len(purge.holds):
        return is_held_by_others(purge.table)
    return _is_above_one_that_stays(purge, is_held_by_others, goes)


def is_referred_to(purge: Purge, hold: Hold, source: sa.FromClause, goes: Goes) -> sa.ColumnElement[bool]:
    """Return whether a row that stays refers, by one key, to a row of this source or to one that goes along with it."""
    reference = hold.reference
    sources, conditions = _down(purge.table, hold.path, source)
    table, member = (hold.path[-1].table, sources[-1]) if hold.path else (purge.table, source)
    member = _completed(table, member, reference.parent_columns, sources, conditions)
    paths = _paths_to(purge, reference.child)
    key = _key(paths[0][-1].table if paths and paths[0] else purge.table) if paths else []
    holder = _source(reference.schema, reference.child, [*key, *reference.columns])
    stays = [sa.not_(_goes_along(purge, path, holder, goes)) for path in paths]
    return sa.exists().where(_refers(reference, holder, member), *conditions, *stays).correlate_except(holder, *sources)


def edges_between(purge: Purge, going: sa.CTE) -> sa.Select[Any]:
    """Return the query for the references among the rows of these keys: of the one that refers, and of the other."""
    child, parent = _row(purge), _row(purge)
    key = purge.key.name
    return sa.select(child.c[key].label("child"), parent.c[key].label("parent")).where(
        _refers_in_chain(purge, child, parent),
        child.c[key] != parent.c[key],
        child.c[key].in_(sa.select(going.c.key)),
        parent.c[key].in_(sa.select(going.c.key)),
    )


def _is_above_one_that_stays(purge: Purge, is_held_by_others: Goes, goes: Goes) -> sa.ColumnElement[bool]:
    """Return whether a row is held, or a chain of references leads from one that is, or stays anyway, up to it."""
    key = purge.key.name
    row, parent, child = purge.table.alias(), _row(purge), _row(purge)
    stays_below = _refers_in_chain(purge, child, parent), sa.not_(_goes_along(purge, (), child, goes))
    above_staying = sa.exists().where(parent.c[key] == row.c[key], *stays_below).correlate_except(parent, child)
    held = (
        sa.select(row.c[key].label("key"))
        .where(goes(row), sa.or_(is_held_by_others(row), above_staying))
        .cte(recursive=True)
    )
    above, upper, lower = purge.table.alias(), _row(purge), _row(purge)
    held = held.union(
        sa.select(above.c[key]).where(
            lower.c[key] == held.c.key,
            _refers_in_chain(purge, lower, upper),
            above.c[key] == upper.c[key],
            goes(above),
        )
    )
    return sa.exists().where(held.c.key == purge.key).correlate_except(held)


def _goes_along(purge: Purge, path: Sequence[Child], row: sa.FromClause, goes: Goes) -> sa.ColumnElement[bool]:
    """Return whether the row of another source is one that goes by a path of children, or by itself."""
    top = purge.table.alias()
    sources, conditions = _down(purge.table, path, top)
    table, last = (path[-1].table, sources[-1]) if path else (purge.table, top)
    if not _key(table):
        # Without a key nobody can tell; the server still will.
        return sa.false()
    return sa.exists().where(goes(top), *conditions, *_is_same(table, last, row)).correlate_except(top, *sources)


def _down(
    table: sa.Table, path: Sequence[Child], source: sa.FromClause
) -> tuple[list[sa.FromClause], list[sa.ColumnElement[bool]]]:
    """Return the sources of the children on a path, and the conditions that lead there from a row of this source."""
    sources: list[sa.FromClause] = []
    conditions: list[sa.ColumnElement[bool]] = []
    for child in path:
        below, pairs = child.table.alias(), child.pairs_to(table)
        source = _completed(table, source, [theirs.name for _, theirs in pairs], sources, conditions)
        conditions += [below.c[own.name] == source.c[theirs.name] for own, theirs in pairs]
        sources.append(below)
        table, source = child.table, below
    return sources, conditions


def _completed(
    table: sa.Table,
    source: sa.FromClause,
    names: Sequence[str],
    sources: list[sa.FromClause],
    conditions: list[sa.ColumnElement[bool]],
) -> sa.FromClause:
    """Return a source of the same row that has these columns; what it takes is added to the sources and conditions."""
    if {*names} <= {*source.c.keys()}:
        return source
    # A job declares the columns that it uses, and a key may refer to another.
    whole = _source(table.schema, table.name, [*_key(table), *names])
    conditions += _is_same(table, whole, source)
    sources.append(whole)
    return whole


def _paths_to(purge: Purge, table: str) -> list[tuple[Child, ...]]:
    """Return the ways by which rows of a table go with the purge; the empty one for its own."""

    def walk(children: Sequence[Child], path: tuple[Child, ...]) -> Iterator[tuple[Child, ...]]:
        for child in children:
            yield (*path, child)
            yield from walk(child.children, (*path, child))

    own: list[tuple[Child, ...]] = [()] if purge.table.name == table else []
    return own + [path for path in walk(purge.children, ()) if path[-1].table.name == table]


def _row(purge: Purge) -> sa.FromClause:
    """Return a source of the purge's table with the columns of its references to itself."""
    chains = [hold.reference for hold in purge.holds if hold.is_chain]
    names = [name for reference in chains for name in (*reference.columns, *reference.parent_columns)]
    return _source(chains[0].parent_schema, chains[0].parent, [purge.key.name, *names])


def _refers_in_chain(purge: Purge, child: sa.FromClause, parent: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.or_(*(_refers(hold.reference, child, parent) for hold in purge.holds if hold.is_chain))


def _source(schema: str | None, name: str, columns: Sequence[str]) -> sa.FromClause:
    return sa.table(name, *map(sa.column, dict.fromkeys(columns)), schema=schema).alias()


def _refers(reference: Reference, child: sa.FromClause, parent: sa.FromClause) -> sa.ColumnElement[bool]:
    return sa.and_(*(child.c[own] == parent.c[theirs] for own, theirs in reference.pairs))


def _key(table: sa.Table) -> list[str]:
    return [column.name for column in table.primary_key.columns]


def _is_same(table: sa.Table, one: sa.FromClause, other: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    return [one.c[name] == other.c[name] for name in _key(table)]
