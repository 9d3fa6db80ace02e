"""Put archived rows back, a part in one transaction: insert, leave alone for a while, take their files off the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.archive.archiver import pin_text
from cath_dagster.core.ledger.ledger import Ledger
from cath_dagster.core.maintenance.tables import restored_row
from cath_dagster.core.outbox import files
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.restore.archive_sql import (
    PLACE,
    Part,
    among,
    execute,
    is_linked,
    judged,
    key_of,
    link_conditions,
    name_of,
    quote,
    reference_of,
)
from cath_dagster.core.restore.hindrance import Hindrance, Kind, hindrance_of
from cath_dagster.core.restore.preparation import Restorable, parent_of

Lacking = Mapping[int, tuple[str, Hindrance]]
"""By place, the key of a row and what it lacks."""


@dataclass(frozen=True)
class BatchCounts:
    """What one transaction did with the rows of a part."""

    chosen: int = 0
    restored: int = 0
    taken: tuple[str, ...] = ()
    """Keys of rows whose unique values another row has."""
    refused: Mapping[str, Hindrance] = field(default_factory=dict)
    """Keys of rows that the table does not take, each with what is in the way."""
    lacking: Lacking = field(default_factory=dict)
    """The rows that refer to one that is not there, or not yet."""


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

    def put_back(self, part: Part, places: Sequence[int] | None = None, *, apart: bool = False) -> BatchCounts:
        """Put a part's rows back, those at the places if given, else those that the operator chose.

        With `apart` each comes that can by itself, else those that refer to rows of their own part may wait for all of it.
        """
        if places is None and self.restorable.where is not None:
            places = self.database.transaction(partial(self._choose, part), is_read_only=True)
            if not places:
                return BatchCounts()
        return self.database.transaction(partial(self._put_back, part, places, apart))

    def link(self, part: Part) -> None:
        """Set again what the deletion set to null, where it is null still and the row that it named is there."""
        self.database.transaction(partial(self._link, part))

    def _choose(self, part: Part, connection: sa.Connection) -> list[int]:
        pin_text(connection)
        query = f"SELECT {PLACE} FROM ({self.restorable.chosen(part)}) AS chosen"  # noqa: S608 - it cannot write
        return list(execute(connection, query, ids=[part.archive_id]).scalars())

    def put_back_together(self, parts: Mapping[int, Part], rows: Mapping[int, Mapping[int, str]]) -> bool:
        """Put rows back that refer to each other, of whatever tables, by one statement: keys are held at its end.

        Return whether they came; if something keeps one of them out, none does.
        """
        return self.database.transaction(partial(self._put_back_together, parts, rows))

    def _put_back(
        self, part: Part, places: Sequence[int] | None, apart: bool, connection: sa.Connection
    ) -> BatchCounts:
        _begin(connection)
        seen = self._judge(connection, part, None if places is None else set(places))
        in_the_way = {row.key: row.is_there for row in seen if row.is_there or row.is_taken}
        lacking = {
            row.place: (row.key, Hindrance(Kind.GONE, row.lacks))
            for row in seen
            if row.lacks and row.key not in in_the_way
        }
        free = {row.place: row.key for row in seen if row.key not in in_the_way and row.place not in lacking}
        inserted = self._insert(connection, part, free, apart=apart)
        there = [key for key, is_there in in_the_way.items() if is_there]
        self._settle(connection, part, inserted.restored, there)
        self.ledger.record_batch(connection, {self._target(part): {"restored": len(inserted.restored)}}, rule=self.rule)
        taken = [key for key, is_there in in_the_way.items() if not is_there]
        return BatchCounts(
            chosen=len(seen),
            restored=len(inserted.restored),
            taken=(*taken, *inserted.taken),
            refused=inserted.refused,
            lacking=lacking | inserted.orphaned,
        )

    def _judge(self, connection: sa.Connection, part: Part, places: set[int] | None) -> list[sa.Row[Any]]:
        rows = self.restorable.rows(part)
        # Rows that refer to others of the same part go with them in one statement.
        references = [
            (each, _parents_beside(each.parent_columns, rows)) if parent_of(each) == part.name else (each, None)
            for each in self.restorable.references_of(part.name)
        ]
        judgement = judged(self.restorable.relations[part.name], part, rows, references)
        found = execute(
            connection,
            f"SELECT {PLACE} AS place, key, is_there, is_taken, lacks FROM ({judgement}) AS judged",  # noqa: S608
            ids=[part.archive_id],
        )
        return [row for row in found if places is None or row.place in places]

    def _insert(self, connection: sa.Connection, part: Part, rows: Mapping[int, str], *, apart: bool) -> "_Inserted":
        """Insert the rows at these places; where some cannot go, all but those.

        Unless they are to go `apart`, all wait if one lacks a row that it refers to, as it may for one that comes later.
        """
        inserted = _Inserted()
        halves = [list(rows)] if rows else []
        while halves:
            places = halves.pop()
            try:
                inserted.restored += self._insert_places(connection, part, places)
            except DBAPIError as error:
                hindrance = hindrance_of(error)
                if hindrance is None:
                    raise
                if hindrance.kind is Kind.GONE and not apart:
                    inserted.orphaned.update({place: (rows[place], hindrance) for place in places})
                elif len(places) == 1:
                    inserted.keep_out(places[0], rows[places[0]], hindrance)
                else:
                    middle = len(places) // 2
                    halves += [places[middle:], places[:middle]]
        kept_out = {key for key in rows.values() if key not in inserted.told}
        inserted.refused.update(dict.fromkeys(kept_out, Hindrance(Kind.KEPT_OUT)))
        return inserted

    def _insert_places(self, connection: sa.Connection, part: Part, places: Sequence[int]) -> list[str]:
        condition = f"{PLACE} = ANY(CAST(%(places)s AS bigint[]))"
        with connection.begin_nested():
            statement = self._insertion(part, self.restorable.rows(part), condition)
            return list(execute(connection, statement, ids=[part.archive_id], places=list(places)).scalars())

    def _insertion(self, part: Part, rows: str, condition: str) -> str:
        relation = self.restorable.relations[part.name]
        stored = {column.name for column in relation.stored}
        columns = ", ".join(quote(name) for name in part.names if name in stored)
        # No ON CONFLICT: it takes no deferrable index. What exists was looked at in this transaction, and a row that
        # came in between is in the way of its own row only.
        return (
            f"INSERT INTO {name_of(relation.schema, relation.name)} ({columns}) OVERRIDING SYSTEM VALUE "  # noqa: S608
            f"SELECT {columns} FROM ({rows}) AS given WHERE {condition} RETURNING {key_of(relation, part)}"
        )

    def _put_back_together(
        self, parts: Mapping[int, Part], rows: Mapping[int, Mapping[int, str]], connection: sa.Connection
    ) -> bool:
        _begin(connection)
        inserts, parameters = [], dict[str, object]()
        for number, (archive, places) in enumerate(rows.items()):
            name = f"part_{number}"
            parameters |= {name: [archive], f"{name}_archives": [archive] * len(places), f"{name}_places": list(places)}
            given = self.restorable.rows(parts[archive], ids=name)
            inserts.append(f"{name} AS ({self._insertion(parts[archive], given, among('given', name))})")
        each = " UNION ALL ".join(f"SELECT 'part_{number}' FROM part_{number}" for number in range(len(inserts)))  # noqa: S608
        try:
            with connection.begin_nested():
                execute(connection, f"WITH {', '.join(inserts)} {each}", **parameters)
        except DBAPIError as error:
            if hindrance_of(error) is None:
                raise
            return False
        for archive, places in rows.items():
            self._settle(connection, parts[archive], list(places.values()), [])
            self.ledger.record_batch(
                connection, {self._target(parts[archive]): {"restored": len(places)}}, rule=self.rule
            )
        return True

    def _settle(self, connection: sa.Connection, part: Part, restored: Sequence[str], there: Sequence[str]) -> None:
        """Let the rows that are there again be left alone, and undo what was queued and copied because they had gone."""
        self._remember(connection, part, restored)
        keys = [*restored, *there]
        if keys:
            files.take_off(connection, part.table, keys)
            self._remove_copies(connection, part, keys)

    def _remove_copies(self, connection: sa.Connection, part: Part, keys: Sequence[str]) -> None:
        """Remove the copies of rows that are there again: a later purge copies them anew."""
        if part.copy is None:
            return
        copies, column = name_of(part.copy.schema, part.copy.table), quote(part.copy.column)
        statement = f"DELETE FROM {copies} WHERE CAST({column} AS text) = ANY(%(keys)s)"  # noqa: S608 - the archive's names
        execute(connection, statement, keys=list(keys))

    def _target(self, part: Part) -> str:
        return self.restorable.target(part.name)

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
        given = sa.func.unnest(sa.literal(list(keys), ARRAY(sa.Text))).table_valued("key").render_derived("given")
        values = {"table_name": sa.literal(part.table), "key": given.c.key} | {
            name: sa.literal(value, restored_row.c[name].type) for name, value in known.items()
        }
        statement = insert(restored_row).from_select(list(values), sa.select(*values.values()).distinct())
        again = {name: statement.excluded[name] for name in known}
        connection.execute(statement.on_conflict_do_update(index_elements=["table_name", "key"], set_=again))

    def _link(self, part: Part, connection: sa.Connection) -> None:
        pin_text(connection)
        reference, relation = reference_of(part), self.restorable.relations[part.name]
        values = ", ".join(f"{quote(name)} = given.{quote(name)}" for name in reference.columns)
        found, unset = link_conditions(relation, part, reference)
        parameters: dict[str, object] = {"ids": [part.archive_id]}
        is_same = self.restorable.is_same_row(part, parameters)
        statement = (
            f"UPDATE {name_of(relation.schema, relation.name)} AS there SET {values} "  # noqa: S608 - the catalogue's
            f"FROM ({self.restorable.rows(part)}) AS given WHERE {found} AND {unset} AND {is_same} "
            f"AND {is_linked(reference, None)}"
        )
        updated = execute(connection, statement, **parameters).rowcount
        self.ledger.record_batch(connection, {self._target(part): {"updated": updated}}, rule=self.rule)


@dataclass
class _Inserted:
    """What an INSERT of a part's rows came to: the keys that went, that others have, and that something keeps out."""

    restored: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    refused: dict[str, Hindrance] = field(default_factory=dict)
    orphaned: dict[int, tuple[str, Hindrance]] = field(default_factory=dict)

    def keep_out(self, place: int, key: str, hindrance: Hindrance) -> None:
        if hindrance.kind is Kind.GONE:
            self.orphaned[place] = (key, hindrance)
        elif hindrance.kind is Kind.TAKEN:
            self.taken.append(key)
        else:
            self.refused[key] = hindrance

    @property
    def told(self) -> set[str]:
        return {*self.restored, *self.taken, *self.refused, *(key for key, _ in self.orphaned.values())}


def _begin(connection: sa.Connection) -> None:
    pin_text(connection)
    # So that a violation shows in the statement of its rows.
    connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")


def _parents_beside(columns: Sequence[str], rows: str) -> str:
    has_all = " AND ".join(f"{quote(name)} IS NOT NULL" for name in columns)
    return f"SELECT {', '.join(map(quote, columns))} FROM ({rows}) AS beside WHERE {has_all}"  # noqa: S608
