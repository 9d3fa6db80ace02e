"""Find what lets a role change what the ledger says of the past."""

from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.maintenance.tables import SCHEMA

PAST = ("ledger_event", "deleted_key")
"""Tables that a role may add to, and no more."""


@dataclass(frozen=True)
class Violation:
    """What a role could do to a table of the past, and by what."""

    role: str
    table: str
    is_superuser: bool
    owned: str | None
    """What the role owns or may become the owner of, `table` or `schema`; None where it has a privilege only."""
    owner: str | None

    @property
    def is_by_being_another(self) -> bool:
        """Whether nothing that could be taken from the role itself gives it the power."""
        return self.is_superuser or self.owner not in (None, self.role)

    @property
    def says(self) -> str:
        return f"{self.role} could change what {SCHEMA}.{self.table} says of the past: {self._why}"

    @property
    def _why(self) -> str:
        if self.is_superuser:
            return "it is a superuser"
        if self.owner is None:
            return "it has the privilege, by itself, through PUBLIC or a role that it is a member of"
        if self.owner == self.role:
            return f"it owns the {self.owned}"
        return f"it may become {self.owner}, who owns the {self.owned}"


def find_violation(connection: sa.Connection, role: str) -> Violation | None:
    """Return how the role could change what one of the tables says, or make itself one that can; None if it cannot."""
    query = sa.text(
        """
        SELECT relation.relname, myself.rolsuper, owned, pg_get_userbyid(owner)
        FROM pg_class AS relation
        JOIN pg_namespace AS its_schema ON its_schema.oid = relation.relnamespace
        JOIN pg_roles AS myself ON myself.rolname = :role
        LEFT JOIN LATERAL (
            SELECT owned, owner FROM (VALUES (1, 'table', relation.relowner), (2, 'schema', its_schema.nspowner))
                AS either (place, owned, owner)
            WHERE pg_has_role(myself.oid, owner, 'MEMBER') ORDER BY place LIMIT 1
        ) AS ownership ON true
        WHERE its_schema.nspname = :schema AND relation.relname = ANY(:past)
          AND (owned IS NOT NULL
               OR has_table_privilege(myself.oid, relation.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
               OR has_any_column_privilege(myself.oid, relation.oid, 'UPDATE'))
        ORDER BY 1 LIMIT 1
        """
    )
    found = connection.execute(query, {"role": role, "schema": SCHEMA, "past": list(PAST)}).one_or_none()
    return None if found is None else Violation(role, *found)
