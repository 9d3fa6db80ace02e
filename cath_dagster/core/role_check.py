"""Look at what a role may do in the end, whatever gives it the privilege: enough, too much, or the ledger's past."""

from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import RefusedError
from cath_dagster.core.heap import quote
from cath_dagster.core.maintenance import SCHEMA
from cath_dagster.core.needs import SERVICE, Named, Needs

PAST = ("ledger_event", "deleted_key")
"""Tables that a role may add to, and no more."""


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
    query = sa.text(
        """
        SELECT relation.relname, pg_get_userbyid(relation.relowner),
               pg_has_role(:role, relation.relowner, 'MEMBER') OR pg_has_role(:role, its_schema.nspowner, 'MEMBER')
        FROM pg_class AS relation JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
        WHERE its_schema.nspname = :schema AND relation.relname = ANY(:past)
          AND (pg_has_role(:role, relation.relowner, 'MEMBER') OR pg_has_role(:role, its_schema.nspowner, 'MEMBER')
               OR has_table_privilege(:role, relation.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
               OR has_any_column_privilege(:role, relation.oid, 'UPDATE'))
        ORDER BY 1
        """
    )
    found = connection.execute(query, {"role": role, "schema": SCHEMA, "past": list(PAST)}).all()
    if not found:
        return
    table, owner, is_owner = found[0]
    if is_owner:
        why = f"it is a superuser, or is or may become {owner}, who owns it; choose a role of its own"
    else:
        why = "PUBLIC or a role that it is a member of gives it the privilege; revoke that, or choose a role of its own"
    raise RefusedError(f"{role} could change what {SCHEMA}.{table} says of the past: {why}; nothing was granted")


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
