"""Keep materialised views of ours: create what is missing, refresh what differs from its source, drop on request."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.database import Database
from cath_dagster.core.heap import quote
from cath_dagster.core.maintenance import SCHEMA, view_state
from cath_dagster.core.outcome import Outcome, Scalar

_READERS = sa.text(
    """
    SELECT coalesce(role.rolname, 'public') FROM pg_class AS relation
    CROSS JOIN LATERAL aclexplode(relation.relacl) AS privilege
    LEFT JOIN pg_roles AS role ON role.oid = privilege.grantee
    WHERE relation.oid = to_regclass(:relation) AND privilege.privilege_type = 'SELECT'
      AND privilege.grantee <> relation.relowner
    """
)


@dataclass(frozen=True, kw_only=True)
class View:
    """A materialised view in `maintenance`: `definition` is the SELECT it holds, `key` its unique columns."""

    name: str
    title: str
    definition: str
    key: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def relation(self) -> str:
        return f"{SCHEMA}.{self.name}"


@dataclass(frozen=True)
class Contents:
    """How many rows there are, and a sum over the hashes of all: equal contents have equal sums."""

    rows: int
    checksum: int | None


def refresh(database: Database, view: View, *, dry_run: bool) -> Outcome:
    """Bring a view level with its source; a view that is level already is verified and not written.

    Comparing reads view and source once each, about a fifth of what a refresh costs that finds no difference.
    The counts in the outcome are of one snapshot, so they are equal unless the refresh went wrong.
    """
    return database.transaction(lambda connection: _refresh(connection, view, dry_run=dry_run))


def drop(database: Database, views: Sequence[View]) -> list[str]:
    """Drop the views that exist, all or none; return their names."""

    def work(connection: sa.Connection) -> list[str]:
        dropped = [view for view in views if _exists(connection, view)]
        for view in dropped:
            _drop(connection, view)
        return [view.name for view in dropped]

    return database.transaction(work)


def _refresh(connection: sa.Connection, view: View, *, dry_run: bool) -> Outcome:
    # One snapshot for the comparison, the refresh and the counts after it.
    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    known = connection.scalar(sa.select(view_state.c.definition).where(view_state.c.view_name == view.name))
    exists = _exists(connection, view)
    is_ours = exists and known == view.definition
    source = _contents(connection, f"({view.definition})")
    held = _contents(connection, view.relation) if is_ours else None
    if dry_run or held == source:
        is_due = held != source
        return Outcome(
            target=view.name,
            matched=int(is_due),
            kept=0 if is_due else 1,
            rows_left=held.rows if held else None,
            details=_counts(held, source) if dry_run else _verify(connection, view, held, source, refreshed=False),
        )
    if is_ours:
        connection.execute(sa.text(f"REFRESH MATERIALIZED VIEW CONCURRENTLY {view.relation}"))
    else:
        _create(connection, view, replaces=exists)
    held = _contents(connection, view.relation)
    return Outcome(
        target=view.name,
        matched=1,
        updated=1,
        batches=1,
        rows_left=held.rows,
        details=_verify(connection, view, held, source, refreshed=True),
    )


def _create(connection: sa.Connection, view: View, *, replaces: bool) -> None:
    if replaces:
        _drop(connection, view)
    connection.execute(sa.text(f"CREATE MATERIALIZED VIEW {view.relation} AS {view.definition}"))
    # A concurrent refresh finds changed rows by a unique index.
    connection.execute(sa.text(f"CREATE UNIQUE INDEX {view.name}_key ON {view.relation} ({', '.join(view.key)})"))
    for reader in (
        connection.scalars(sa.select(view_state.c.readers).where(view_state.c.view_name == view.name)).first() or ()
    ):
        if connection.scalar(sa.select(sa.func.to_regrole(quote(reader)))) is not None or reader == "public":
            connection.execute(sa.text(f"GRANT SELECT ON {view.relation} TO {quote(reader)}"))


def _drop(connection: sa.Connection, view: View) -> None:
    """Drop a view and remember who may read it: the next one is for the same readers."""
    readers = connection.scalars(_READERS, {"relation": view.relation}).all()
    connection.execute(sa.text(f"DROP MATERIALIZED VIEW {view.relation}"))
    connection.execute(
        sa.update(view_state).where(view_state.c.view_name == view.name).values(definition="", readers=list(readers))
    )


def _verify(
    connection: sa.Connection, view: View, held: Contents | None, source: Contents, *, refreshed: bool
) -> dict[str, Scalar]:
    now = sa.func.clock_timestamp()
    statement = insert(view_state).values(
        view_name=view.name,
        definition=view.definition,
        refreshed_at=now,
        verified_at=now,
        row_count=held.rows if held else 0,
    )
    changed = {
        "verified_at": now,
        "row_count": statement.excluded.row_count,
        "definition": statement.excluded.definition,
    }
    if refreshed:
        changed["refreshed_at"] = now
    connection.execute(statement.on_conflict_do_update(index_elements=[view_state.c.view_name], set_=changed))
    return _counts(held, source)


def _counts(held: Contents | None, source: Contents) -> dict[str, Scalar]:
    return {
        "view_rows": held.rows if held else None,
        "source_rows": source.rows,
        "equals_source": held == source,
    }


def _exists(connection: sa.Connection, view: View) -> bool:
    return connection.scalar(sa.select(sa.func.to_regclass(view.relation))) is not None


def _contents(connection: sa.Connection, relation: str) -> Contents:
    rows, checksum = connection.execute(
        sa.text(f"SELECT count(*), sum(hash_record_extended(contents, 0)) FROM {relation} AS contents")  # noqa: S608
    ).one()
    return Contents(int(rows), int(checksum) if checksum is not None else None)
