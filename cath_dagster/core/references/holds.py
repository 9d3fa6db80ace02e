"""Keep out of a purge the rows that foreign keys hold: those to which a row refers that does not go along.

A row that goes by the same purge holds nothing, so that chains of rows which refer to each other go whole, and a chain
of which one row stays, stays up to there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.model.purge import Hold, Keys, Purge
from cath_dagster.core.model.relation import Reference
from cath_dagster.core.postgres.expressions import is_any, rebind
from cath_dagster.core.references.held_rows import edges_between, is_held, is_referred_to

IDS_SHOWN = 20
"""Keys of rows that are named, for an operator to look them up."""


@dataclass(frozen=True)
class Held:
    """Rows that are due and stay. `by_key` says of each foreign key how many of them it holds."""

    rows: int = 0
    by_key: tuple[tuple[Reference, int], ...] = ()
    ids: tuple[str, ...] = ()

    @property
    def names(self) -> str:
        """The keys, with the columns that they are of."""
        return ", ".join(f"{key.name} ({key.constraint}) {count:,}" for key, count in self.by_key)


def with_holds(purge: Purge, holds: Sequence[Hold]) -> Purge:
    """Return the purge without the rows that any of these foreign keys holds."""
    if not holds:
        return purge
    held = replace(purge, holds=tuple(holds), rule_predicate=purge.predicate)
    is_free = sa.not_(is_held(held, lambda source: rebind(held.is_due, held.table, source)))
    names = ", ".join(dict.fromkeys(hold.reference.name for hold in holds))
    return replace(
        held,
        predicate=sa.and_(purge.predicate, is_free),
        conditions={
            **(purge.conditions or {purge.rule: purge.predicate}),
            f"no row that stays refers to it ({names})": is_free,
        },
    )


def chosen_of(purge: Purge, candidates: Keys) -> sa.Select[Any]:
    """Return the query for those of the candidates that may go now, together.

    One to which a row refers that goes with a later batch is left to a later pass. A new reference waits for rows that
    are locked; to others one may come in between, and the server refuses to let those go.
    """
    is_candidate = is_any(purge.key, candidates)
    query = sa.select(purge.key).where(is_candidate, purge.is_due)
    if not purge.holds:
        return query

    def goes(source: sa.FromClause) -> sa.ColumnElement[bool]:
        return rebind(sa.and_(is_candidate, purge.is_due), purge.table, source)

    return query.where(sa.not_(is_held(purge, goes)))


def count_held(connection: sa.Connection, purge: Purge, *, beside: Keys = ()) -> Held:
    """Return how many rows are due and held, by which keys, and the first of them; without the rows `beside`."""
    if not purge.holds:
        return Held()
    stays = sa.and_(purge.is_due, sa.not_(purge.predicate), sa.not_(is_any(purge.key, list(beside))))
    counts = [
        sa.func.count().filter(is_referred_to(purge, hold, purge.table, lambda _: sa.false())) for hold in purge.holds
    ]
    rows, *by_hold = connection.execute(sa.select(sa.func.count(), *counts).select_from(purge.table).where(stays)).one()
    if not rows:
        return Held()
    ids = connection.scalars(
        sa.select(sa.cast(purge.key, sa.Text)).where(stays).order_by(purge.key).limit(IDS_SHOWN)
    ).all()
    by_key: dict[Reference, int] = {}
    for hold, count in zip(purge.holds, by_hold, strict=True):
        by_key[hold.reference] = by_key.get(hold.reference, 0) + count
    return Held(rows, tuple((key, count) for key, count in by_key.items() if count), tuple(ids))


def keys_in_order(purge: Purge, is_in_question: sa.ColumnElement[bool], limit: int) -> sa.Select[Any]:
    """Return the query for the keys of matching rows, those that refer to others before the others.

    Rows that refer to each other in a circle have no order, and go where they go together.
    """
    matching = sa.select(purge.key.label("key")).where(purge.predicate, is_in_question)
    if not any(hold.is_chain for hold in purge.holds):
        return matching.limit(limit)
    going = matching.cte()
    edges = edges_between(purge, going).cte()
    tree = (
        sa.select(going.c.key, sa.literal(0).label("depth"))
        .where(~sa.exists().where(edges.c.child == going.c.key))
        .cte(recursive=True)
    )
    tree = tree.union(
        sa.select(edges.c.child, tree.c.depth + 1).select_from(tree.join(edges, edges.c.parent == tree.c.key))
    )
    depths = sa.select(tree.c.key, sa.func.max(tree.c.depth).label("depth")).group_by(tree.c.key).subquery()
    return (
        sa.select(going.c.key)
        .select_from(going.outerjoin(depths, depths.c.key == going.c.key))
        .order_by(depths.c.depth.desc().nulls_last(), going.c.key)
        .limit(limit)
    )
