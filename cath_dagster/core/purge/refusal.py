"""Tell which rows the database does not let go, and by what: a constraint, a trigger, a rule, a policy.

Names of schema objects only: what a trigger raises may quote a row.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.postgres.database import sqlstate
from cath_dagster.core.postgres.identifiers import qualified_name

FOREIGN_KEY = ("23503", "23001")
"""A row refers to this one: NO ACTION, and from PostgreSQL 18 on RESTRICT by a code of its own."""
OF_ROWS = ("23", "P0", "44")
"""Classes of errors that are one row's fault: a constraint, what a trigger raises, a view's check."""
_RAISE = "exec_stmt_raise"
"""PL/pgSQL's RAISE, which may give its words any SQLSTATE."""
_TRANSIENT = ("40", "55", "57", "53", "08")
"""What is no row's fault whoever raises it, and may be tried again."""
_FUNCTION = re.compile(r"^PL/\w+ function (?:\S+\.)?(\w+)\(|^PL/\w+ function \"?(?:\S+\.)?([^\"(]+)\"?", re.MULTILINE)


@dataclass(frozen=True)
class Refusal:
    """What does not let a row go. `is_hold`: a row refers to it, so that it is kept; else it is left undone."""

    says: str
    is_hold: bool


class RowsRefusedError(Exception):
    """A transaction was rolled back since the database does not let one of its rows go."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.says)
        self.refusal = refusal


class StayedError(Exception):
    """Rows that were to go are there still, and match, though no statement failed."""


@dataclass(frozen=True)
class Trigger:
    """A trigger of people's own."""

    table: str
    name: str
    function: str
    is_on_delete: bool
    keeps_rows: bool
    """Whether it comes before the delete of a row and may leave it out."""

    def __str__(self) -> str:
        return f"the trigger {self.name} on {self.table}"


@dataclass(frozen=True)
class Guards:
    """What may refuse the rows of some tables besides their constraints."""

    triggers: tuple[Trigger, ...] = ()
    rules: tuple[str, ...] = ()
    """Tables with a rule on DELETE."""
    policed: tuple[str, ...] = ()
    """Tables of which policies show the role some rows only."""
    has_deferred: bool = False
    """Whether anything in the database is checked at the commit only."""

    @property
    def keeping(self) -> frozenset[str]:
        """Tables of which a DELETE may leave rows out without a word."""
        return frozenset((*(each.table for each in self.triggers if each.keeps_rows), *self.rules, *self.policed))

    @property
    def silence(self) -> Refusal:
        """What keeps a row for which no statement failed."""
        names = [
            *(str(each) for each in self.triggers if each.keeps_rows),
            *(f"a rule on {table}" for table in self.rules),
            *(f"a row-level policy of {table}" for table in self.policed),
        ]
        return Refusal(f"{' or '.join(names) or 'something in the database'} keeps it", is_hold=False)

    def refusal_of(self, error: DBAPIError) -> Refusal | None:
        """Return what an error says of one row, None where it is no row's fault."""
        state, diagnostic = sqlstate(error) or "", getattr(error.orig, "diag", None)
        is_raised = getattr(diagnostic, "source_function", None) == _RAISE
        functions = _functions(getattr(diagnostic, "context", None) or "")
        if state.startswith(_TRANSIENT) or not (is_raised or state.startswith(OF_ROWS) or self._named(functions)):
            return None
        constraint = getattr(diagnostic, "constraint_name", None)
        if constraint and not is_raised:
            table = getattr(diagnostic, "table_name", None)
            where = f" on {table}" if table else ""
            return Refusal(f"the constraint {constraint}{where} keeps it", is_hold=state in FOREIGN_KEY)
        triggers = self._named(functions) or [each for each in self.triggers if each.is_on_delete]
        names = " or ".join(map(str, triggers)) or "a trigger"
        return Refusal(f"{names} refuses it ({state})", is_hold=False)

    def _named(self, functions: Iterable[str]) -> list[Trigger]:
        return [each for each in self.triggers if each.function in functions]


def read_guards(connection: sa.Connection, tables: Sequence[sa.Table]) -> Guards:
    """Return what may refuse rows of these tables and of their partitions."""
    given = {"tables": [qualified_name(table) for table in tables]}
    triggers, rules, policed, has_deferred = connection.execute(_GUARDS, given).one()
    return Guards(
        tuple(Trigger(*each) for each in triggers or ()), tuple(rules or ()), tuple(policed or ()), bool(has_deferred)
    )


def _functions(context: str) -> set[str]:
    return {(plain or quoted).strip() for plain, quoted in _FUNCTION.findall(context)}


# The bits of a trigger's kind: 1 for each row, 2 before, 8 on DELETE, 64 instead of.
_GUARDS = sa.text(
    """
    WITH RECURSIVE concerned AS (
        SELECT CAST(CAST(name AS regclass) AS oid) AS oid FROM unnest(CAST(:tables AS text[])) AS given (name)
        UNION
        SELECT inhrelid FROM concerned JOIN pg_inherits ON inhparent = concerned.oid
    ), relation AS (
        SELECT pg_class.* FROM concerned JOIN pg_class USING (oid)
    )
    SELECT
        (SELECT json_agg(json_build_array(relname, tgname, proname, tgtype & 8 > 0, tgtype & 75 IN (11, 73))
                         ORDER BY relname, tgname)
         FROM relation JOIN pg_trigger ON tgrelid = relation.oid JOIN pg_proc ON pg_proc.oid = tgfoid
         WHERE NOT tgisinternal AND tgenabled IN ('O', 'A')),
        (SELECT array_agg(DISTINCT relname::text) FROM relation JOIN pg_rewrite ON ev_class = relation.oid
         WHERE ev_type = '4' AND ev_enabled IN ('O', 'A')),
        (SELECT array_agg(relname::text) FROM relation WHERE relrowsecurity AND row_security_active(oid)),
        EXISTS (SELECT FROM pg_trigger WHERE tginitdeferred AND tgenabled <> 'D')
    """
)
