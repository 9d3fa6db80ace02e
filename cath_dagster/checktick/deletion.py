"""What goes when a survey goes: a policy for each foreign key, held against those that the database reports.

The rows of every table are found by statements over sets of surveys, so that neither a survey's responses nor their
keys ever come here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

import sqlalchemy as sa

from cath_dagster.checktick import tables as t

Within = Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]]
"""Whether a column holds the key of one of the surveys in question."""


@dataclass(frozen=True)
class Reference:
    """A foreign key, and what becomes of its row when the row it refers to is deleted."""

    column: sa.Column[Any]
    parent: sa.Table
    is_kept: bool = False
    """The row stays and refers to nothing any more; else it goes along."""

    @property
    def child(self) -> sa.Table:
        return self.column.table

    def __str__(self) -> str:
        return f"{self.child.name}.{self.column.name} to {self.parent.name}"


def _go_along(parent: sa.Table, *columns: sa.Column[Any]) -> list[Reference]:
    return [Reference(column, parent) for column in columns]


def _stay(parent: sa.Table, *columns: sa.Column[Any]) -> list[Reference]:
    return [Reference(column, parent, is_kept=True) for column in columns]


POLICY: tuple[Reference, ...] = (
    *_go_along(
        t.survey,
        t.response.c.survey_id,
        t.data_subject_request.c.survey_id,
        t.access_token.c.survey_id,
        t.progress.c.survey_id,
        t.question.c.survey_id,
        t.collection.c.survey_id,
        t.question_group_of_survey.c.survey_id,
        t.membership.c.survey_id,
        t.custodian.c.survey_id,
        t.legal_hold.c.survey_id,
        t.retention_extension.c.survey_id,
        t.data_export.c.survey_id,
        t.conversation.c.survey_id,
        t.key_escrow.c.survey_id,
        t.recovery_request.c.survey_id,
        t.audit_log.c.survey_id,
    ),
    *_stay(t.survey, t.survey.c.translated_from_id),
    *_go_along(t.response, t.freeze_log.c.response_id),
    *_stay(t.response, t.data_subject_request.c.response_id),
    *_stay(t.data_subject_request, t.freeze_log.c.data_subject_request_id),
    *_stay(t.access_token, t.response.c.access_token_id, t.progress.c.access_token_id),
    *_go_along(
        t.question,
        t.question_image.c.question_id,
        t.question_condition.c.question_id,
        t.question_condition.c.target_question_id,
    ),
    *_go_along(
        t.collection,
        t.collection.c.parent_id,
        t.collection_item.c.collection_id,
        t.collection_item.c.child_collection_id,
    ),
    *_go_along(
        t.recovery_request,
        t.identity_verification.c.recovery_request_id,
        t.recovery_audit_entry.c.recovery_request_id,
    ),
)


def _children_first() -> tuple[sa.Table, ...]:
    sorter: TopologicalSorter[sa.Table] = TopologicalSorter()
    for reference in POLICY:
        if not reference.is_kept and reference.child is not reference.parent:
            sorter.add(reference.parent, reference.child)
    return tuple(sorter.static_order())


TABLES = _children_first()
"""Every table of which rows go, each before those it refers to; the surveys come last."""
DEPENDENT = TABLES[:-1]


@dataclass(frozen=True)
class Removal:
    """Which rows of every table go, and which are changed, with the surveys that are `within`."""

    within: Within = field(repr=False)

    def goes(self, table: sa.Table) -> sa.ColumnElement[bool]:
        """Return whether a row of a table goes."""
        if table is t.survey:
            return self.within(t.survey.c.id)
        if table is t.collection:
            return t.collection.c.id.in_(sa.select(self._collections.c.id))
        return sa.or_(*(self._refers(reference) for reference in POLICY if _takes(reference, table)))

    def is_cut_off(self, reference: Reference) -> sa.ColumnElement[bool]:
        """Return whether a row stays and loses what it refers to."""
        return sa.and_(self._refers(reference), self.goes(reference.child).is_not(sa.true()))

    def _refers(self, reference: Reference) -> sa.ColumnElement[bool]:
        if reference.parent is t.survey:
            return self.within(reference.column)
        return reference.column.in_(self._keys(reference.parent))

    def _keys(self, table: sa.Table) -> sa.Select[Any]:
        return sa.select(table.c.id).where(self.goes(table))

    @cached_property
    def _collections(self) -> sa.CTE:
        """The collections of the surveys, and those nested in them."""
        own, nested = t.collection.alias(), t.collection.alias()
        found = sa.select(own.c.id).where(self.within(own.c.survey_id)).cte("collections", recursive=True)
        return found.union(sa.select(nested.c.id).join(found, nested.c.parent_id == found.c.id))


def _takes(reference: Reference, table: sa.Table) -> bool:
    return reference.child is table and not reference.is_kept


def find_gaps(connection: sa.Connection) -> list[str]:
    """Return where the policy and the database's foreign keys differ, in words with what to do; nothing if they do not."""
    known = set(map(str, POLICY))
    there = set(_foreign_keys(connection))
    return [
        *_obstacles(
            there - known,
            "the database has foreign keys for which no policy says what becomes of their rows when a survey is deleted",
            "say so in checktick/deletion.py",
        ),
        *_obstacles(
            known - there,
            "the policy speaks of foreign keys that the database does not have",
            "is this CheckTick's database, and of a version that this release knows?",
        ),
    ]


def _obstacles(names: Iterable[str], says: str, remedy: str) -> list[str]:
    found = sorted(names)
    return [f"{says} ({'; '.join(found)}): {remedy}"] if found else []


def _foreign_keys(connection: sa.Connection) -> Iterable[str]:
    """Yield `child.columns to parent` of every foreign key to a table of which rows go."""
    query = sa.text(
        """
        SELECT CASE WHEN child_schema.nspname = 'public' THEN '' ELSE child_schema.nspname || '.' END || child.relname,
               (SELECT string_agg(attribute.attname, ', ' ORDER BY place)
                FROM unnest(fk.conkey) WITH ORDINALITY AS of_key (attnum, place)
                JOIN pg_attribute AS attribute
                  ON attribute.attrelid = fk.conrelid AND attribute.attnum = of_key.attnum),
               parent.relname
        FROM pg_constraint AS fk
        JOIN pg_class AS child ON child.oid = fk.conrelid
        JOIN pg_namespace AS child_schema ON child_schema.oid = child.relnamespace
        JOIN pg_class AS parent ON parent.oid = fk.confrelid
        WHERE fk.contype = 'f' AND fk.conparentid = 0
          AND parent.relnamespace = 'public'::regnamespace AND parent.relname = ANY(:parents)
        """
    )
    for child, columns, parent in connection.execute(query, {"parents": [table.name for table in TABLES]}):
        yield f"{child}.{columns} to {parent}"
