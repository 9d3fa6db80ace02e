"""A row of any table: what its constraints require is filled in from the catalogue, what is given stands."""

import contextlib
import itertools
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from cath_dagster.core.model.location import CodeLocation
from tests.support.databases import Databases
from tests.support.maintained import Maintained

COLUMNS = """
SELECT attname::text, base.typname::text, base.typtype::text, attnotnull AND NOT atthasdef AND attidentity = '',
       (SELECT enumlabel::text FROM pg_enum WHERE enumtypid = base.oid ORDER BY enumsortorder LIMIT 1),
       CASE WHEN base.typname IN ('varchar', 'bpchar') AND atttypmod > 4 THEN atttypmod - 4 END,
       (SELECT ARRAY[confrelid::regclass::text, (SELECT attname FROM pg_attribute WHERE attrelid = confrelid
                                                 AND attnum = confkey[1])]
        FROM pg_constraint WHERE contype = 'f' AND conrelid = attrelid AND conkey = ARRAY[attnum] LIMIT 1)
FROM pg_attribute JOIN pg_type AS own ON own.oid = atttypid
JOIN pg_type AS base ON base.oid = CASE own.typtype WHEN 'd' THEN own.typbasetype ELSE own.oid END
WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
KEY = """
SELECT attname::text FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
WHERE indisprimary AND indrelid = to_regclass(quote_ident(%s))
"""
_numbers = itertools.count(10_000)
"""Beyond what the builders of the services number by."""


@contextlib.contextmanager
def maintained(location: CodeLocation, databases: Databases, *, as_of: datetime) -> Iterator[Maintained]:
    """Yield a service with an empty database, and nothing outside of it."""
    own = type("Own", (Maintained,), {"location": location})
    with (
        databases.copy(databases.template(location.name)) as url,
        psycopg.connect(url, autocommit=True, row_factory=tuple_row) as connection,
    ):
        connection.execute("SET timezone = 'UTC'")
        yield own(
            url=url, environ={f"{location.prefix}_DATABASE_URL": url}, connection=connection, as_of=as_of
        )  # fmt: skip


def add_row(service: Maintained, table: str, **values: Any) -> Any:
    """Insert a row, with the parents that it needs, and return its key."""
    row = dict(values)
    for name, kind, sort, is_required, label, length, parent in service.rows(COLUMNS, table):
        if is_required and name not in row:
            row[name] = _parent(service, parent) if parent else _value(service, kind, sort, label, length)
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    places = sql.SQL(", ").join(sql.Placeholder() for _ in row)
    given = sql.SQL("({}) VALUES ({})").format(names, places) if row else sql.SQL("DEFAULT VALUES")
    insert = sql.SQL("INSERT INTO {} {} RETURNING {}").format(
        sql.Identifier(table), given, sql.Identifier(key_of(service, table))
    )
    done = service.connection.execute(insert, list(row.values()))
    (found,) = done.fetchone() or (None,)
    return found


def keys(service: Maintained, table: str) -> set[Any]:
    """Return the keys of all rows of a table."""
    query = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(key_of(service, table)), sql.Identifier(table))
    return {key for (key,) in service.connection.execute(query)}


def key_of(service: Maintained, table: str) -> str:
    """Return the name of the column that is a table's key."""
    return str(service.value(KEY, table))


def _parent(service: Maintained, parent: list[str]) -> Any:
    table, column = parent
    key = add_row(service, table.strip('"'))
    query = sql.SQL("SELECT {} FROM {} WHERE {} = %s").format(
        sql.Identifier(column), sql.SQL(table), sql.Identifier(key_of(service, table.strip('"')))
    )
    (found,) = service.connection.execute(query, [key]).fetchone() or (None,)
    return found


def _value(service: Maintained, kind: str, sort: str, label: str | None, length: int | None) -> Any:
    number = next(_numbers)
    if sort == "e":
        return label
    if kind in ("timestamp", "timestamptz"):
        return service.as_of
    values: dict[str, Any] = {
        "uuid": f"00000000-0000-0000-0000-{number:012}",
        "bool": False,
        "date": service.as_of.date(),
        "bytea": b"",
        "inet": "192.0.2.1",
        **dict.fromkeys(("int2", "int4", "int8", "numeric", "float4", "float8"), number),
        **dict.fromkeys(("json", "jsonb"), "{}"),
        **dict.fromkeys(
            ("text", "varchar", "bpchar", "citext"), f"value {number}"[-length:] if length else f"value {number}"
        ),
    }
    return values[kind] if kind in values else "{}" if kind.startswith("_") else ""
