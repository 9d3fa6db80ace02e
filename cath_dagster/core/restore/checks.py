"""Foresee what a table's own rules would say of an archived row, and name those of which only an INSERT can tell."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cath_dagster.core.model.relation import Relation
from cath_dagster.core.restore.archive_sql import Part, quote
from cath_dagster.core.restore.hindrance import Kind


@dataclass(frozen=True)
class Check:
    """A CHECK that new rows are held to: its expression, over these columns."""

    name: str
    expression: str
    columns: frozenset[str]


def find_checks(connection: sa.Connection, relation: Relation) -> list[Check]:
    """Return the table's CHECK constraints that the server enforces."""
    query = sa.text(
        """
        SELECT conname, pg_get_expr(conbin, conrelid),
               (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY(conkey))
        FROM pg_constraint AS checked
        WHERE contype = 'c' AND conrelid = to_regclass(quote_ident(:schema) || '.' || quote_ident(:name))
          AND coalesce(CAST(to_jsonb(checked) ->> 'conenforced' AS boolean), true)
        ORDER BY conname
        """
    )
    found = connection.execute(query, {"schema": relation.schema, "name": relation.name})
    return [Check(name, expression, frozenset(columns or ())) for name, expression, columns in found]


def conditions(relation: Relation, part: Part, checks: Sequence[Check]) -> list[tuple[str, str]]:
    """Return the conditions on an archived row under which the table would not take it, each with its kind and name."""
    names = set(part.names)
    empty = [
        (f"{Kind.EMPTY.name}:{column.name}", f"given.{quote(column.name)} IS NOT DISTINCT FROM NULL")
        for column in relation.stored
        if not column.takes_null and column.name in names
    ]
    # Blanks at the end are cut off silently, as SQL wants it.
    long = [
        (
            f"{Kind.VALUE.name}:{column.name}",
            f"char_length(rtrim(given.{quote(column.name)}, ' ')) > {column.most_characters}",
        )
        for column in relation.stored
        if column.most_characters is not None and column.name in names
    ]
    broken = [
        (f"{Kind.RULE.name}:{check.name}", _fails(relation, check))
        for check in checks
        if check.columns and check.columns <= names
    ]
    return [*empty, *long, *broken]


def _fails(relation: Relation, check: Check) -> str:
    columns = ", ".join(f"given.{quote(name)}" for name in sorted(check.columns))
    holds = check.expression.replace("%", "%%")
    return f"(SELECT NOT coalesce(({holds}), true) FROM (SELECT {columns}) AS {quote(relation.name)})"  # noqa: S608


def untold(connection: sa.Connection, relation: Relation) -> list[str]:
    """Return the names of what may keep a row out, and shows only when it is inserted."""
    query = sa.text(
        """
        WITH its AS (SELECT to_regclass(quote_ident(:schema) || '.' || quote_ident(:name))::oid AS oid)
        SELECT 'trigger ' || tgname FROM pg_trigger JOIN its ON tgrelid = its.oid
        WHERE NOT tgisinternal AND tgtype & 4 <> 0 AND tgenabled IN ('O', 'A')
        UNION ALL
        SELECT 'index ' || named.relname FROM pg_index JOIN its ON indrelid = its.oid
        JOIN pg_class AS named ON named.oid = indexrelid
        WHERE indisunique AND (indpred IS NOT NULL OR indexprs IS NOT NULL)
        UNION ALL
        SELECT 'constraint ' || conname FROM pg_constraint JOIN its ON conrelid = its.oid WHERE contype = 'x'
        UNION ALL
        SELECT 'domain ' || format_type(atttypid, -1) FROM pg_attribute JOIN its ON attrelid = its.oid
        JOIN pg_type ON pg_type.oid = atttypid
        WHERE attnum > 0 AND NOT attisdropped AND typtype = 'd'
        ORDER BY 1
        """
    )
    return list(connection.scalars(query, {"schema": relation.schema, "name": relation.name}))
