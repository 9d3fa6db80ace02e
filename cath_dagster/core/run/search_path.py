"""Find where the role's own search path leads to another table than ours does.

Of a service that is its own affair: its application logs in as another role. Of the orchestrator's own database it is not,
since the orchestrator logs in as the jobs do: what it finds is what is meant.
"""

from collections.abc import Collection

import sqlalchemy as sa

from cath_dagster.core.maintenance.table_troubles import TableTrouble
from cath_dagster.core.postgres.session import SERVICE

_LOOK = sa.text(
    """
    SELECT name, its_schema.nspname FROM unnest(CAST(:names AS text[])) AS name
    JOIN pg_class AS relation ON relation.oid = to_regclass(quote_ident(name))
    JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
    WHERE its_schema.nspname <> :service ORDER BY name
    """
)


def find_elsewhere(connection: sa.Connection, tables: Collection[str]) -> list[TableTrouble]:
    """Return the tables, named without a schema, that the role itself would find in another schema than `public`."""
    pinned = connection.scalar(sa.select(sa.func.current_setting("search_path")))
    connection.execute(sa.text("SET LOCAL search_path TO DEFAULT"))
    found = connection.execute(_LOOK, {"names": [name for name in tables if "." not in name], "service": SERVICE}).all()
    connection.execute(sa.select(sa.func.set_config("search_path", pinned, sa.true())))
    return [
        TableTrouble(
            name,
            f"the role's search path finds it in the schema {schema}, and the jobs work on that of {SERVICE}",
            f"move the tables to {SERVICE}, or let this instance's role find those alone",
        )
        for name, schema in found
    ]
