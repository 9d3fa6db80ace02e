"""Put archived rows back, a part in one transaction: insert, leave alone for a while, take their files off the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from cath_dagster.core import outbox
from cath_dagster.core.archive import pin_text
from cath_dagster.core.archived import (
    PLACE,
    Part,
    execute,
    is_linked,
    judged,
    link_conditions,
    name_of,
    reference_of,
)
from cath_dagster.core.database import Database, sqlstate
from cath_dagster.core.heap import quote
from cath_dagster.core.ledger import Ledger
from cath_dagster.core.maintenance import restored_row
from cath_dagster.core.relations import existing_keys
from cath_dagster.core.restorable import Restorable

FOREIGN_KEY_VIOLATION = "23503"
ROW_REFUSED = ("22", "23", "44", "P0")
"""Classes of errors that are one row's fault: a value, a constraint, a view's check, a trigger that raises."""
KEPT_OUT = "a trigger, or another row's unique value"


@dataclass(frozen=True)
class Done:
    """What one transaction did with the rows of a part."""

    chosen: int = 0
    restored: int = 0
    taken: tuple[str, ...] = ()
    """Keys of rows whose unique values another row has."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Keys of rows that the table does not take, each with what is in the way."""
    lacking: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    """By place, the key of a row and the foreign key whose row is not there, or not yet."""


