"""Put back what a run deleted, parents before children, and what its deletions had set to null elsewhere.

What exists is skipped, so that a restore that is killed is finished by the next, and one that is repeated does nothing.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    chosen,
    execute,
    find_damaged,
    is_linked,
    judged,
    name_of,
    read_parts,
    rows_of,
    tell_why_none,
)
from cath_dagster.core.catalogue import find_missing_privileges
from cath_dagster.core.database import Database, sqlstate
from cath_dagster.core.errors import ConfigurationError, IncompleteRunError, MaintenanceError, RefusedError
from cath_dagster.core.execution import lock_name
from cath_dagster.core.heap import quote
from cath_dagster.core.ledger import Ledger
from cath_dagster.core.maintenance import restored_row
from cath_dagster.core.outcome import Outcome, RunResult, Scalar, Status
from cath_dagster.core.relations import Reference, Relation, read_references, read_relation
from cath_dagster.core.spec import JobSpec, Location

MAX_IDS = 20
"""Ids that an outcome names; more tell an operator nothing."""
ROW_REFUSED = ("22", "23", "44", "P0")
"""Classes of errors that are one row's fault: a value, a constraint, a view's check, a trigger that raises."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What shall be put back: a run's rows, of one table, or those for which an SQL condition holds."""

    run_id: str
    table: str | None = None
    where: str | None = None
    dry_run: bool = False


@dataclass
class _Tally:
    """What came of one table's rows."""

    chosen: int = 0
    there: int = 0
    taken: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    """Keys of rows that could not be put back, each with the constraint that was in the way."""


@dataclass(frozen=True)
class _Done:
    """What one transaction did with the rows of a part."""

    restored: int
    chosen: int
    there: int
    taken: tuple[str, ...]
    refused: Mapping[str, str]
    lacking: Mapping[int, tuple[str, str]]
    """By place, the key of a row and the foreign key whose row is not there, or not yet."""


class UnknownRunError(RefusedError):
    """No run of that id is known to the location."""


def restore(
    database: Database,
    location: Location,
    specs: Sequence[JobSpec],
    request: Request,
    *,
    restore_id: str,
    now: datetime,
    report: Callable[[str, int, int], None],
    clock: Callable[[], float] = time.perf_counter,
) -> RunResult:
    """Put back what a run deleted and return what was done; failures come back as a status and a message.

    Raises `UnknownRunError` where neither archive nor ledger know the run, and `ConfigurationError` for a table or a
    condition that cannot be meant.
    """
    started = clock()
    parts = database.transaction(partial(read_parts, run_id=request.run_id))
    if not parts:
        raise _no_archive(database, request.run_id)
    job = parts[0].job
    ledger = Ledger(
        database=database, run_id=restore_id, location=location.name, job=job, dry_run=request.dry_run, as_of=now
    )
    restorer = _Restorer(
        database=database, ledger=ledger, request=request, restore_id=restore_id, now=now, report=report
    )
    status, error = Status.SUCCESS, None
    try:
        if not request.dry_run:
            for name in _locks(specs, parts):
                database.lock(name)
        restorer.prepare()
        restorer.run()
    except ConfigurationError:
        raise
    except RefusedError as refused:
        status, error = Status.REFUSED, str(refused)
    except MaintenanceError as failed:
        status, error = Status.FAILED, str(failed)
    return RunResult(
        location=location.name,
        job=job,
        run_id=restore_id,
        dry_run=request.dry_run,
        as_of=now,
        status=status,
        outcomes=tuple(restorer.outcomes),
        error=error,
        notes=tuple(restorer.notes),
        seconds=clock() - started,
    )


def _no_archive(database: Database, run_id: str) -> RefusedError:
    why = database.transaction(partial(tell_why_none, run_id=run_id))
    if why is not None:
        return RefusedError(why)
    return UnknownRunError(f"no run {run_id} is known; cath-dagster ledger and maintenance.purge_ledger list the runs")


