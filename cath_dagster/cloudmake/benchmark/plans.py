"""Why a query under row-level security is slow: a policy that calls its function for each row, and how to write it instead."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from cath_dagster.cloudmake.benchmark.queries import TABLES

PER_ROW = ("Filter", "Join Filter")
"""What of a plan is evaluated for each row; a One-Time Filter and an index's condition are once a scan."""
_POLICIES = sa.text(
    "SELECT tablename, policyname, coalesce(qual, '') AS qual FROM pg_catalog.pg_policies "
    "WHERE schemaname = 'public' AND tablename = ANY(:tables) AND cmd IN ('SELECT', 'ALL') ORDER BY tablename, policyname"
)
_READS_A_SETTING = "current_setting"
"""What is left of a claim function that the planner has inlined."""


@dataclass(frozen=True)
class PerRow:
    """A filter that calls a function for each row of a table."""

    table: str
    condition: str


@dataclass(frozen=True)
class Policy:
    table: str
    name: str
    condition: str


def find_per_row(
    connection: sa.Connection, statement: str, given: dict[str, Any], functions: Sequence[str]
) -> list[PerRow]:
    """Return the filters of a query's plan that call a claim function for each row; the caller is in the role."""
    (plan,) = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", given).scalar_one()
    called = re.compile("|".join(rf"\b{re.escape(name)}\(" for name in (*functions, _READS_A_SETTING)))
    found = [PerRow(table, condition) for table, condition in _filters(plan["Plan"], "") if called.search(condition)]
    return list(dict.fromkeys(found))


def _filters(node: dict[str, Any], table: str) -> Iterator[tuple[str, str]]:
    table = node.get("Relation Name", table)
    for name in PER_ROW:
        if name in node:
            yield table, node[name]
    for child in node.get("Plans", ()):
        # An InitPlan runs once, whatever it calls: that is what the remedy makes of it.
        if child.get("Parent Relationship") != "InitPlan":
            yield from _filters(child, table)


def read_policies(connection: sa.Connection) -> list[Policy]:
    rows = connection.execute(_POLICIES, {"tables": list(TABLES)})
    return [Policy(row.tablename, row.policyname, " ".join(row.qual.split())) for row in rows]


def fingerprint(policies: Sequence[Policy]) -> str:
    """Return what tells one state of the policies from another."""
    return sha256(repr(sorted((each.table, each.name, each.condition) for each in policies)).encode()).hexdigest()[:12]


def rewritten(connection: sa.Connection, policy: Policy, functions: Sequence[str]) -> str | None:
    """Return the statement that makes a policy call its functions once a query; None where it does already."""
    condition = policy.condition
    for name in functions:
        # As the server writes it back, one that is in a SELECT of its own stands right behind that word.
        condition = re.sub(rf"(?<!SELECT )\b{re.escape(name)}\(\)", f"(SELECT {name}())", condition)
    if condition == policy.condition:
        return None
    quote = connection.dialect.identifier_preparer.quote
    return f"ALTER POLICY {quote(policy.name)} ON public.{quote(policy.table)} USING ({condition});"
