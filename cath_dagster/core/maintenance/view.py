"""A materialised view of ours: what this release wants it to be, what stands under its name, and whether that fits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import DatabaseStatementError
from cath_dagster.core.maintenance.tables import SCHEMA, view_state

MATERIALISED = "m"
"""As pg_class has it in relkind."""

Columns = tuple[tuple[str, int], ...]
"""Names, and the oids of their types."""


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

    @property
    def index(self) -> str:
        """The index by which a concurrent refresh finds changed rows."""
        return f"{self.name}_key"


@dataclass(frozen=True, kw_only=True)
class ExistingView:
    """The materialised view that stands under a name of ours."""

    oid: int
    definition: str | None
    """The SELECT by which a run made the view of this name that it last made."""
    columns: Columns
    is_populated: bool
    has_key: bool
    """Whether an index is there that a concurrent refresh can go by."""
    is_index_name_taken: bool
    """Whether an index of the view's has the name of its key, fit for it or not."""
    owner: str
    is_owned: bool
    """Whether this role is, or may act as, its owner."""

    def misfit(self, view: View, columns: Columns) -> str | None:
        """Return why it is not the view that this release wants, None if it is."""
        if self.definition != view.definition:
            return "it was made by another definition"
        return "it has other columns than its definition gives" if self.columns != columns else None

    def lack(self) -> str | None:
        """Return why it cannot be refreshed while others read it, None if it can."""
        if not self.is_populated:
            return "it was never filled with data"
        return None if self.has_key else "it lacks its unique index"


_STANDING = sa.text(
    """
    SELECT relation.oid::bigint, relation.relkind::text, relation.relispopulated, pg_get_userbyid(relation.relowner),
        pg_has_role(relation.relowner, 'USAGE'),
        EXISTS (SELECT FROM pg_index WHERE indrelid = relation.oid AND indisunique AND indisvalid AND indimmediate
                AND indpred IS NULL AND indexprs IS NULL),
        EXISTS (SELECT FROM pg_index JOIN pg_class AS its ON its.oid = indexrelid
                WHERE indrelid = relation.oid AND its.relname = :index)
    FROM pg_class AS relation WHERE relation.oid = to_regclass(:relation)
    """
)
_COLUMNS = sa.text(
    "SELECT attname::text, atttypid::bigint FROM pg_attribute "
    "WHERE attrelid = :oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)


def read_existing(connection: sa.Connection, view: View) -> ExistingView | None:
    """Return what stands under the view's name, None if nothing does.

    Raises `DatabaseStatementError` for what is no materialised view: it is not ours, and may hold what is nowhere else.
    """
    found = connection.execute(_STANDING, {"relation": view.relation, "index": view.index}).one_or_none()
    if found is None:
        return None
    oid, kind, is_populated, owner, is_owned, has_key, is_index_name_taken = found
    if kind != MATERIALISED:
        raise DatabaseStatementError(
            f"{view.relation} is no materialised view but of kind {kind!r} in pg_class; rename or drop it, and the next "
            "run makes the view"
        )
    known = sa.select(view_state.c.definition).where(view_state.c.view_name == view.name)
    return ExistingView(
        oid=oid,
        definition=connection.scalar(known),
        columns=tuple((name, kind) for name, kind in connection.execute(_COLUMNS, {"oid": oid})),
        is_populated=is_populated,
        has_key=has_key,
        is_index_name_taken=is_index_name_taken,
        owner=owner,
        is_owned=is_owned,
    )


def read_columns(connection: sa.Connection, view: View) -> Columns:
    """Return the columns that the view's definition gives now; the server refuses one that reads what is gone."""
    empty = connection.execute(sa.text(f"SELECT * FROM ({view.definition}) AS contents LIMIT 0"))  # noqa: S608 - our own
    described: Sequence[Any] = empty.cursor.description or ()
    return tuple((name, kind) for name, kind, *_ in described)


def find_read_columns(connection: sa.Connection, existing: ExistingView) -> list[str]:
    """Return the service's columns that a standing view reads: none of them can be dropped or given another type."""
    query = sa.text(
        """
        SELECT DISTINCT source.relname || '.' || attribute.attname
        FROM pg_rewrite AS rule
        JOIN pg_depend AS needs ON needs.classid = 'pg_rewrite'::regclass AND needs.objid = rule.oid
          AND needs.refclassid = 'pg_class'::regclass AND needs.refobjsubid > 0
        JOIN pg_class AS source ON source.oid = needs.refobjid AND source.oid <> rule.ev_class
        JOIN pg_namespace AS its_schema ON its_schema.oid = source.relnamespace AND its_schema.nspname <> :ours
        JOIN pg_attribute AS attribute ON attribute.attrelid = source.oid AND attribute.attnum = needs.refobjsubid
        WHERE rule.ev_class = :oid ORDER BY 1
        """
    )
    return list(connection.scalars(query, {"oid": existing.oid, "ours": SCHEMA}))


def find_dependents(connection: sa.Connection, existing: ExistingView) -> list[str]:
    """Return what of others goes by the view or the type of its rows: while that is there, the view cannot be dropped."""
    query = sa.text(
        """
        SELECT DISTINCT CASE
            WHEN rule.oid IS NULL THEN pg_describe_object(dependent.classid, dependent.objid, dependent.objsubid)
            ELSE pg_describe_object('pg_class'::regclass, rule.ev_class, 0) END
        FROM pg_class AS relation
        JOIN pg_depend AS dependent ON dependent.deptype = 'n'
          AND (dependent.refclassid = 'pg_class'::regclass AND dependent.refobjid = relation.oid
               OR dependent.refclassid = 'pg_type'::regclass AND dependent.refobjid IN
                  (SELECT type.oid FROM pg_type AS type
                   WHERE type.oid = relation.reltype
                      OR type.oid = (SELECT typarray FROM pg_type AS row WHERE row.oid = relation.reltype)))
        LEFT JOIN pg_rewrite AS rule ON dependent.classid = 'pg_rewrite'::regclass AND rule.oid = dependent.objid
        WHERE relation.oid = :oid AND rule.ev_class IS DISTINCT FROM relation.oid
        ORDER BY 1
        """
    )
    return list(connection.scalars(query, {"oid": existing.oid}))


def check_droppable(connection: sa.Connection, view: View, existing: ExistingView, why: str) -> None:
    """Raise `DatabaseStatementError` naming what of others would go with the view."""
    if dependents := find_dependents(connection, existing):
        raise DatabaseStatementError(
            f"{view.relation} would have to be dropped ({why}), and others depend on it: {', '.join(dependents)}; drop "
            "those first, and create them again once the view is there anew"
        )
