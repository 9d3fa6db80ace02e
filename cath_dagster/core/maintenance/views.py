"""Keep materialised views of ours: create what is missing, refresh what differs from its source, drop on request.

A view that is not what this release wants is dropped and made anew, with its grants. Nothing of others goes with one:
what depends on a view is named, and the view stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from cath_dagster.core.maintenance.tables import SCHEMA, view_state
from cath_dagster.core.maintenance.view import ExistingView, View, check_droppable, read_columns, read_existing
from cath_dagster.core.maintenance.view_grants import Grant, give, read_grants
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.postgres.database import Database, Limits

LIMITS = Limits(lock_seconds=5, statement_seconds=3_600)
"""Who waits longer for a lock stands in the way of whoever wants one after it, and keeps the other views waiting."""


@dataclass(frozen=True)
class Contents:
    """How many rows there are, and a sum over the hashes of all: equal contents have equal sums."""

    rows: int
    checksum: int | None


def refresh(database: Database, view: View, *, dry_run: bool) -> Outcome:
    """Bring a view level with its source; a view that is level already is verified and not written.

    Comparing reads view and source once each, about a fifth of what a refresh costs that finds no difference.
    The counts in the outcome are of one snapshot, so they are equal unless the refresh went wrong.
    Raises `TimedOutError` where a lock is not to be had; nothing was done then.
    """
    return database.transaction(partial(_refresh, view=view, dry_run=dry_run), limits=LIMITS)


def drop(database: Database, views: Sequence[View]) -> list[str]:
    """Drop the views that exist, all or none; return their names.

    Raises `DatabaseStatementError` naming what of others depends on one.
    """

    def work(connection: sa.Connection) -> list[str]:
        found = [(view, existing) for view in views if (existing := read_existing(connection, view)) is not None]
        for view, existing in found:
            check_droppable(connection, view, existing, "as was asked for")
        for view, _ in found:
            _drop(connection, view)
        return [view.name for view, _ in found]

    return database.transaction(work)


def _refresh(connection: sa.Connection, *, view: View, dry_run: bool) -> Outcome:
    # One snapshot for the comparison, the refresh and the counts after it.
    connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
    existing = read_existing(connection, view)
    misfit = existing.misfit(view, read_columns(connection, view)) if existing else None
    fitting = existing if misfit is None else None
    source = _contents(connection, f"({view.definition})")
    held = _contents(connection, view.relation) if fitting and fitting.is_populated else None
    is_level = fitting is not None and fitting.lack() is None and held == source
    if dry_run and misfit and existing:
        check_droppable(connection, view, existing, misfit)
    if dry_run or is_level:
        return Outcome(
            target=view.name,
            matched=0 if is_level else 1,
            kept=1 if is_level else 0,
            rows_left=held.rows if held else None,
            details=_counts(held, source) if dry_run else _verify(connection, view, held, source, refreshed=False),
        )
    if fitting:
        held = _renew(connection, view, fitting, source)
        misfit = "it differs from its source although it was refreshed"
    if held is None or held != source:
        _make(connection, view, existing, misfit or "")
        held = _contents(connection, view.relation)
    return Outcome(
        target=view.name,
        matched=1,
        updated=1,
        batches=1,
        rows_left=held.rows,
        details=_verify(connection, view, held, source, refreshed=True),
    )


def _renew(connection: sa.Connection, view: View, existing: ExistingView, source: Contents) -> Contents:
    """Refresh a view that stands, while others read it if it is in a state for that; bring it into one; return what it has.

    One that has something else than its source is not mended further: its definition is another.
    """
    beside = " CONCURRENTLY" if existing.lack() is None else ""
    connection.execute(sa.text(f"REFRESH MATERIALIZED VIEW{beside} {view.relation}"))
    held = _contents(connection, view.relation)
    if held == source and not existing.has_key:
        if existing.is_index_name_taken:
            connection.execute(sa.text(f"DROP INDEX {SCHEMA}.{view.index}"))
        _index(connection, view)
    return held


def _make(connection: sa.Connection, view: View, existing: ExistingView | None, why: str) -> None:
    """Make a view, in place of the one that stands if there is one, and for the same readers."""
    if existing is not None:
        check_droppable(connection, view, existing, why)
        _drop(connection, view)
    connection.execute(sa.text(f"CREATE MATERIALIZED VIEW {view.relation} AS {view.definition}"))
    _index(connection, view)
    readers = connection.scalar(sa.select(view_state.c.readers).where(view_state.c.view_name == view.name))
    columns = [name for name, _ in read_columns(connection, view)]
    give(connection, view.relation, columns, map(Grant.of, readers or ()))


def _index(connection: sa.Connection, view: View) -> None:
    connection.execute(sa.text(f"CREATE UNIQUE INDEX {view.index} ON {view.relation} ({', '.join(view.key)})"))


def _drop(connection: sa.Connection, view: View) -> None:
    """Drop a view and remember who may do what with it: the next one is for the same readers."""
    readers = [grant.as_text() for grant in read_grants(connection, view.relation)]
    connection.execute(sa.text(f"DROP MATERIALIZED VIEW {view.relation}"))
    _write(connection, view, definition="", readers=readers)


def _verify(
    connection: sa.Connection, view: View, held: Contents | None, source: Contents, *, refreshed: bool
) -> dict[str, Scalar]:
    now = sa.func.clock_timestamp()
    changes = {"verified_at": now, "row_count": held.rows if held else 0, "definition": view.definition}
    _write(connection, view, **changes, **({"refreshed_at": now} if refreshed else {}))
    return _counts(held, source)


def _write(connection: sa.Connection, view: View, **changes: object) -> None:
    """Write down what is known of a view, of one that nothing is known of as well: it may be a copy's."""
    now = sa.func.clock_timestamp()
    usual = {"definition": "", "refreshed_at": now, "verified_at": now, "row_count": 0}
    statement = insert(view_state).values(view_name=view.name, **{**usual, **changes})
    connection.execute(statement.on_conflict_do_update(index_elements=[view_state.c.view_name], set_=changes))


def _counts(held: Contents | None, source: Contents) -> dict[str, Scalar]:
    return {
        "view_rows": held.rows if held else None,
        "source_rows": source.rows,
        "equals_source": held == source,
    }


def _contents(connection: sa.Connection, relation: str) -> Contents:
    rows, checksum = connection.execute(
        sa.text(f"SELECT count(*), sum(hash_record_extended(contents, 0)) FROM {relation} AS contents")  # noqa: S608
    ).one()
    return Contents(int(rows), int(checksum) if checksum is not None else None)
