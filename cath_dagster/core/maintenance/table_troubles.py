"""Find what tables themselves have against a job: hidden rows, changes refused, claims that may vanish.

Where a database publishes changes, the server itself is asked whether it would refuse one; all else is catalogue.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.postgres.database import sqlstate
from cath_dagster.core.postgres.identifiers import quote
from cath_dagster.core.postgres.session import SERVICE

PROBE_PATIENCE = "50ms"
"""How long a question waits for somebody's lock on the table; who holds one is asked elsewhere."""


_REFUSED_CHANGES = ("55000", "42P10")
"""No replica identity, or one without a column that a publication goes by."""


@dataclass(frozen=True)
class TableTrouble:
    """What a table has against a job, and what helps."""

    table: str
    says: str
    remedy: str
    refuses: bool = True
    hides: bool = False
    """Whether the rows cannot even be read."""

    def __str__(self) -> str:
        return f"table {self.table}: {self.says}; {self.remedy}"


def find_troubles(
    connection: sa.Connection, wanted: Mapping[str, Sequence[str]], changed: Collection[str] = ()
) -> list[TableTrouble]:
    """Return what speaks against the use of tables, with their partitions, as `DatabaseWork.privileges` names it.

    `changed` are tables of which rows are changed, and not only locked, where that takes UPDATE.
    """
    named = {name: needs for name, needs in wanted.items() if name != SCHEMA}
    pairs = [_split(name) for name in named]
    given = {
        "schemas": [schema for schema, _ in pairs],
        "names": [name for _, name in pairs],
        "deletes": ["DELETE" in needs for needs in named.values()],
        "updates": ["UPDATE" in needs and "DELETE" not in needs and name in changed for name, needs in named.items()],
        "ours": SCHEMA,
    }
    rows = connection.execute(_LOOK, given).all()
    return list(dict.fromkeys(each for row in rows for each in (*_of_row(row), *_of_change(connection, row))))


def _split(name: str) -> tuple[str, str]:
    schema, _, table = name.rpartition(".")
    return schema or SERVICE, table


def _of_row(row: sa.Row[Any]) -> Iterator[TableTrouble]:
    qualified = f"{quote(row.schema)}.{quote(row.name)}"
    if row.hides:
        forced = f"ALTER TABLE {qualified} NO FORCE ROW LEVEL SECURITY; or " if row.is_forced_on_owner else ""
        yield TableTrouble(
            row.name,
            f"row-level security may hide rows of it from {row.role}, who would take what is left for all",
            f"{forced}as a superuser: ALTER ROLE {quote(row.role)} BYPASSRLS;",
            hides=True,
        )
    if row.is_unlogged:
        yield TableTrouble(
            row.name,
            "it is UNLOGGED: a crash of the server empties it, and with it what was done and sent",
            f"ALTER TABLE {qualified} SET LOGGED;",
        )
    if row.deletes and row.is_never_vacuumed:
        yield TableTrouble(
            row.name,
            "autovacuum is switched off for it, so that deleted rows keep their place on the disk and in every scan",
            f"ALTER TABLE {qualified} RESET (autovacuum_enabled); or let the job do it, with vacuum: true",
            refuses=False,
        )


def _of_change(connection: sa.Connection, row: sa.Row[Any]) -> Iterator[TableTrouble]:
    """Ask the server whether it would refuse a change: as it plans one it looks at what the publications ask for."""
    if not row.is_published or row.hides:
        return
    qualified = f"{quote(row.schema)}.{quote(row.name)}"
    changes = []
    if row.deletes:
        changes.append(f"DELETE FROM ONLY {qualified}")  # noqa: S608 - the catalogue's names, quoted, here and below
    if row.updates and row.column:
        changes.append(f"UPDATE ONLY {qualified} SET {quote(row.column)} = {quote(row.column)}")  # noqa: S608
    for change in changes:
        if says := _refusal(connection, f"EXPLAIN {change} WHERE false"):
            yield TableTrouble(
                row.name,
                f"a publication of the database stands in the way: {says}",
                f"ALTER TABLE {qualified} REPLICA IDENTITY {'DEFAULT' if row.has_key else 'FULL'}; or one that has every "
                "column by which the publication chooses",
            )


def _refusal(connection: sa.Connection, statement: str) -> str | None:
    try:
        with connection.begin_nested():
            connection.execute(sa.select(sa.func.set_config("lock_timeout", PROBE_PATIENCE, sa.true())))
            connection.exec_driver_sql(statement.replace("%", "%%"))
    except DBAPIError as error:
        if sqlstate(error) in _REFUSED_CHANGES:
            diagnosis = getattr(error.orig, "diag", None)
            said = (getattr(diagnosis, "message_primary", None), getattr(diagnosis, "message_detail", None))
            return " ".join(filter(None, said))
        if error.connection_invalidated or sqlstate(error) is None:
            raise
    return None


# Not pg_partition_tree, which would wait for whoever has locked a partition.
_LOOK = sa.text(
    """
    WITH RECURSIVE named AS (
        SELECT relation.oid, deletes, updates
        FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[]), CAST(:deletes AS bool[]), CAST(:updates AS bool[]))
             AS given (schema_name, name, deletes, updates)
        JOIN pg_namespace AS its_schema ON its_schema.nspname = schema_name
        JOIN pg_class AS relation ON relation.relnamespace = its_schema.oid AND relation.relname = name
        UNION
        SELECT inhrelid, deletes, updates
        FROM named JOIN pg_inherits ON inhparent = named.oid AND NOT inhdetachpending
    )
    SELECT its_schema.nspname AS schema, relation.relname AS name, current_user::text AS role, deletes, updates,
        row_security_active(relation.oid) AS hides,
        relation.relforcerowsecurity AND pg_has_role(relation.relowner, 'USAGE') AS is_forced_on_owner,
        its_schema.nspname = :ours AND relation.relpersistence = 'u' AS is_unlogged,
        EXISTS (SELECT FROM pg_options_to_table(relation.reloptions)
                WHERE option_name = 'autovacuum_enabled' AND NOT option_value::bool) AS is_never_vacuumed,
        relation.relkind = 'r' AND NOT pg_is_in_recovery()
            AND EXISTS (SELECT FROM pg_publication WHERE deletes AND pubdelete OR updates AND pubupdate) AS is_published,
        EXISTS (SELECT FROM pg_index WHERE indrelid = relation.oid AND indisprimary) AS has_key,
        (SELECT attname FROM pg_attribute
         WHERE attrelid = relation.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity <> 'a'
           AND has_column_privilege(relation.oid, attnum, 'UPDATE') ORDER BY attnum LIMIT 1) AS column
    FROM named
    JOIN pg_class AS relation ON relation.oid = named.oid
    JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
    ORDER BY 1, 2
    """
)
