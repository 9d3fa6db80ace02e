"""Give a database role exactly what it needs, and find what it may beyond that.

The role exists already: roles belong to the whole server, and their passwords to whoever runs it. What it holds itself
in the schemas concerned is brought level with its needs; what it has through PUBLIC or other roles is only told.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.errors import RefusedError
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.postgres.database import sqlstate, translate
from cath_dagster.core.postgres.identifiers import quote
from cath_dagster.core.roles.required_privileges import Named, Needs
from cath_dagster.core.roles.verification import check_given, check_past, find_excess, relation_name

NOT_ENTITLED = "42501"


@dataclass(frozen=True, kw_only=True)
class RoleChange:
    """The statements that bring a role level with its needs, and what it may do besides, through others."""

    role: str
    statements: tuple[str, ...]
    excess: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Held:
    """What a role holds itself on one relation; an owner's privileges come from owning it."""

    kind: str
    is_owned: bool
    privileges: frozenset[str]


def write_changes(connection: sa.Connection, role: str, needs: Needs, *, revokes_in: Collection[str]) -> RoleChange:
    """Return the statements, as a DBA would run them; for a role that does not exist the one that makes it comes first.

    Nothing that the role holds in another schema than those of `revokes_in` is revoked.
    """
    _check_tables(connection, needs)
    _refuse_own_role(connection, role)
    exists = _exists(connection, role)
    statements = [] if exists else [f"CREATE ROLE {quote(role)} LOGIN;"]
    held = _read_held(connection, role)
    statements += _reclaim(connection, role, needs, held)
    statements += _of_database(connection, role, needs, like=role if exists else "public")
    statements += _of_schemas(connection, role, needs)
    statements += _of_tables(role, needs, held, revokes_in)
    statements += _of_columns(connection, role, revokes_in)
    statements += _of_views(role, needs, held)
    statements += _of_row_security(connection, role, needs)
    return RoleChange(role=role, statements=tuple(statements))


def give(connection: sa.Connection, role: str, needs: Needs, *, revokes_in: Collection[str]) -> RoleChange:
    """Bring the role level with its needs, in the caller's transaction; return what was done.

    Raises `RefusedError` where the role does not exist, where the one that is logged in may not give something, and
    where the role could change the ledger's past all the same.
    """
    if not _exists(connection, role):
        raise RefusedError(f"there is no role {role}; have it made: CREATE ROLE {quote(role)} LOGIN PASSWORD '…';")
    change = write_changes(connection, role, needs, revokes_in=revokes_in)
    me = connection.scalar(sa.select(sa.func.current_user())) or ""
    for statement in change.statements:
        _execute(connection, statement, me)
    check_given(connection, role, needs)
    check_past(connection, role)
    excess = tuple(find_excess(connection, role, needs, revokes_in))
    return RoleChange(role=role, statements=change.statements, excess=excess)


def _execute(connection: sa.Connection, statement: str, me: str) -> None:
    try:
        # The names in it may hold any character, % included.
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except DBAPIError as error:
        if sqlstate(error) != NOT_ENTITLED:
            raise translate(error) from None
        raise RefusedError(
            f"{me} may not: {statement} Log in as the owner of the tables or a superuser, or have the statements of "
            "`cath-dagster roles sql` run by one; nothing was granted"
        ) from None


def _exists(connection: sa.Connection, role: str) -> bool:
    query = sa.text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :role)")
    return bool(connection.scalar(query, {"role": role}))


def _refuse_own_role(connection: sa.Connection, role: str) -> None:
    if connection.scalar(sa.select(sa.func.current_user())) == role:
        raise RefusedError(
            f"{role} is logged in itself, and would own the ledger that it must not change; for this command log in as the "
            "owner of the tables, or as a superuser"
        )


def _check_tables(connection: sa.Connection, needs: Needs) -> None:
    query = sa.text(
        """
        SELECT schema_name || '.' || name
        FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) AS wanted (schema_name, name)
        WHERE to_regclass(quote_ident(schema_name) || '.' || quote_ident(name)) IS NULL ORDER BY 1
        """
    )
    absent = connection.scalars(query, _as_arrays(needs.tables)).all()
    if absent:
        raise RefusedError(f"there is no {', '.join(absent)}; is this the right database, and has it been migrated?")


def _read_held(connection: sa.Connection, role: str) -> dict[Named, _Held]:
    query = sa.text(
        """
        SELECT its_schema.nspname, relation.relname, relation.relkind::text, owner.rolname = :role,
               coalesce(array_agg(given.privilege_type) FILTER (WHERE grantee.rolname = :role), '{}')
        FROM pg_class AS relation
        JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
        JOIN pg_roles AS owner ON owner.oid = relation.relowner
        LEFT JOIN LATERAL aclexplode(relation.relacl) AS given ON true
        LEFT JOIN pg_roles AS grantee ON grantee.oid = given.grantee
        WHERE relation.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND its_schema.nspname !~ '^pg_' AND its_schema.nspname <> 'information_schema'
        GROUP BY 1, 2, 3, 4
        """
    )
    return {
        (schema, name): _Held(kind, is_owned, frozenset(privileges))
        for schema, name, kind, is_owned, privileges in connection.execute(query, {"role": role})
    }


