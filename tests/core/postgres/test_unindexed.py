"""Which indexes answer what the server asks of a foreign key's child when a row of the parent's is deleted."""

import pytest

from cath_dagster.core.postgres.unindexed import find_unindexed_foreign_keys
from tests.support.entries import Entries

pytestmark = pytest.mark.both_versions


def unindexed(entries: Entries, *, with_cascades: bool = False) -> list[str]:
    found = entries.database.transaction(
        lambda connection: find_unindexed_foreign_keys(connection, ["parent"], with_cascades=with_cascades)
    )
    return [key.name for key in found]


@pytest.fixture
def pair(entries: Entries) -> Entries:
    """A parent with a key of two columns, and a child that refers by both; ten tenants of many rows each."""
    entries.sql.execute("CREATE TABLE parent (tenant int, id int, code text, PRIMARY KEY (tenant, id))")
    entries.sql.execute(
        "CREATE TABLE child (a int, b int, other int, FOREIGN KEY (a, b) REFERENCES parent (tenant, id))"
    )
    entries.sql.execute("INSERT INTO parent SELECT n % 10, n FROM generate_series(1, 5000) n")
    entries.sql.execute("INSERT INTO child SELECT n % 10, n, 1 FROM generate_series(1, 5000) n")
    return entries


SERVING = {
    "both columns": "CREATE INDEX ON child (a, b)",
    "both, the other way round": "CREATE INDEX ON child (b, a)",
    "both and more": "CREATE INDEX ON child (b, a, other)",
    "those that refer to something": "CREATE INDEX ON child (a, b) WHERE a IS NOT NULL AND b IS NOT NULL",
    "those that refer by one column": "CREATE INDEX ON child (a, b) WHERE b IS NOT NULL",
    "a unique one on one of them": "CREATE UNIQUE INDEX ON child (b)",
    "one of them, of few rows each": "CREATE INDEX ON child (b)",
    "a hash of one of few rows each": "CREATE INDEX ON child USING hash (b)",
}
NOT_SERVING = {
    "nothing": "SELECT 1",
    "one of many rows each": "CREATE INDEX ON child (a)",
    "another first": "CREATE INDEX ON child (other, a, b)",
    "one of many rows, then another": "CREATE INDEX ON child (a, other, b)",
    "block ranges": "CREATE INDEX ON child USING brin (a, b)",
    "some rows": "CREATE INDEX ON child (a, b) WHERE other = 1",
    "an expression": "CREATE INDEX ON child ((a + 0), b)",
    "included": "CREATE INDEX ON child (other) INCLUDE (a, b)",
}


@pytest.mark.parametrize("statement", SERVING.values(), ids=SERVING)
def test_an_index_serves_that_leads_to_few_rows(pair: Entries, statement: str) -> None:
    pair.sql.execute(statement)
    pair.sql.execute("ANALYZE child")

    assert unindexed(pair) == []


@pytest.mark.parametrize("statement", NOT_SERVING.values(), ids=NOT_SERVING)
def test_an_index_does_not_serve_that_leads_to_many_rows_or_none(pair: Entries, statement: str) -> None:
    pair.sql.execute(statement)
    pair.sql.execute("ANALYZE child")

    assert unindexed(pair) == ["child.(a, b)"]


def test_an_index_by_another_collation_or_comparison_does_not_serve(entries: Entries) -> None:
    entries.sql.execute("CREATE TABLE parent (code text PRIMARY KEY)")
    entries.sql.execute("CREATE TABLE child (code text REFERENCES parent)")
    entries.sql.execute('CREATE INDEX ON child (code COLLATE "C")')

    assert unindexed(entries) == ["child.code"]
    entries.sql.execute("CREATE INDEX ON child (code text_pattern_ops)")
    assert unindexed(entries) == []


def test_an_index_on_a_column_of_a_wider_type_serves(entries: Entries) -> None:
    entries.sql.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    entries.sql.execute("CREATE TABLE child (parent_id bigint REFERENCES parent)")
    entries.sql.execute("CREATE INDEX ON child (parent_id)")

    assert unindexed(entries) == []


def test_a_key_that_is_not_enforced_needs_no_index(entries: Entries) -> None:
    if entries.sql.info.server_version < 180_000:
        pytest.skip("every key is enforced")
    entries.sql.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    entries.sql.execute("CREATE TABLE child (parent_id int REFERENCES parent NOT ENFORCED)")

    assert unindexed(entries) == []


def test_the_children_of_what_goes_by_a_cascade_count(entries: Entries) -> None:
    entries.sql.execute("CREATE TABLE parent (id int PRIMARY KEY)")
    entries.sql.execute("CREATE TABLE child (id int PRIMARY KEY REFERENCES parent ON DELETE CASCADE)")
    entries.sql.execute("CREATE TABLE grandchild (child_id int REFERENCES child)")

    assert (unindexed(entries), unindexed(entries, with_cascades=True)) == ([], ["grandchild.child_id"])
