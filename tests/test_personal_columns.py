"""What the rows that jobs delete say in words: each such column is declared personal, or is here because it is not."""

import psycopg
import pytest

from cath_dagster.core.archive.obstacles import PERSONAL
from cath_dagster.core.run.schema_fit import stated_tables
from cath_dagster.core.run.spec import load_specs
from cath_dagster.development.sample import Sample
from cath_dagster.development.samples import samples

CHECKED = [sample for sample in samples() if sample.name != "cath"]
"""Every service but CaTH, most of whose columns of words are codes that nobody has listed below."""
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
    "audit_logs": {"action", "status"},
    "messages": {"source_id", "detected_language"},
    "privacy_requests": {"type", "status", "subject_type", "identifier_type"},
}
"""Numbers, codes, and what the tax authority answered about a document or a service names a kind by."""


@pytest.mark.parametrize("sample", CHECKED, ids=lambda sample: sample.name)
def test_every_column_of_words_is_declared_or_known_to_be_impersonal(empty_database: str, sample: Sample) -> None:
    specs = load_specs(sample.location)
    tables = (table for spec in specs for table in stated_tables(spec))
    stated = {table.name: table.info[PERSONAL] for table in tables if PERSONAL in table.info}
    with psycopg.connect(empty_database) as session:
        sample.create_schema(session)
        found = session.execute(IN_WORDS, [list(stated)]).fetchall()

    undecided = {
        f"{table}.{column}"
        for table, column in found
        if column not in stated[table] and column not in IMPERSONAL.get(table, set())
    }

    assert undecided == set()
