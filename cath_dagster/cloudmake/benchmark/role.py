"""The role of which row-level security keeps rows: whether it is one, and how a transaction takes it on.

It is taken on by SET ROLE, within a savepoint that is always rolled back: no second password, and nothing of it outlives the
transaction, however that ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.cloudmake.benchmark.queries import TABLES
from cath_dagster.core.postgres.database import sqlstate
from cath_dagster.core.postgres.identifiers import quote

_UNREADABLE = sa.text(
    "SELECT name FROM unnest(CAST(:tables AS text[])) AS name WHERE NOT has_table_privilege(:role, 'public.' || name, 'SELECT')"
)
_ROLE = sa.text("SELECT rolsuper, rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = :role")
_MISSING_FUNCTIONS = sa.text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regprocedure(name || '()') IS NULL"
)
_ACTIVE = sa.text(
    "SELECT name FROM unnest(CAST(:tables AS text[])) AS name WHERE NOT row_security_active('public.' || name)"
)
_NOBODY = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, kw_only=True)
class Guise:
    """A role with the claims of somebody, as the service would say it for a request."""

    role: str
    claims_setting: str
    claims: str


@contextmanager
def disguised(connection: sa.Connection, guise: Guise | None, *, timeout_ms: int = 0) -> Iterator[None]:
    """Do what follows as another, or as the session's own role with None; all of it is undone at the end."""
    savepoint = connection.begin_nested()
    try:
        settings = {"statement_timeout": str(timeout_ms)}
        if guise is not None:
            # The role comes last: what a setting needs, the session has, and the role may not.
            settings |= {guise.claims_setting: guise.claims, "row_security": "on", "role": guise.role}
        for name, value in settings.items():
            connection.execute(sa.select(sa.func.set_config(name, value, sa.true())))
        yield
    finally:
        savepoint.rollback()


def find_reasons(connection: sa.Connection, guise: Guise, functions: Sequence[str]) -> list[str]:
    """Return why what is measured as the role would mean nothing, each with what to do."""
    found = connection.execute(_ROLE, {"role": guise.role}).one_or_none()
    if found is None:
        return [f"the role {guise.role} does not exist; {_how_to_make(guise.role)}"]
    reasons = []
    if found.rolsuper or found.rolbypassrls:
        kind = "a superuser" if found.rolsuper else "let past row-level security (BYPASSRLS)"
        reasons.append(f"{guise.role} is {kind}, so that no policy would be measured; {_how_to_make(guise.role)}")
    missing = connection.scalars(_MISSING_FUNCTIONS, {"names": list(functions)}).all()
    if missing:
        names = ", ".join(f"{name}()" for name in missing)
        reasons.append(
            f"{names} not there, by which the policies read a request's claims; name yours in claim_functions"
        )
    unreadable = connection.scalars(_UNREADABLE, {"role": guise.role, "tables": list(TABLES)}).all()
    if unreadable:
        reasons.append(f"as a superuser: GRANT SELECT ON {', '.join(unreadable)} TO {quote(guise.role)}")
    return reasons or _find_unseen(connection, guise)


def _find_unseen(connection: sa.Connection, guise: Guise) -> list[str]:
    """Return why the role cannot be taken on, or sees rows whatever a policy says."""
    try:
        with disguised(connection, guise):
            free = connection.scalars(_ACTIVE, {"tables": list(TABLES)}).all()
    except DBAPIError as error:
        if sqlstate(error) != "42501":
            raise
        mine, role = connection.scalar(sa.text("SELECT session_user")), quote(guise.role)
        return [f"{mine} may not take on {guise.role}; as a superuser: GRANT {role} TO {quote(str(mine))}"]
    if not free:
        return []
    because = "row-level security is not enabled there, or the role has the rights of the owner"
    return [f"no policy holds for {guise.role} on {', '.join(free)}: {because}; measure as one that services read by"]


def find_people(connection: sa.Connection) -> tuple[str, str]:
    """Return the ids of an administrator and of somebody who is none; one that never was where there is nobody."""
    found: Mapping[str, Any] = {
        kind: connection.scalar(
            sa.text(f"SELECT id FROM public.users WHERE role {sign} 'admin' ORDER BY id LIMIT 1")  # noqa: S608 - one of two
        )
        for kind, sign in (("admin", "="), ("user", "<>"))
    }
    return str(found["admin"] or _NOBODY), str(found["user"] or _NOBODY)


def _how_to_make(role: str) -> str:
    return (
        f"set role, or CLOUDMAKE_BENCHMARK_ROLE, to one without these rights that the services read by, not to {role}"
    )