def _reclaim(connection: sa.Connection, role: str, needs: Needs, held: Mapping[Named, _Held]) -> Iterator[str]:
    """Yield what takes from the role the ownership of what is ours, which it has where it once migrated itself."""
    query = sa.text("SELECT pg_get_userbyid(nspowner) = :role FROM pg_namespace WHERE nspname = :schema")
    if connection.scalar(query, {"role": role, "schema": SCHEMA}):
        yield f"ALTER SCHEMA {SCHEMA} OWNER TO CURRENT_USER;"
    for (schema, name), state in sorted(held.items()):
        if schema == SCHEMA and state.is_owned and not (state.kind == "m" and name in needs.views):
            kind = {"v": "VIEW", "m": "MATERIALIZED VIEW"}.get(state.kind, "TABLE")
            yield f"ALTER {kind} {relation_name(schema, name)} OWNER TO CURRENT_USER;"


def _of_database(connection: sa.Connection, role: str, needs: Needs, *, like: str) -> Iterator[str]:
    """Yield what lets the role in, where one `like` it is kept out."""
    database = connection.scalar(sa.select(sa.func.current_database())) or ""
    query = sa.text(
        """
        SELECT privilege FROM unnest(CAST(:wanted AS text[])) WITH ORDINALITY AS needed (privilege, place)
        WHERE NOT has_database_privilege(:role, current_database(), privilege) ORDER BY place
        """
    )
    for privilege in connection.scalars(query, {"wanted": list(needs.database), "role": like}):
        yield f"GRANT {privilege} ON DATABASE {quote(database)} TO {quote(role)};"


def _of_schemas(connection: sa.Connection, role: str, needs: Needs) -> Iterator[str]:
    query = sa.text(
        """
        SELECT coalesce(array_agg(given.privilege_type), '{}')
        FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl) AS given
        JOIN pg_roles AS grantee ON grantee.oid = given.grantee
        WHERE nspname = :schema AND grantee.rolname = :role AND grantee.oid <> nspowner
        """
    )
    for schema, privileges in needs.schemas.items():
        held = frozenset(connection.scalar(query, {"schema": schema, "role": role}) or ())
        yield from _grant_and_revoke(f"SCHEMA {quote(schema)}", role, privileges, held)


def _of_tables(role: str, needs: Needs, held: Mapping[Named, _Held], revokes_in: Collection[str]) -> Iterator[str]:
    for named, state in sorted(held.items()):
        schema, name = named
        # What it owned of ours it has lost by now, privileges included; what else it owns is its own affair.
        has = state.privileges if not state.is_owned else frozenset()
        if state.is_owned and (schema != SCHEMA or name in needs.views):
            continue
        if schema not in revokes_in or (schema == SCHEMA and name in needs.views):
            has &= needs.tables.get(named, frozenset())
        yield from _grant_and_revoke(relation_name(schema, name), role, needs.tables.get(named, frozenset()), has)


def _of_columns(connection: sa.Connection, role: str, revokes_in: Collection[str]) -> Iterator[str]:
    """Yield what revokes privileges on single columns: those on the whole table are what the role needs."""
    query = sa.text(
        """
        SELECT its_schema.nspname, relation.relname, given.privilege_type, array_agg(attname::text ORDER BY attnum)
        FROM pg_attribute CROSS JOIN LATERAL aclexplode(attacl) AS given
        JOIN pg_roles AS grantee ON grantee.oid = given.grantee AND grantee.rolname = :role
        JOIN pg_class AS relation ON relation.oid = attrelid AND relation.relowner <> grantee.oid
        JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
        WHERE its_schema.nspname = ANY(:schemas)
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        """
    )
    for schema, name, privilege, columns in connection.execute(query, {"role": role, "schemas": list(revokes_in)}):
        yield f"REVOKE {privilege} ({', '.join(map(quote, columns))}) ON {relation_name(schema, name)} FROM {quote(role)};"


def _of_views(role: str, needs: Needs, held: Mapping[Named, _Held]) -> Iterator[str]:
    """Yield what makes the role the owner of the views that exist; those that are missing it makes itself."""
    for view in needs.views:
        state = held.get((SCHEMA, view))
        if state is not None and not state.is_owned:
            yield f"ALTER MATERIALIZED VIEW {relation_name(SCHEMA, view)} OWNER TO {quote(role)};"


def _of_row_security(connection: sa.Connection, role: str, needs: Needs) -> Iterator[str]:
    """Yield what lets the role past the policies of the tables that it needs, where it is not past them already.

    A policy of its own would not do: our sessions are refused wherever any policy applies, and so never take some of the
    rows for all of them.
    """
    query = sa.text(
        """
        SELECT EXISTS (
            SELECT FROM unnest(CAST(:schemas AS text[]), CAST(:names AS text[])) AS wanted (schema_name, name)
            JOIN pg_class AS relation ON relation.oid = to_regclass(quote_ident(schema_name) || '.' || quote_ident(name))
            JOIN pg_roles AS owner ON owner.oid = relation.relowner
            WHERE relation.relrowsecurity AND (owner.rolname <> :role OR relation.relforcerowsecurity)
        ) AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :role AND (rolbypassrls OR rolsuper))
        """
    )
    if connection.scalar(query, {**_as_arrays(needs.tables), "role": role}):
        yield f"ALTER ROLE {quote(role)} BYPASSRLS;"


def _grant_and_revoke(what: str, role: str, wanted: frozenset[str], held: frozenset[str]) -> Iterator[str]:
    if wanted - held:
        yield f"GRANT {', '.join(sorted(wanted - held))} ON {what} TO {quote(role)};"
    if held - wanted:
        yield f"REVOKE {', '.join(sorted(held - wanted))} ON {what} FROM {quote(role)};"


def _as_arrays(tables: Collection[Named]) -> dict[str, list[str]]:
    return {"schemas": [schema for schema, _ in tables], "names": [name for _, name in tables]}
