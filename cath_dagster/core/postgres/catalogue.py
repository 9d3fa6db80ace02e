"""Ask PostgreSQL's catalogue what the doctor, the preflight and the index builder all want to know."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.postgres.identifiers import quote

SECONDS_PER_SCANNED_ROW = 50e-9
"""A foreign key's trigger without an index reads a million cached rows in about 50 ms."""
SMALL_TABLE_ROWS = 10_000
"""Below this a scan costs less than a millisecond, and an index is not worth its upkeep."""
ASSUMED_ROWS_PER_BLOCK = 60
"""For a table without statistics: rows of about 130 bytes."""
MAX_IDENTIFIER_BYTES = 63
"""PostgreSQL cuts longer names."""


@dataclass(frozen=True)
class MissingPrivilege:
    """A table or partition on which the role lacks privileges, or a table that is not there at all."""

    schema: str
    table: str
    role: str
    privileges: tuple[str, ...]
    is_absent: bool = False
    partition_of: str | None = None

    @property
    def says(self) -> str:
        if self.is_absent:
            return f"{self.schema} has no table {self.table}"
        where = f" in this partition of {self.partition_of}" if self.partition_of else ""
        return f"{self.role} may not {', '.join(self.privileges)}{where}"

    @property
    def remedy(self) -> str:
        if self.is_absent:
            return "is this the right database?"
        table, role = (name.replace('"', '""') for name in (self.table, self.role))
        return f'GRANT {", ".join(self.privileges)} ON {quote(self.schema)}."{table}" TO "{role}";'


def find_missing_privileges(
    connection: sa.Connection,
    schema: str,
    wanted: Mapping[str, Sequence[str]],
    *,
    in_parts: Mapping[str, Sequence[str]] | None = None,
) -> list[MissingPrivilege]:
    """Return what the role lacks on tables of a schema that it may use, sorted by table, partitions after the tables.

    SELECT and UPDATE of single columns will do: which ones a job reads only its statements tell, and locking a row
    takes UPDATE of any. `in_parts` are those of the privileges that are needed on each partition too.
    """
    # Not pg_partition_tree, which would wait for whoever has locked a partition.
    query = sa.text(
        """
        WITH RECURSIVE named AS (
            SELECT to_regclass(qualified)::oid AS oid, table_name, privilege, place, CAST(NULL AS text) AS partition_of
            FROM unnest(CAST(:tables AS text[]), CAST(:qualified AS text[]), CAST(:privileges AS text[]))
                 WITH ORDINALITY AS given (table_name, qualified, privilege, place)
            UNION ALL
            SELECT inhrelid, table_name, privilege, place, table_name
            FROM named JOIN pg_inherits ON inhparent = named.oid AND NOT inhdetachpending
            JOIN pg_class AS part ON part.oid = inhrelid AND part.relispartition
            WHERE (table_name, privilege) IN (SELECT * FROM unnest(CAST(:parted AS text[]), CAST(:in_parts AS text[])))
        )
        SELECT CASE WHEN partition_of IS NULL THEN CAST(:schema AS text) ELSE its_schema.nspname END,
               CASE WHEN partition_of IS NULL THEN table_name ELSE relation.relname END,
               current_user::text, array_agg(privilege ORDER BY place), relation.oid IS NULL, partition_of
        FROM named
        LEFT JOIN pg_class AS relation ON relation.oid = named.oid
        LEFT JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
        WHERE relation.oid IS NULL
           OR (partition_of IS NULL OR relation.relkind <> 'p')
              AND NOT CASE WHEN privilege IN ('SELECT', 'UPDATE')
                           THEN has_any_column_privilege(relation.oid, privilege)
                           ELSE has_table_privilege(relation.oid, privilege) END
        GROUP BY 1, 2, 3, 5, 6
        ORDER BY partition_of NULLS FIRST, 2
        """
    )
    pairs, pairs_in_parts = _pairs(wanted), _pairs(in_parts or {})
    parameters = {
        "tables": [table for table, _ in pairs],
        "qualified": [f"{quote(schema)}.{quote(table)}" for table, _ in pairs],
        "privileges": [privilege for _, privilege in pairs],
        "schema": schema,
        "parted": [table for table, _ in pairs_in_parts],
        "in_parts": [privilege for _, privilege in pairs_in_parts],
    }
    return [
        MissingPrivilege(its_schema, table, role, tuple(privileges), is_absent, partition_of)
        for its_schema, table, role, privileges, is_absent, partition_of in connection.execute(query, parameters)
    ]


def _pairs(privileges: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    return [(table, privilege) for table, its_privileges in privileges.items() for privilege in its_privileges]


def index_name(table: str, *columns: str) -> str:
    """Return the one name that our index on columns has, so that a second build finds what the first one left."""
    name = f"cath_dagster_{table}_{'_'.join(columns)}_idx"
    if len(name.encode()) <= MAX_IDENTIFIER_BYTES:
        return name
    ending = f"_{hashlib.sha256(name.encode()).hexdigest()[:8]}_idx"
    return name.encode()[: MAX_IDENTIFIER_BYTES - len(ending)].decode(errors="ignore") + ending


def create_index(schema: str, table: str, *columns: str) -> str:
    """Return the statement that makes our index; it must not run in a transaction."""
    return (
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {quote(index_name(table, *columns))} "
        f"ON {quote(schema)}.{quote(table)} ({', '.join(map(quote, columns))});"
    )
