"""Foresee which archived rows would come back and what keeps the others out, in transactions that cannot write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.archive.archiver import pin_text
from cath_dagster.core.model.relation import Reference
from cath_dagster.core.postgres.database import Database, sqlstate
from cath_dagster.core.restore.archive_sql import (
    ARCHIVE,
    PLACE,
    Name,
    Part,
    among,
    execute,
    is_linked,
    judged,
    link_conditions,
    name_of,
    quote,
    reference_of,
)
from cath_dagster.core.restore.checks import conditions, find_checks
from cath_dagster.core.restore.hindrance import Hindrance, Kind
from cath_dagster.core.restore.preparation import Restorable, parent_of

UNFORESEEABLE = ("22", "42", "0A", "P0")
"""Classes of errors of an expression that does not work by itself."""

Rows = Mapping[int, Mapping[int, object]]
"""Rows by their archive and their place in it."""


@dataclass(frozen=True)
class Verdict:
    """Why a row does not come back: it is there, another has its unique values, or something is in its way."""

    key: str
    is_there: bool
    is_taken: bool
    hindrance: Hindrance | None


@dataclass(kw_only=True)
class Foresight:
    """What a restore would come to, worked out until no row is lost any more with one that it refers to.

    With `only`, for these rows alone.
    """

    database: Database
    restorable: Restorable
    only: Rows | None = None
    verdicts: dict[int, dict[int, Verdict]] = field(default_factory=dict)
    """By archive and place, the rows that do not come back."""

    def work_out(self) -> "Foresight":
        pending = [(table, group) for table in self.restorable.tables for group in self._groups(table)]
        while pending:
            changed = {table for table, group in pending if self._judge(table, group)}
            # Only those are judged again that refer to a table of which more rows are out.
            pending = [
                (table, group)
                for table in self.restorable.tables
                if any(parent_of(reference) in changed for reference in self.restorable.references_of(table))
                for group in self._groups(table)
            ]
        return self

    def of(self, table: Name) -> list[Verdict]:
        ids = {part.archive_id for part in self.restorable.parts if part.name == table}
        return [verdict for archive, found in self.verdicts.items() if archive in ids for verdict in found.values()]

    def count(self, table: Name) -> int:
        """Return how many rows of the table were chosen."""
        return sum(
            self.database.transaction(partial(self._count, group), is_read_only=True)
            for group in self.restorable.groups(table)
        )

    def count_links(self, group: Sequence[Part]) -> int:
        """Return how many rows would refer again to what comes back."""
        return self.database.transaction(partial(self._count_links, group), is_read_only=True)

    def _groups(self, table: Name) -> list[list[Part]]:
        groups = self.restorable.groups(table)
        if self.only is None:
            return groups
        return [some for group in groups if (some := [part for part in group if part.archive_id in self.only])]

    def _judge(self, table: Name, group: Sequence[Part]) -> int:
        """Judge the rows that are not out yet; return how many are now."""
        found = self.database.transaction(partial(self._find, table, group), is_read_only=True)
        for archive, place, verdict in found:
            self.verdicts.setdefault(archive, {})[place] = verdict
        return len(found)

    def _find(self, table: Name, group: Sequence[Part], connection: sa.Connection) -> list[tuple[int, int, Verdict]]:
        parameters = self._begin(connection, group)
        relation, part = self.restorable.relations[table], group[0]
        references = [(each, self._coming(each, parameters)) for each in self.restorable.references_of(table)]
        asked_for = self._is_in("judged", parameters)

        def find(breaks: Sequence[tuple[str, str]]) -> list[sa.Row[Any]]:
            each = judged(relation, part, self.restorable.chosen(part), references, breaks)
            statement = (
                f"SELECT {ARCHIVE}, {PLACE}, key, is_there, is_taken, lacks, breaks FROM ({each}) AS judged "  # noqa: S608
                f"WHERE (is_there OR is_taken OR lacks IS NOT NULL OR breaks IS NOT NULL) AND {asked_for}"
            )
            with connection.begin_nested():
                return list(execute(connection, statement, **parameters))

        try:
            rows = find(conditions(relation, part, find_checks(connection, relation)))
        except DBAPIError as error:
            if not (sqlstate(error) or "").startswith(UNFORESEEABLE):
                raise
            # A rule that cannot be worked out by itself is left to the INSERT.
            rows = find(())
        return [
            (archive, place, Verdict(key, there, taken, _hindrance(lacks, breaks)))
            for archive, place, key, there, taken, lacks, breaks in rows
        ]

    def _count(self, group: Sequence[Part], connection: sa.Connection) -> int:
        parameters = self._begin(connection, group)
        rows = self.restorable.chosen(group[0])
        return int(execute(connection, f"SELECT count(*) FROM ({rows}) AS chosen", **parameters).scalar_one())  # noqa: S608

    def _count_links(self, group: Sequence[Part], connection: sa.Connection) -> int:
        parameters = self._begin(connection, group)
        part, reference = group[0], reference_of(group[0])
        found, unset = link_conditions(self.restorable.relations[part.name], part, reference)
        linked = is_linked(reference, self._coming(reference, parameters))
        # A row may have gone by a later batch than the one it referred to, and have been archived without it.
        columns = ", ".join(map(quote, part.names))
        is_same = self.restorable.is_same_row(part, parameters)
        existing = f"SELECT {columns} FROM {name_of(*part.name)} AS there WHERE {is_same}"  # noqa: S608
        there = [existing, *self._coming_rows(part.name, columns, "", parameters)]
        statement = (
            f"SELECT count(*) FROM ({' UNION ALL '.join(there)}) AS there, "  # noqa: S608 - see `chosen`
            f"({self.restorable.rows(part)}) AS given WHERE {found} AND {unset} AND {linked}"
        )
        return int(execute(connection, statement, **parameters).scalar_one())

    def _coming(self, reference: Reference, parameters: dict[str, object]) -> str | None:
        """Return the query for the parents that come back as far as is known, None if there are none."""
        columns = ", ".join(map(quote, reference.parent_columns))
        has_all = " AND ".join(f"{quote(name)} IS NOT NULL" for name in reference.parent_columns)
        return " UNION ALL ".join(self._coming_rows(parent_of(reference), columns, has_all, parameters)) or None

    def _coming_rows(self, table: Name, columns: str, condition: str, parameters: dict[str, object]) -> list[str]:
        """Return the queries for columns of a table's rows that come back as far as is known."""
        queries = []
        for group in self._groups(table):
            name = f"coming_{len(parameters)}"
            parameters[name] = [part.archive_id for part in group]
            rows = self.restorable.chosen(group[0], ids=name)
            where = " AND ".join(filter(None, [condition, self._is_in("coming", parameters)]))
            queries.append(f"SELECT {columns} FROM ({rows}) AS coming WHERE {where}")  # noqa: S608 - see `chosen`
        return queries

    def _is_in(self, rows: str, parameters: dict[str, object]) -> str:
        """Return the condition that a row is asked after, and not known to be out."""
        _bind(parameters, "out", self.verdicts)
        conditions = [f"NOT {among(rows, 'out')}"]
        if self.only is not None:
            _bind(parameters, "only", self.only)
            conditions.append(among(rows, "only"))
        return " AND ".join(conditions)

    def _begin(self, connection: sa.Connection, group: Sequence[Part]) -> dict[str, object]:
        pin_text(connection)
        return {"ids": [part.archive_id for part in group]}


def _bind(parameters: dict[str, object], name: str, rows: Rows) -> None:
    pairs = [(archive, place) for archive, places in rows.items() for place in places]
    parameters[f"{name}_archives"] = [archive for archive, _ in pairs]
    parameters[f"{name}_places"] = [place for _, place in pairs]


def _hindrance(lacks: str | None, breaks: str | None) -> Hindrance | None:
    if lacks is not None:
        return Hindrance(Kind.GONE, lacks)
    if breaks is None:
        return None
    kind, _, name = breaks.partition(":")
    return Hindrance(Kind[kind], name)