def _locks(specs: Sequence[JobSpec], parts: Sequence[Part]) -> list[str]:
    """Return the names of the locks of the run's own job and of every job that deletes from the same tables.

    Another job's run that has been planned does not know of rows that are restored since, and would take them.
    """
    tables = {part.table for part in parts if part.reference is None}
    names = []
    for spec in specs:
        if spec.name == parts[0].job:
            names.append(lock_name(spec, parts[0].partition))
        elif any("DELETE" in spec.privileges.get(table, ()) for table in tables):
            names.append(lock_name(spec, None))
    return sorted(names)


@dataclass(kw_only=True)
class _Restorer:
    """One restore: `prepare` refuses or finds everything that `run` needs."""

    database: Database
    ledger: Ledger
    request: Request
    restore_id: str
    now: datetime
    report: Callable[[str, int, int], None]
    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    links: list[Part] = field(default_factory=list)
    relations: dict[str, Relation] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)

    def prepare(self) -> None:
        """Refuse, before the first write, what can be seen to go wrong."""
        # Read again: another restore, or the job, may have been at work until the lock was had.
        parts = self.database.transaction(partial(read_parts, run_id=self.request.run_id))
        ended = [part.keep_until for part in parts if part.keep_until <= self.now]
        if ended or not parts:
            until = f" on {max(ended).isoformat()}" if ended else ""
            raise RefusedError(f"run {self.request.run_id} can no longer be undone: its window ended{until}")
        tables = list(dict.fromkeys(part.table for part in parts if part.reference is None))
        if self.request.table is not None and self.request.table not in tables:
            raise ConfigurationError(
                f"run {self.request.run_id} archived no rows of {self.request.table!r}; it did of {', '.join(tables)}"
            )
        wanted = [self.request.table] if self.request.table else tables
        self.parts = [part for part in parts if part.reference is None and part.table in wanted]
        self.links = [part for part in parts if part.reference is not None and part.reference.parent in wanted]
        self.database.transaction(self._look_up)
        self.database.transaction(self._check_condition)
        damaged = self.database.transaction(partial(find_damaged, parts=[*self.parts, *self.links]))
        if damaged:
            raise RefusedError(
                f"archives of run {self.request.run_id} are damaged, their checksums differ: archive_id "
                f"{', '.join(map(str, damaged[:MAX_IDS]))} of maintenance.archived_rows; nothing was restored"
            )

    def run(self) -> None:
        """Put the rows back, or in a dry run count them, and keep the ledger."""
        order = _parents_first(list(dict.fromkeys(part.table for part in self.parts)), self.references)
        self.ledger.start(*order)
        status, error = "interrupted", None
        try:
            with self._told():
                (self._count if self.request.dry_run else self._put_back)(order)
            failed = [outcome for outcome in self.outcomes if outcome.failed]
            if failed:
                told = ", ".join(f"{outcome.failed:,} of {outcome.target}" for outcome in failed)
                raise IncompleteRunError(f"rows could not be restored: {told}; the rest is done")
            status = Status.SUCCESS.value
        except MaintenanceError as failure:
            status, error = Status.FAILED.value, str(failure)
            raise
        finally:
            with contextlib.suppress(MaintenanceError):
                self.ledger.finish(self.outcomes, status=status, error=error)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Let what was committed be in the outcomes also where the restore breaks off."""
        try:
            yield
        except MaintenanceError:
            told = {outcome.target for outcome in self.outcomes}
            with contextlib.suppress(MaintenanceError):
                self.outcomes += [
                    Outcome.of(table, {**counts, "matched": counts["restored"]})
                    for table, counts in self.ledger.recorded().items()
                    if table not in told
                ]
            raise

    # Before the first write

    def _look_up(self, connection: sa.Connection) -> None:
        """Read the tables as they are now; raise `RefusedError` where the archived rows do not fit them any more."""
        for part in (*self.parts, *self.links):
            if part.table not in self.relations:
                relation = read_relation(connection, part.table, part.schema)
                if relation is None:
                    raise RefusedError(f"the table {part.table} is gone; nothing was restored")
                self.relations[part.table] = relation
        for part in self.parts:
            _check_fits(part, self.relations[part.table])
        for part in self.links:
            _check_names(part, self.relations[part.table])
        tables = {part.table for part in self.parts}
        found = read_references(connection, [self.relations[table] for table in tables])
        self.references = [reference for reference in found if reference.child in tables]
        wanted = dict.fromkeys((part.table for part in self.links), ("SELECT", "UPDATE"))
        wanted |= dict.fromkeys(tables, ("SELECT", "INSERT"))
        missing = [
            each
            for schema in {part.schema for part in (*self.parts, *self.links)}
            for each in find_missing_privileges(
                connection, schema, {name: wanted[name] for name in wanted if self.relations[name].schema == schema}
            )
        ]
        if missing:
            told = ". ".join(f"table {each.table}: {each.says}; {each.remedy}" for each in missing)
            raise RefusedError(f"{told} Nothing was restored")

    def _check_condition(self, connection: sa.Connection) -> None:
        """Raise `ConfigurationError` for a condition that is none over the columns of every table chosen."""
        if self.request.where is None:
            return
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        for part in {part.table: part for part in self.parts}.values():
            query = self._chosen(part)
            try:
                execute(connection, f"SELECT count(*) FROM ({query}) AS chosen", ids=[])  # noqa: S608 - see `_places`
            except DBAPIError as error:
                said = getattr(getattr(error.orig, "diag", None), "message_primary", None) or "it cannot be read"
                raise ConfigurationError(
                    f"--where is no condition over {part.table}: {said}; choose the table with --table, and quote names "
                    "as SQL does"
                ) from None

    def _chosen(self, part: Part, *, ids: str = "ids") -> str:
        return chosen(rows_of(self.relations[part.table], part.names, ids=ids), part.table, self.request.where)

    # A dry run

    def _count(self, order: Sequence[str]) -> None:
        for table in order:
            counts = [
                self.database.transaction(partial(self._count_group, table, group)) for group in self._groups(table)
            ]
            there, lacking, coming = (sum(numbers) for numbers in zip(*counts, strict=True))
            details: dict[str, Scalar] = {"there_already": there, "would_fail": lacking}
            self.outcomes.append(
                Outcome(target=table, matched=coming, details={name: n for name, n in details.items() if n})
            )
        for group in _grouped(self.links):
            matched = self.database.transaction(partial(self._count_links, group))
            self.outcomes.append(Outcome(target=group[0].table, matched=matched))

    def _groups(self, table: str) -> list[list[Part]]:
        return _grouped([part for part in self.parts if part.table == table])

    def _count_group(self, table: str, group: Sequence[Part], connection: sa.Connection) -> tuple[int, int, int]:
        """Return how many rows are there already, would lack the row they refer to, and would be put back."""
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_text(connection)
        parameters: dict[str, object] = {"ids": [part.archive_id for part in group]}
        references = [
            (reference, self._coming(reference, parameters))
            for reference in self.references
            if reference.child == table
        ]
        each = judged(self.relations[table], self._chosen(group[0]), references)
        counted = execute(
            connection,
            "SELECT count(*) FILTER (WHERE is_there OR is_taken), "  # noqa: S608 - the condition is in `_chosen`
            "count(*) FILTER (WHERE NOT (is_there OR is_taken) AND lacks IS NOT NULL), "
            f"count(*) FILTER (WHERE NOT (is_there OR is_taken) AND lacks IS NULL) FROM ({each}) AS judged",
            **parameters,
        ).one()
        return tuple(counted)

    def _count_links(self, group: Sequence[Part], connection: sa.Connection) -> int:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_text(connection)
        parameters: dict[str, object] = {"ids": [part.archive_id for part in group]}
        reference, relation = _reference(group[0]), self.relations[group[0].table]
        found, unset = _link_conditions(relation, reference)
        condition = f"{found} AND {unset} AND {is_linked(reference, self._coming(reference, parameters))}"
        rows = rows_of(relation, group[0].names)
        statement = (
            f"SELECT count(*) FROM {name_of(relation.schema, relation.name)} AS there, ({rows}) AS given "  # noqa: S608
            f"WHERE {condition}"
        )
        return int(execute(connection, statement, **parameters).scalar_one())

    def _coming(self, reference: Reference, parameters: dict[str, object]) -> str | None:
        """Return the query for the keys of parent rows that the restore would put back before; None if there are none."""
        queries = []
        for group in self._groups(reference.parent):
            name = f"parents_{len(parameters)}"
            parameters[name] = [part.archive_id for part in group]
            columns = ", ".join(map(quote, reference.parent_columns))
            queries.append(f"SELECT {columns} FROM ({self._chosen(group[0], ids=name)}) AS coming")  # noqa: S608
        return " UNION ALL ".join(queries) or None

    # A restore

    def _put_back(self, order: Sequence[str]) -> None:
        started = {part.archive_id: part for table in order for part in self.parts if part.table == table}
        tallies = {table: _Tally() for table in order}
        pending: dict[int, list[int] | None] = dict.fromkeys(started)
        is_first = True
        while pending:
            lacking: dict[int, Mapping[int, tuple[str, str]]] = {}
            restored = 0
            for number, (archive_id, places) in enumerate(pending.items(), start=1):
                part = started[archive_id]
                done = self._put_back_part(part, places)
                restored += done.restored
                if done.lacking:
                    lacking[archive_id] = done.lacking
                _add(tallies[part.table], done, is_first=is_first)
                self.report(part.table, number, len(pending))
            is_first = False
            # A row may refer to one of its own table that came later; what still lacks its row then has lost it.
            pending = {archive_id: list(rows) for archive_id, rows in lacking.items()} if restored else {}
            if not pending:
                for archive_id, rows in lacking.items():
                    tallies[started[archive_id].table].failed.update(dict(rows.values()))
        linked = self._link()
        self._tell(tallies, linked)

    def _put_back_part(self, part: Part, places: list[int] | None) -> _Done:
        if places is None and self.request.where is not None:
            places = self.database.transaction(partial(self._places, part))
            if not places:
                return _Done(0, 0, 0, (), {}, {})
        return self.database.transaction(partial(self._insert, part, places))

    def _places(self, part: Part, connection: sa.Connection) -> list[int]:
        """Return which of a part's rows an operator's condition chooses.

        His SQL is executed here, and for a dry run's count, only: in transactions that cannot write.
        """
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        pin_text(connection)
        query = f"SELECT {PLACE} FROM ({self._chosen(part)}) AS chosen"  # noqa: S608 - as the docstring says
        return list(execute(connection, query, ids=[part.archive_id]).scalars())

    def _insert(self, part: Part, places: list[int] | None, connection: sa.Connection) -> _Done:
        pin_text(connection)
        # So that a violation shows in the statement of its rows.
        connection.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")
        relation = self.relations[part.table]
        rows = rows_of(relation, part.names)
        own = [reference for reference in self.references if reference.child == part.table]
        # Rows that refer to others of the same part are put back by one statement with them.
        references = [
            (each, f"SELECT {', '.join(map(quote, each.parent_columns))} FROM ({rows}) AS beside")  # noqa: S608
            if each.parent == part.table
            else (each, None)
            for each in own
        ]
        judgement = judged(relation, rows, references)
        seen = [
            row
            for row in execute(connection, judgement, ids=[part.archive_id])
            if places is None or row[0] in set(places)
        ]
        free = {place: key for place, key, is_there, is_taken, lacks in seen if not (is_there or is_taken or lacks)}
        restored, refused = self._insert_rows(connection, part, free)
        there = [key for _, key, is_there, _, _ in seen if is_there]
        self._remember(connection, part, restored)
        if restored or there:
            outbox.take_off(connection, part.table, [*restored, *there])
        rule = f"restored from run {self.request.run_id}"
        self.ledger.record_batch(connection, {part.table: {"restored": len(restored)}}, rule=rule)
        return _Done(
            restored=len(restored),
            chosen=len(seen),
            there=len(there),
            taken=tuple(key for _, key, is_there, is_taken, _ in seen if is_taken and not is_there),
            refused=refused,
            lacking={
                place: (key, lacks)
                for place, key, is_there, is_taken, lacks in seen
                if lacks and not (is_there or is_taken)
            },
        )

    def _insert_rows(
        self, connection: sa.Connection, part: Part, rows: Mapping[int, str]
    ) -> tuple[list[str], dict[str, str]]:
        """Insert the rows at these places, one by one if they cannot go at once; return the keys that went, and not."""
        restored: list[str] = []
        refused: dict[str, str] = {}
        if not rows:
            return restored, refused
        try:
            restored = self._insert_places(connection, part, list(rows))
        except DBAPIError as error:
            _raise_unless_of_rows(error)
            for place, key in rows.items():
                try:
                    restored += self._insert_places(connection, part, [place])
                except DBAPIError as fault:
                    _raise_unless_of_rows(fault)
                    refused[key] = _fault(fault)
        # A row that came in between is there now; what a trigger kept out is not.
        missing = [key for key in rows.values() if key not in {*restored, *refused}]
        if missing:
            (column,) = self.relations[part.table].key
            there = self._existing(connection, part.table, column, missing)
            refused |= {key: "a trigger or another unique value" for key in missing if key not in there}
        return restored, refused

    def _existing(self, connection: sa.Connection, table: str, column: str, keys: list[str]) -> set[str]:
        relation = self.relations[table]
        key = relation.as_source().c[column]
        return set(connection.scalars(sa.select(sa.cast(key, sa.Text)).where(sa.cast(key, sa.Text).in_(keys))))

    def _insert_places(self, connection: sa.Connection, part: Part, places: list[int]) -> list[str]:
        relation = self.relations[part.table]
        (key,) = relation.key
        stored = {column.name for column in relation.stored}
        columns = ", ".join(quote(name) for name in part.names if name in stored)
        statement = (
            f"INSERT INTO {name_of(relation.schema, relation.name)} ({columns}) OVERRIDING SYSTEM VALUE "  # noqa: S608
            f"SELECT {columns} FROM ({rows_of(relation, part.names)}) AS given "
            f"WHERE {PLACE} = ANY(CAST(%(places)s AS bigint[])) ON CONFLICT DO NOTHING "
            f"RETURNING CAST({quote(key)} AS text)"
        )
        with connection.begin_nested():
            return list(execute(connection, statement, ids=[part.archive_id], places=places).scalars())

    def _remember(self, connection: sa.Connection, part: Part, keys: Sequence[str]) -> None:
        """Write down which rows were put back, so that they are left alone for as long as they had been kept."""
        if not keys:
            return
        until = self.now + timedelta(days=part.undo_days)
        rows = [
            {
                "table_name": part.table,
                "key": key,
                "job": part.job,
                "run_id": self.request.run_id,
                "restored_by": self.restore_id,
                "restored_at": self.now,
                "left_alone_until": until,
            }
            for key in keys
        ]
        statement = insert(restored_row)
        new = {name: statement.excluded[name] for name in rows[0] if name not in ("table_name", "key")}
        connection.execute(statement.on_conflict_do_update(index_elements=["table_name", "key"], set_=new), rows)

    def _link(self) -> dict[str, int]:
        """Set again what the deletions had set to null, where it is null still; return how many rows per table."""
        for part in self.links:
            self.database.transaction(partial(self._link_part, part))
        recorded = self.ledger.recorded()
        return {part.table: recorded.get(part.table, {}).get("updated", 0) for part in self.links}

    def _link_part(self, part: Part, connection: sa.Connection) -> None:
        pin_text(connection)
        reference, relation = _reference(part), self.relations[part.table]
        values = ", ".join(f"{quote(name)} = given.{quote(name)}" for name in reference.columns)
        found, unset = _link_conditions(relation, reference)
        statement = (
            f"UPDATE {name_of(relation.schema, relation.name)} AS there SET {values} "  # noqa: S608
            f"FROM ({rows_of(relation, part.names)}) AS given "
            f"WHERE {found} AND {unset} AND {is_linked(reference, None)}"
        )
        updated = execute(connection, statement, ids=[part.archive_id]).rowcount
        rule = f"restored from run {self.request.run_id}"
        self.ledger.record_batch(connection, {part.table: {"updated": updated}}, rule=rule)

    def _tell(self, tallies: Mapping[str, _Tally], linked: Mapping[str, int]) -> None:
        recorded = self.ledger.recorded()
        for table, tally in tallies.items():
            # By the ledger: a batch whose commit went unanswered is tried again, and finds its rows there.
            restored, failed = recorded.get(table, {}).get("restored", 0), len(tally.failed)
            details: dict[str, Scalar] = {}
            if tally.failed:
                details["failed_ids"] = sorted(tally.failed)[:MAX_IDS]
                reasons = ", ".join(sorted(set(tally.failed.values())))
                self.notes.append(f"{failed:,} rows of {table} could not be restored, because of {reasons}")
            if tally.taken:
                details["taken_ids"] = tally.taken[:MAX_IDS]
                self.notes.append(
                    f"{len(tally.taken):,} rows of {table} were skipped: other rows have their unique values"
                )
            self.outcomes.append(
                Outcome(
                    target=table,
                    matched=restored + failed,
                    restored=restored,
                    skipped=max(0, tally.chosen - restored - failed),
                    failed=failed,
                    details=details,
                )
            )
        self.outcomes += [Outcome(target=table, matched=count, updated=count) for table, count in linked.items()]


def _add(tally: _Tally, done: _Done, *, is_first: bool) -> None:
    if is_first:
        tally.chosen += done.chosen
    tally.there += done.there
    tally.taken += done.taken
    tally.failed.update(done.refused)


def _check_fits(part: Part, relation: Relation) -> None:
    """Raise `RefusedError` where rows as they were archived are no rows of the table as it is."""
    _check_names(part, relation)
    if len(relation.key) != 1:
        raise RefusedError(
            f"{part.table} has no primary key of one column by which to see what exists; nothing was restored"
        )
    required = [column.name for column in relation.columns if column.is_required and column.name not in part.names]
    if required:
        raise RefusedError(
            f"{part.table} has got columns that must have a value and have no default: {', '.join(required)}; give them "
            "a default for the restore. Nothing was restored"
        )


def _check_names(part: Part, relation: Relation) -> None:
    lost = sorted(set(part.names) - {column.name for column in relation.columns})
    if lost:
        raise RefusedError(
            f"{part.table} has lost columns that the archived rows have: {', '.join(lost)}; add them again for the "
            "restore. Nothing was restored"
        )


def _reference(part: Part) -> Reference:
    if part.reference is None:
        raise TypeError(f"archive {part.archive_id} holds rows, and nothing that was set to null")
    return part.reference


def _link_conditions(relation: Relation, reference: Reference) -> tuple[str, str]:
    """Return the conditions that a row is the archived one, and refers to nothing."""
    found = " AND ".join(f"there.{quote(name)} = given.{quote(name)}" for name in relation.key)
    unset = " AND ".join(f"there.{quote(name)} IS NULL" for name in reference.columns)
    return found, unset


def _grouped(parts: Sequence[Part]) -> list[list[Part]]:
    """Return the parts of equal columns and reference together: one statement reads them all."""
    groups: dict[object, list[Part]] = {}
    for part in parts:
        groups.setdefault((part.table, part.names, part.reference), []).append(part)
    return list(groups.values())


def _parents_first(tables: Sequence[str], references: Sequence[Reference]) -> list[str]:
    """Return the tables, each after those it refers to; where they refer to each other, in any order."""
    order: list[str] = []
    seen: set[str] = set()

    def visit(table: str) -> None:
        if table in seen:
            return
        seen.add(table)
        for reference in references:
            if reference.child == table and reference.parent in tables:
                visit(reference.parent)
        order.append(table)

    for table in tables:
        visit(table)
    return order


def _raise_unless_of_rows(error: DBAPIError) -> None:
    if not (sqlstate(error) or "").startswith(ROW_REFUSED):
        raise error


def _fault(error: DBAPIError) -> str:
    """Return what was in a row's way, without any value of it."""
    diagnostic: Any = getattr(error.orig, "diag", None)
    return (
        getattr(diagnostic, "constraint_name", None) or getattr(diagnostic, "column_name", None) or str(sqlstate(error))
    )
