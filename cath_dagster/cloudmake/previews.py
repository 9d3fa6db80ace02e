"""Which previews are due, and how they are archived: in both shapes of the database that there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa

from cath_dagster.cloudmake.tables import environments
from cath_dagster.core.errors import PreflightError

ARCHIVED = "archived"
_SHAPE = sa.text(
    """
    SELECT attname::text, format_type(atttypid, NULL),
        (SELECT array_agg(enumlabel::text) FROM pg_enum WHERE enumtypid = atttypid)
    FROM pg_attribute
    WHERE attrelid = 'public.environments'::regclass AND attname IN ('kind', 'state') AND NOT attisdropped
    """
)


@dataclass(frozen=True)
class Archival:
    """How this database says that an environment is archived: by its kind, by a state beside it, or by both.

    `columns` are those that can, with the names of their types.
    """

    columns: dict[str, str]

    def values(self) -> dict[str, sa.ColumnElement[object]]:
        """Return what is written into an environment that is archived."""
        words: dict[str, sa.ColumnElement[object]] = {
            name: sa.literal_column(f"'{ARCHIVED}'::{type_name}") for name, type_name in self.columns.items()
        }
        return {**words, "updated_at": sa.func.timezone("UTC", sa.func.now())}


def read_archival(connection: sa.Connection) -> Archival:
    """Return how this database says that an environment is archived.

    Raises `PreflightError` with the statement that helps where it cannot.
    """
    found = {name: (type_name, labels) for name, type_name, labels in connection.execute(_SHAPE)}
    # A column that is no enumeration takes any word.
    able = {name: type_name for name, (type_name, labels) in found.items() if labels is None or ARCHIVED in labels}
    if not able:
        raise PreflightError(
            f"environments.kind has no value {ARCHIVED!r}, and there is no column state that has, so that nothing can be "
            f"archived; add it first: ALTER TYPE {found['kind'][0]} ADD VALUE '{ARCHIVED}'"
        )
    return Archival(able)


def is_live(table: sa.sql.selectable.NamedFromClause) -> sa.ColumnElement[bool]:
    """Return whether an environment is not archived, whichever column of `environments` or an alias says so."""
    state = sa.func.to_jsonb(table.table_valued()).op("->>")(sa.literal("state", sa.Text))
    return sa.and_(sa.cast(table.c.kind, sa.Text) != ARCHIVED, state.is_distinct_from(ARCHIVED))


def is_preview() -> sa.ColumnElement[bool]:
    """Return whether an environment is a preview that is not archived; a core environment never is."""
    return sa.and_(environments.c.kind == "preview", is_live(environments))


def is_expired(as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether a preview's time is over, strictly; one without a time to live has none."""
    return sa.and_(is_preview(), environments.c.ttl_expires_at < naive(as_of))


def is_named(environment_ids: Sequence[UUID]) -> sa.ColumnElement[bool]:
    """Return whether a preview is one of those that somebody wants archived before their time."""
    return sa.and_(is_preview(), environments.c.id.in_(environment_ids))


def is_active(as_of: datetime) -> sa.ColumnElement[bool]:
    """Return whether a preview is in use: it has no time to live, or not come to its end."""
    at = environments.c.ttl_expires_at
    return sa.and_(is_preview(), sa.or_(at.is_(None), at >= naive(as_of)))


def naive(instant: datetime) -> datetime:
    """Return an instant as the service's columns without zone hold it: in UTC."""
    return instant.astimezone(UTC).replace(tzinfo=None)
