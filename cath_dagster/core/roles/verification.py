"""Look at what a role may do in the end, whatever gives it the privilege: enough, too much, or the ledger's past."""

from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.errors import RefusedError
from cath_dagster.core.ledger.append_only import find_violation
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.postgres.identifiers import quote
from cath_dagster.core.postgres.session import SERVICE
from cath_dagster.core.roles.required_privileges import Named, Needs


def check_given(connection: sa.Connection, role: str, needs: Needs) -> None:
    """Raise `RefusedError` where a grant came to nothing, of which the server only warns: the role goes without."""
    pairs = [(relation_name(*named), privilege) for named, wanted in needs.tables.items() for privilege in wanted]
    schemas = [(schema, privilege) for schema, wanted in needs.schemas.items() for privilege in wanted]
    given: dict[str, Any] = {
        "database": list(needs.database),
        "schemas": [schema for schema, _ in schemas],
        "schema_privileges": [privilege for _, privilege in schemas],
        "tables": [table for table, _ in pairs],
        "privileges": [privilege for _, privilege in pairs],
    }
    may_log_in = connection.scalar(_MAY_LOG_IN, {"role": role})
    missing = [*([] if may_log_in else ["LOGIN"]), *connection.scalars(_MISSING, {"role": role, **given})]
    if missing:
        raise RefusedError(
            f"{role} did not get {', '.join(missing)}: the role that is logged in may not give it; log in as the owner of "
            "these or as a superuser, or have the statements of `cath-dagster roles sql` run by one; nothing was granted"
        )


_MAY_LOG_IN = sa.text(
    """
    SELECT rolcanlogin AND coalesce(rolvaliduntil > clock_timestamp(), true) FROM pg_roles WHERE rolname = :role
    """
)
_MISSING = sa.text(
    """
    SELECT says FROM (
        SELECT 1 AS place, privilege || ' ON DATABASE ' || quote_ident(current_database()) AS says
        FROM unnest(CAST(:database AS text[])) AS privilege
        WHERE NOT has_database_privilege(:role, current_database(), privilege)
        UNION ALL
        SELECT 2, privilege || ' ON SCHEMA ' || quote_ident(name)
        FROM unnest(CAST(:schemas AS text[]), CAST(:schema_privileges AS text[])) AS wanted (name, privilege)
        WHERE NOT has_schema_privilege(:role, name, privilege)
        UNION ALL
        SELECT 3, privilege || ' ON ' || table_name
        FROM unnest(CAST(:tables AS text[]), CAST(:privileges AS text[])) AS wanted (table_name, privilege)
        WHERE NOT has_table_privilege(:role, table_name, privilege)
    ) AS missing ORDER BY place, says
    """
)


def check_past(connection: sa.Connection, role: str) -> None:
    """Raise `RefusedError` where the role could change what the ledger says, or make itself one that can."""
    violation = find_violation(connection, role)
    if violation is not None:
        remedy = (
            "choose a role of its own" if violation.is_by_being_another else "revoke that, or choose a role of its own"
        )
        raise RefusedError(f"{violation.says}; {remedy}; nothing was granted")


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
