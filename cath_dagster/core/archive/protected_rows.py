"""Leave restored rows alone for as long as they had been kept: no purge of any job takes them, or what they belong to.

Whoever restores holds the locks of all jobs that delete from the tables, so that what a run finds here when it plans
holds until it ends.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from cath_dagster.core.maintenance.tables import restored_row
from cath_dagster.core.model.purge import Child, Purge, Revision, belongs, key_of
from cath_dagster.core.postgres.relations import key_text

LEFT_ALONE = "not restored lately, nor any row that goes along with it"


def tables_left_alone(connection: sa.Connection, as_of: datetime) -> frozenset[str]:
    """Return the tables of which restored rows are left alone still at that reference time."""
    names = sa.select(restored_row.c.table_name).where(restored_row.c.left_alone_until > as_of).distinct()
    return frozenset(connection.scalars(names))


def spare(purge: Purge, tables: Collection[str], as_of: datetime) -> Purge:
    """Return the purge without the rows that are left alone at that reference time, all in the given tables."""
    spared = _spared(purge.table, purge.children, tables, as_of)
    if not spared:
        return purge
    is_free = sa.and_(*spared)
    return replace(
        purge,
        predicate=sa.and_(purge.predicate, is_free),
        conditions={**(purge.conditions or {purge.rule: purge.predicate}), LEFT_ALONE: is_free},
    )


def spare_revision(revision: Revision, tables: Collection[str], as_of: datetime) -> Revision:
    """Return the revision without the rows that are left alone at that reference time."""
    spared = _spared(revision.table, (), tables, as_of)
    return replace(revision, predicate=sa.and_(revision.predicate, *spared)) if spared else revision


def count_spared(purge: Purge, spared: Purge) -> sa.Select[tuple[int]]:
    """Return the query for how many rows the one purge takes and the other, its spared form, does not."""
    return sa.select(sa.func.count()).select_from(purge.table).where(purge.predicate, sa.not_(spared.predicate))


def _spared(
    table: sa.Table, children: Sequence[Child], tables: Collection[str], as_of: datetime
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a row that is not left alone: neither it nor any row that would go along."""
    conditions: list[sa.ColumnElement[bool]] = []
    if table.name in tables:
        # NOT IN takes no part in what the rows are decided by elsewhere, and is worked out once a statement.
        conditions.append(sa.cast(key_of(table), sa.Text).not_in(_keys_left_alone(table, as_of)))
    return conditions + [sa.not_(each) for child in children for each in _has_spared(child, table, tables, as_of)]


def _has_spared(
    child: Child, parent: sa.Table, tables: Collection[str], as_of: datetime
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a parent's row with which one that is left alone would go along."""
    chosen: list[sa.ColumnElement[bool]] = []
    key = list(child.table.primary_key.columns)
    if child.table.name in tables and key:
        chosen.append(key_text(key).in_(_keys_left_alone(child.table, as_of)))
    for grandchild in child.children:
        chosen += _has_spared(grandchild, child.table, tables, as_of)
    pairs = child.pairs_to(parent)
    own, theirs = [column for column, _ in pairs], [column for _, column in pairs]
    refer = [column.is_not(None) for column in own]
    # A NULL among them would make every NOT IN unknown.
    return [belongs(tuple(zip(theirs, own, strict=True)), sa.select(*own).where(each, *refer)) for each in chosen]


def _keys_left_alone(table: sa.Table, as_of: datetime) -> sa.Select[tuple[str]]:
    return sa.select(restored_row.c.key).where(
        restored_row.c.table_name == table.name, restored_row.c.left_alone_until > as_of
    )
