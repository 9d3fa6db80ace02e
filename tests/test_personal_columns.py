"""What the rows that jobs delete say in words: each such column is declared personal, or is here because it is not."""

from collections.abc import Callable

import psycopg
import pytest

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.run.schema_fit import stated_tables
from cath_dagster.core.run.spec import load_specs
from cath_dagster.development import bon_sample, checktick_sample
from cath_dagster.locations import LOCATIONS

SCHEMAS: dict[str, Callable[[psycopg.Connection], None]] = {
    "bon": bon_sample.create_schema,
    "checktick": checktick_sample.create_schema,
}
IN_WORDS = """
SELECT relname::text, attname::text FROM pg_attribute
JOIN pg_class ON pg_class.oid = attrelid JOIN pg_type ON pg_type.oid = atttypid
WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s) AND attnum > 0 AND NOT attisdropped
  AND (typcategory = 'S' OR typname IN ('json', 'jsonb', 'bytea', 'inet'))
"""
IMPERSONAL: dict[str, set[str]] = {
    "invoices": {
        *("document_number", "currency", "vat_exemption_reason", "allocation_number", "allocation_error"),
    },
    "invoice_items": {"catalog_number"},
}
"""Numbers, codes, and what the tax authority answered about a document."""


@pytest.mark.parametrize("name", ["bon", "checktick"])
def test_every_column_of_words_is_declared_or_known_to_be_impersonal(empty_database: str, name: str) -> None:
    location = next(each for each in LOCATIONS if each.name == name)
    specs = load_specs(location)
    tables = (table for spec in specs for table in stated_tables(spec))
    stated = {table.name: table.info[PERSONAL] for table in tables if PERSONAL in table.info}
    with psycopg.connect(empty_database) as session:
        SCHEMAS[name](session)
        found = session.execute(IN_WORDS, [list(stated)]).fetchall()

    undecided = {
        f"{table}.{column}"
        for table, column in found
        if column not in stated[table] and column not in IMPERSONAL.get(table, set())
    }

    assert undecided == set()
