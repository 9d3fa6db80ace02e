"""Ask PostgreSQL how it would write an expression, on an empty temporary table, in a transaction that is undone.

Nothing is run: an expression is parsed and kept, and read back. A text that is more than one expression is not sent.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cath_dagster.cloudmake.drift.expressions import canonical
from cath_dagster.cloudmake.drift.schema_facts import Kind, Written
from cath_dagster.cloudmake.service_migrations.sql_text import statements
from cath_dagster.core.postgres.identifiers import quote

K = TypeVar("K", bound=tuple[str, str])

_BY_KIND = {
    Kind.DEFAULT: (
        "ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT ({text}\n)",
        "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = '{table}'::regclass",
    ),
    Kind.CHECK: (
        "ALTER TABLE {table} ADD CONSTRAINT probe CHECK ({text}\n)",
        "SELECT pg_get_expr(conbin, conrelid) FROM pg_constraint WHERE conrelid = '{table}'::regclass AND contype = 'c'",
    ),
    Kind.INDEX: (
        "CREATE INDEX probe ON {table} (({text}\n))",
        "SELECT pg_get_indexdef(indexrelid, 1, false) FROM pg_index WHERE indrelid = '{table}'::regclass",
    ),
    Kind.PREDICATE: (
        "CREATE INDEX probe ON {table} ((1)) WHERE ({text}\n)",
        "SELECT pg_get_expr(indpred, indrelid) FROM pg_index WHERE indrelid = '{table}'::regclass",
    ),
    Kind.USING: (
        "CREATE POLICY probe ON {table} USING ({text}\n)",
        "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = '{table}'::regclass",
    ),
    Kind.WITH_CHECK: (
        "CREATE POLICY probe ON {table} WITH CHECK ({text}\n)",
        "SELECT pg_get_expr(polwithcheck, polrelid) FROM pg_policy WHERE polrelid = '{table}'::regclass",
    ),
}
"""By kind, what has the server parse an expression, and what has it written again."""


def deparse(connection: sa.Connection, expressions: Mapping[K, Written]) -> dict[K, str]:
    """Return the one form of those expressions that the server takes; without a privilege to make temporary tables none."""
    of_tables = sorted(expressions.items(), key=lambda item: (item[1].schema, item[1].table))
    found: dict[K, str] = {}
    for (schema, table), group in groupby(of_tables, key=lambda item: (item[1].schema, item[1].table)):
        found |= _deparse_table(connection, schema, table, dict(group))
    return found


def _deparse_table(
    connection: sa.Connection, schema: str, table: str, expressions: Mapping[K, Written]
) -> dict[K, str]:
    whole = connection.begin_nested()
    try:
        # Of the same name, which expressions may put before their columns.
        _run(connection, f"CREATE TEMP TABLE {quote(table)} (LIKE {quote(schema)}.{quote(table)})")
        return {key: form for key, written in expressions.items() for form in _deparse_one(connection, written)}
    except DBAPIError:
        return {}
    finally:
        whole.rollback()


def _deparse_one(connection: sa.Connection, written: Written) -> Iterator[str]:
    if not _is_one_expression(written.text):
        return
    attempt = connection.begin_nested()
    try:
        make, read = _BY_KIND[written.kind]
        table = f"pg_temp.{quote(written.table)}"
        _run(
            connection,
            make.format(table=table, column=quote(written.column) if written.column else "", text=written.text),
        )
        said = connection.scalar(sa.text(read.format(table=table.replace("'", "''")).replace(":", r"\:")))
        yield canonical(said or "", qualifiers=(written.table, written.schema))
    except DBAPIError:
        return
    finally:
        attempt.rollback()


def _is_one_expression(text: str) -> bool:
    """Return whether a text ends where the brackets around it do."""
    parts = statements(text)
    if len(parts) != 1 or any(token.text == ";" and token.kind == "sign" for token in parts[0].tokens):
        return False
    depth = 0
    for token in parts[0].tokens:
        if token.kind == "sign":
            depth += (token.text == "(") - (token.text == ")")
        if depth < 0:
            return False
    return depth == 0


def _run(connection: sa.Connection, statement: str) -> None:
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
