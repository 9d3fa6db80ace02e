"""VACUUM a table of which a run has deleted much, so that new rows find the room."""

from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.postgres.identifiers import qualified_name

MIN_SHARE = 0.1
"""Half of what makes autovacuum come by itself in time: below, a VACUUM reads more than it frees."""
MIN_ROWS = 10_000
COST_DELAY_MILLISECONDS = 2
"""At the polite pace; autovacuum's own default."""


@dataclass(frozen=True)
class Size:
    """What a table takes up."""

    heap_bytes: int
    index_bytes: int
    dead_rows: int


def is_worthwhile(deleted: int, rows_left: int | None) -> bool:
    """Return whether so many deleted rows are worth a VACUUM."""
    return deleted >= max(MIN_ROWS, MIN_SHARE * (deleted + (rows_left or 0)))


def vacuum(database: Database, table: sa.Table, *, is_polite: bool) -> dict[str, Scalar]:
    """VACUUM the table, indexes included; return what it took up before and after."""
    database.transaction(_flush_statistics)
    before = database.transaction(lambda connection: measure(connection, table))
    # The file is not shortened at the polite pace: that takes a lock which ends the queries of a standby.
    options = f"INDEX_CLEANUP ON, TRUNCATE {'OFF' if is_polite else 'ON'}"
    delay = COST_DELAY_MILLISECONDS if is_polite else 0
    database.autocommit(f"SET vacuum_cost_delay = {delay}", f"VACUUM ({options}) {qualified_name(table)}")
    after = database.transaction(lambda connection: measure(connection, table))
    return {
        f"{name}_{when}": getattr(size, name)
        for name in ("heap_bytes", "index_bytes", "dead_rows")
        for when, size in (("before", before), ("after", after))
    }


def _flush_statistics(connection: sa.Connection) -> None:
    """Have what this session has deleted counted at once; it may take a second otherwise."""
    if (connection.dialect.server_version_info or ()) >= FORCED_SINCE:
        connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))


def measure(connection: sa.Connection, table: sa.Table) -> Size:
    """Return what the table takes up, its dead rows as the server's statistics have them."""
    return Size(*connection.execute(_SIZE, {"table": qualified_name(table)}).one())


def find_obstacle(connection: sa.Connection, table: sa.Table) -> str | None:
    """Return why the role could not VACUUM the table, None if it could."""
    role, may, owner, version = connection.execute(_MAY, {"table": qualified_name(table)}).one()
    if may:
        return None
    maintain = f'GRANT MAINTAIN ON {qualified_name(table)} TO "{role}";'
    grant = maintain if version >= MAINTAIN_SINCE else f'GRANT "{owner}" TO "{role}";'
    return f"vacuum is set, and {role} may not VACUUM {table.name}; set vacuum to false, or as its owner: {grant}"


FORCED_SINCE = (15,)
MAINTAIN_SINCE = 170_000
"""PostgreSQL 17 has a privilege for it; before, it takes the owner."""

_SIZE = sa.text(
    """
    WITH parts AS (
        SELECT CAST(:table AS regclass)::oid AS oid
        UNION SELECT relid::oid FROM pg_partition_tree(CAST(:table AS regclass))
    )
    SELECT sum(pg_relation_size(oid))::bigint, sum(pg_indexes_size(oid))::bigint,
        coalesce(sum(pg_stat_get_dead_tuples(oid)), 0)::bigint
    FROM parts
    """
)

_MAY = sa.text(
    """
    SELECT current_user::text,
        pg_has_role(relowner, 'USAGE') OR CASE WHEN current_setting('server_version_num')::int >= 170000
            THEN has_table_privilege(oid, 'MAINTAIN') ELSE false END,
        pg_get_userbyid(relowner), current_setting('server_version_num')::int
    FROM pg_class WHERE oid = CAST(:table AS regclass)
    """
)