@dataclass(frozen=True, kw_only=True)
class RowRestorer:
    """Writes for one restore. `run_id` had deleted the rows, `restore_id` puts them back."""

    database: Database
    ledger: Ledger
    restorable: Restorable
    run_id: str
    restore_id: str
    now: datetime

    @property
    def rule(self) -> str:
        """What the ledger calls it."""
        return f"restored from run {self.run_id}"

    def put_back(self, part: Part, places: Sequence[int] | None = None) -> Done:
        """Put a part's rows back, those at the places if given, else those that the operator chose."""
        if places is None and self.restorable.where is not None:
            places = self.database.transaction(partial(self._choose, part))
            if not places:
                return Done()
        return self.database.transaction(partial(self._put_back, part, places))

    def link(self, part: Part) -> None:
        """Set again what the deletion set to null, where it is null still and the row that it named is there."""
        self.database.transaction(partial(self._link, part))

    def _choose(self, part: Part, connection: sa.Connection) -> list[int]:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_text(connection)
        query = f"SELECT {PLACE} FROM ({self.restorable.chosen(part)}) AS chosen"  # noqa: S608 - it cannot write
        return list(execute(connection, query, ids=[part.archive_id]).scalars())

    def _put_back(self, part: Part, places: Sequence[int] | None, connection: sa.Connection) -> Done:
        pin_text(connection)
        # So that a violation shows in the statement of its rows.
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        seen = self._judge(connection, part, None if places is None else set(places))
        in_the_way = {key: is_there for _, key, is_there, is_taken, _ in seen if is_there or is_taken}
        lacking = {place: (key, lacks) for place, key, _, _, lacks in seen if lacks and key not in in_the_way}
        free = {place: key for place, key, *_ in seen if key not in in_the_way and place not in lacking}
        restored, refused, orphaned = self._insert(connection, part, free)
        self._remember(connection, part, restored)
        there = [key for key, is_there in in_the_way.items() if is_there]
        if restored or there:
            outbox.take_off(connection, part.table, [*restored, *there])
        self.ledger.record_batch(connection, {part.table: {"restored": len(restored)}}, rule=self.rule)
        return Done(
            chosen=len(seen),
            restored=len(restored),
            taken=tuple(key for key, is_there in in_the_way.items() if not is_there),
            refused=refused,
            lacking=lacking | orphaned,
        )

    def _judge(self, connection: sa.Connection, part: Part, places: set[int] | None) -> list[sa.Row[Any]]:
        rows = self.restorable.rows(part)
        # Rows that refer to others of the same part go with them in one statement.
        references = [
            (each, f"SELECT {', '.join(map(quote, each.parent_columns))} FROM ({rows}) AS beside")  # noqa: S608
            if each.parent == part.table
            else (each, None)
            for each in self.restorable.references_of(part.table)
        ]
        judgement = judged(self.restorable.relations[part.table], rows, references)
        found = execute(connection, judgement, ids=[part.archive_id])
        return [row for row in found if places is None or row[0] in places]

    def _insert(
        self, connection: sa.Connection, part: Part, rows: Mapping[int, str]
    ) -> tuple[list[str], dict[str, str], dict[int, tuple[str, str]]]:
        """Insert the rows at these places, one by one if they cannot go at once.

        Returns the keys that went, those that something keeps out, and by place those that lack the row they refer to.
        """
        restored: list[str] = []
        refused: dict[str, str] = {}
        orphaned: dict[int, tuple[str, str]] = {}
        if not rows:
            return restored, refused, orphaned
        try:
            restored = self._insert_places(connection, part, list(rows))
        except DBAPIError as error:
            _raise_unless_of_rows(error)
            for place, key in rows.items():
                try:
                    restored += self._insert_places(connection, part, [place])
                except DBAPIError as fault:
                    _raise_unless_of_rows(fault)
                    if sqlstate(fault) == FOREIGN_KEY_VIOLATION:
                        orphaned[place] = (key, _fault(fault))
                    else:
                        refused[key] = _fault(fault)
        told = {*restored, *refused, *(key for key, _ in orphaned.values())}
        missing = [key for key in rows.values() if key not in told]
        if missing:
            # A row that came in between is there now; what a trigger kept out is not.
            there = existing_keys(connection, self.restorable.relations[part.table], missing)
            refused |= {key: KEPT_OUT for key in missing if key not in there}
        return restored, refused, orphaned

    def _insert_places(self, connection: sa.Connection, part: Part, places: Sequence[int]) -> list[str]:
        relation = self.restorable.relations[part.table]
        (key,) = relation.key
        stored = {column.name for column in relation.stored}
        columns = ", ".join(quote(name) for name in part.names if name in stored)
        statement = (
            f"INSERT INTO {name_of(relation.schema, relation.name)} ({columns}) OVERRIDING SYSTEM VALUE "  # noqa: S608
            f"SELECT {columns} FROM ({self.restorable.rows(part)}) AS given "
            f"WHERE {PLACE} = ANY(CAST(%(places)s AS bigint[])) ON CONFLICT DO NOTHING "
            f"RETURNING CAST({quote(key)} AS text)"
        )
        with connection.begin_nested():
            return list(execute(connection, statement, ids=[part.archive_id], places=list(places)).scalars())

    def _remember(self, connection: sa.Connection, part: Part, keys: Sequence[str]) -> None:
        """Write down which rows were put back, so that they are left alone for as long as they had been kept."""
        if not keys:
            return
        known = {
            "job": part.job,
            "run_id": self.run_id,
            "restored_by": self.restore_id,
            "restored_at": self.now,
            "left_alone_until": self.now + timedelta(days=part.undo_days),
        }
        statement = insert(restored_row)
        again = {name: statement.excluded[name] for name in known}
        connection.execute(
            statement.on_conflict_do_update(index_elements=["table_name", "key"], set_=again),
            [{"table_name": part.table, "key": key, **known} for key in keys],
        )

    def _link(self, part: Part, connection: sa.Connection) -> None:
        pin_text(connection)
        reference, relation = reference_of(part), self.restorable.relations[part.table]
        values = ", ".join(f"{quote(name)} = given.{quote(name)}" for name in reference.columns)
        found, unset = link_conditions(relation, reference)
        statement = (
            f"UPDATE {name_of(relation.schema, relation.name)} AS there SET {values} "  # noqa: S608 - the catalogue's
            f"FROM ({self.restorable.rows(part)}) AS given WHERE {found} AND {unset} AND {is_linked(reference, None)}"
        )
        updated = execute(connection, statement, ids=[part.archive_id]).rowcount
        self.ledger.record_batch(connection, {part.table: {"updated": updated}}, rule=self.rule)


def _raise_unless_of_rows(error: DBAPIError) -> None:
    if not (sqlstate(error) or "").startswith(ROW_REFUSED):
        raise error


def _fault(error: DBAPIError) -> str:
    """Return what was in a row's way, without any value of it."""
    diagnostic: Any = getattr(error.orig, "diag", None)
    names = (getattr(diagnostic, name, None) for name in ("constraint_name", "column_name"))
    return next((name for name in names if name), None) or str(sqlstate(error))
