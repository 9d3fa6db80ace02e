"""What was applied, as drizzle-orm writes it down, and what is to be applied next: what it would get wrong is refused."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from cath_dagster.cloudmake.service_migrations.migration import Migration, find_obstacles

SCHEMA, NAME = "drizzle", "__drizzle_migrations"

table = sa.Table(
    NAME,
    sa.MetaData(schema=SCHEMA),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger),
)
CREATE = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
    f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{NAME} (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at bigint)",
)


@dataclass(frozen=True)
class Row:
    """A migration that was applied; `created_at` is its `when`, and not the time of applying it."""

    row_id: int
    hash: str
    created_at: int | None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a run is to do. `changed` are rows whose files were changed since, by the migration, that a run may accept."""

    pending: tuple[Migration, ...] = ()
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changed: dict[int, Migration] = field(default_factory=dict)


def read(connection: sa.Connection) -> list[Row]:
    """Return what was applied, in the order in which it was; the table is there."""
    return [Row(*row) for row in connection.execute(sa.select(table).order_by(table.c.id))]


def record(connection: sa.Connection, migration: Migration) -> None:
    """Write down that a migration was applied, in the caller's transaction."""
    connection.execute(sa.insert(table).values(hash=migration.hash, created_at=migration.when))


def accept(connection: sa.Connection, row_id: int, migration: Migration) -> None:
    """Write down a changed file's hash in place of the one it was applied with."""
    connection.execute(sa.update(table).where(table.c.id == row_id).values(hash=migration.hash))


def decide(migrations: Sequence[Migration], rows: Sequence[Row], *, accepted: frozenset[str]) -> Decision:
    """Hold the journal's migrations against what was applied."""
    matched, left = _match(migrations, rows)
    unapplied = [migration for index, migration in enumerate(migrations) if index not in matched]
    newest = max((row.created_at for row in rows if row.created_at is not None), default=None)
    late = [migration for migration in unapplied if newest is not None and (migration.when or 0) <= newest]
    pending = [migration for migration in unapplied if migration not in late]
    changed = {row.row_id: migrations[index] for index, row in matched.items() if row.hash != migrations[index].hash}
    hashes = {row.row_id: row.hash for row in rows}
    refusals = [
        *(_late(migration, newest or 0) for migration in late),
        *(_changed(each, hashes[row_id]) for row_id, each in changed.items() if each.tag not in accepted),
        *_unknown(left),
        *(obstacle for migration in pending for obstacle in find_obstacles(migration)),
    ]
    return Decision(
        pending=tuple(pending),
        refusals=tuple(refusals),
        notes=tuple(_twice(left)),
        changed={row_id: each for row_id, each in changed.items() if each.tag in accepted},
    )


@dataclass(frozen=True)
class _Left:
    """A row that no entry of the journal is left for; `is_repeated` where an earlier row says the same."""

    row: Row
    is_repeated: bool


def _match(migrations: Sequence[Migration], rows: Sequence[Row]) -> tuple[dict[int, Row], list[_Left]]:
    """Return the row of each migration that has one, by its place, and the rows that are left.

    They belong together by `when`; among several of one instant by the hash, as far as that goes.
    """
    matched: dict[int, Row] = {}
    free = list(rows)
    for by_hash in (True, False):
        for index, migration in enumerate(migrations):
            found = None if index in matched else _find(free, migration, by_hash=by_hash)
            if found is not None:
                matched[index] = found
                free.remove(found)
    known = {(row.created_at, row.hash) for row in matched.values()}
    return matched, [_Left(row, (row.created_at, row.hash) in known) for row in free]


def _find(rows: Sequence[Row], migration: Migration, *, by_hash: bool) -> Row | None:
    same = (row for row in rows if row.created_at == migration.when)
    return next((row for row in same if not by_hash or row.hash == migration.hash), None)


def _late(migration: Migration, newest: int) -> str:
    return (
        f"{migration.tag}: its `when` ({_instant(migration.when)}) is not after that of the newest applied "
        f"({_instant(newest)}), and it was not applied: drizzle-orm would skip it for ever; generate it anew, or set its "
        "`when` in meta/_journal.json to a later one"
    )


def _changed(migration: Migration, applied: str) -> str:
    ends = " in its line ends alone, CRLF or LF" if applied in migration.hashes_by_line_ends else ""
    return (
        f"{migration.tag}: it was applied, and its file has changed since{ends}; restore the file and write another "
        f"migration, or accept it as it is: accept_changed={migration.tag}"
    )


def _unknown(left: Sequence[_Left]) -> Iterator[str]:
    for each in left:
        if each.row.created_at is None:
            yield (
                f"row {each.row.row_id} of {SCHEMA}.{NAME} has no created_at: drizzle-orm takes it for the newest, and applies "
                "everything anew; delete the row, or give it its migration's `when`"
            )
        elif not each.is_repeated:
            yield (
                f"row {each.row.row_id} of {SCHEMA}.{NAME} ({_instant(each.row.created_at)}) has no entry in meta/_journal.json: "
                "a newer version of the service was at work here; run with that version's folder"
            )


def _twice(left: Sequence[_Left]) -> Iterator[str]:
    for each in left:
        if each.is_repeated:
            yield (
                f"row {each.row.row_id} of {SCHEMA}.{NAME} says again what another one says: two migrators without a lock have "
                "applied the same; look whether its statements have taken effect twice"
            )


def _instant(when: int | None) -> str:
    try:
        return datetime.fromtimestamp((when or 0) / 1_000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(when)
