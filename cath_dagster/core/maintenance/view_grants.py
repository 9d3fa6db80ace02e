"""Who may do what with a relation of ours: read before it is dropped, kept as text, and given again to the next one."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Self

import sqlalchemy as sa

from cath_dagster.core.postgres.identifiers import quote

PUBLIC = "public"
"""Everybody; no role can have this name."""
SELECT = "SELECT"


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A privilege of a role's, on one column where `column` names it."""

    role: str
    privilege: str = SELECT
    column: str | None = None
    is_grantable: bool = False

    def as_text(self) -> str:
        """Return the role alone where it may simply read."""
        is_plain = self == Grant(role=self.role) and not self.role.startswith("{")
        return self.role if is_plain else json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def of(cls, text: str) -> Self:
        return cls(**json.loads(text)) if text.startswith("{") else cls(role=text)


def read_grants(connection: sa.Connection, relation: str) -> list[Grant]:
    """Return what others than this role may do with the relation, its owner included."""
    query = sa.text(
        """
        SELECT role, privilege, of_column, bool_or(is_grantable) FROM (
            SELECT grantee AS role_id, coalesce(granted_to.rolname::text, :everybody) AS role, privilege_type AS privilege,
                of_column, is_grantable
            FROM (
                SELECT held.*, NULL AS of_column FROM pg_class AS relation, aclexplode(relation.relacl) AS held
                WHERE relation.oid = to_regclass(:relation)
                UNION ALL
                SELECT held.*, attname::text FROM pg_attribute, aclexplode(attacl) AS held
                WHERE attrelid = to_regclass(:relation) AND NOT attisdropped
                UNION ALL
                SELECT relowner, relowner, 'SELECT', false, NULL FROM pg_class WHERE oid = to_regclass(:relation)
            ) AS held LEFT JOIN pg_roles AS granted_to ON granted_to.oid = grantee
        ) AS everything
        WHERE role <> current_user GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        """
    )
    found = connection.execute(query, {"relation": relation, "everybody": PUBLIC})
    return [
        Grant(role=role, privilege=privilege, column=column, is_grantable=is_grantable)
        for role, privilege, column, is_grantable in found
    ]


def give(connection: sa.Connection, relation: str, columns: Sequence[str], grants: Iterable[Grant]) -> None:
    """Grant again what was granted, to the roles and on the columns that there are still."""
    for grant in grants:
        is_there = grant.role == PUBLIC or _is_role(connection, grant.role)
        if not is_there or (grant.column is not None and grant.column not in columns):
            continue
        on = f"{grant.privilege} ({quote(grant.column)})" if grant.column is not None else grant.privilege
        option = " WITH GRANT OPTION" if grant.is_grantable else ""
        connection.execute(sa.text(f"GRANT {on} ON {relation} TO {quote(grant.role)}{option}"))


def _is_role(connection: sa.Connection, name: str) -> bool:
    return connection.scalar(sa.select(sa.func.to_regrole(quote(name)))) is not None
