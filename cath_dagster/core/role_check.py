"""Look at what a role may do in the end, whatever gives it the privilege: enough, too much, or the ledger's past."""

from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import RefusedError
from cath_dagster.core.heap import quote
from cath_dagster.core.maintenance import SCHEMA
from cath_dagster.core.needs import Named, Needs
from cath_dagster.core.past import find_power
from cath_dagster.core.session import SERVICE


def check_given(connection: sa.Connection, role: str, needs: Needs) -> None:
    """Raise `RefusedError` where a grant came to nothing, of which the server only warns."""
    query = sa.text(
        """
        SELECT privilege || ' ON ' || table_name
        FROM unnest(CAST(:tables AS text[]), CAST(:privileges AS text[])) AS wanted (table_name, privilege)
        WHERE NOT has_table_privilege(:role, table_name, privilege) ORDER BY table_name, privilege
        """
    )
    pairs = [(relation_name(*named), privilege) for named, wanted in needs.tables.items() for privilege in wanted]
    given: dict[str, Any] = {"tables": [table for table, _ in pairs], "privileges": [each for _, each in pairs]}
    missing = connection.scalars(query, {"role": role, **given}).all()
    if missing:
        raise RefusedError(
            f"{role} did not get {', '.join(missing)}: the role that is logged in may not give it; log in as the owner of "
            "the tables, or have the statements of `cath-dagster roles sql` run by one; nothing was granted"
        )


def check_past(connection: sa.Connection, role: str) -> None:
    """Raise `RefusedError` where the role could change what the ledger says, or make itself one that can."""
    power = find_power(connection, role)
    if power is not None:
        remedy = "choose a role of its own" if power.is_by_being_another else "revoke that, or choose a role of its own"
        raise RefusedError(f"{power.says}; {remedy}; nothing was granted")


def find_excess(connection: sa.Connection, role: str, needs: Needs, revokes_in: Collection[str]) -> Iterator[str]:
    """Yield what the role may beyond its needs, in any schema that it can look into; its views are its own."""
    query = sa.text(
        """
        SELECT its_schema.nspname, relation.relname, privilege
        FROM pg_class AS relation
        JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
        CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS privilege
        WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND its_schema.nspname !~ '^pg_' AND its_schema.nspname <> 'information_schema'
          AND has_schema_privilege(:role, its_schema.oid, 'USAGE')
          AND CASE WHEN privilege IN ('SELECT', 'INSERT', 'UPDATE')
                   THEN has_any_column_privilege(:role, relation.oid, privilege)
                   ELSE has_table_privilege(:role, relation.oid, privilege) END
        ORDER BY 1, 2, 3
        """
    )
    found: dict[Named, list[str]] = {}
    for schema, name, privilege in connection.execute(query, {"role": role}):
        is_own = schema == SCHEMA and name in needs.views
        is_spared = schema == SERVICE and schema not in revokes_in
        if not is_own and not is_spared and privilege not in needs.tables.get((schema, name), ()):
            found.setdefault((schema, name), []).append(privilege)
    for (schema, name), privileges in found.items():
        yield f"{', '.join(privileges)} on {relation_name(schema, name)}"
    for schema in connection.scalars(_MAY_CREATE, {"role": role}):
        if schema != SCHEMA or "CREATE" not in needs.schema:
            yield f"CREATE in schema {quote(schema)}"


_MAY_CREATE = sa.text(
    """
    SELECT nspname::text FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND has_schema_privilege(:role, oid, 'CREATE')
    ORDER BY 1
    """
)


def relation_name(schema: str, name: str) -> str:
    return f"{quote(schema)}.{quote(name)}"
