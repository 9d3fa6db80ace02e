"""A key of whatever kind of text takes its row along, however the job declares it."""

import pytest
import sqlalchemy as sa

from cath_dagster.core.model.purge import Purge
from cath_dagster.core.postgres.expressions import is_any
from tests.support.entries import Entries

KEYS = ["a", "a b", "żó", '"q" \\ {x,y}', "NULL", "%(x)s"]


@pytest.mark.parametrize("by_keys", [False, True])
@pytest.mark.parametrize("kind", ["char(12)", "bpchar", "varchar(12)", "text", "name", 'varchar(12) COLLATE "C"'])
def test_takes_rows_by_keys_that_are_declared_as_text(entries: Entries, kind: str, by_keys: bool) -> None:
    entries.sql.execute(f"CREATE TABLE word (code {kind} PRIMARY KEY, is_old boolean DEFAULT true)")
    for key in KEYS:
        entries.sql.execute("INSERT INTO word VALUES (%s)", (key,))
    entries.sql.execute("INSERT INTO word VALUES ('stays', false)")
    word = sa.Table(
        "word", sa.MetaData(), sa.Column("code", sa.Text, primary_key=True), sa.Column("is_old", sa.Boolean)
    )
    purge = Purge(table=word, rule="old words", predicate=word.c.is_old, reads_other_rows=by_keys)

    progress = entries.purger().delete(purge, limit=None if by_keys else 100)

    assert (progress.changed, progress.gave_up) == (len(KEYS), False)
    assert entries.value("SELECT string_agg(code, ',') FROM word").rstrip() == "stays"


def test_finds_a_row_by_its_key_whatever_is_in_it(entries: Entries) -> None:
    key = sa.column("key", sa.Text)
    words = [*KEYS, "", " ", "\n", "'"]

    def find(connection: sa.Connection) -> list[str]:
        rows = sa.values(key, name="given").data([(word,) for word in [*words, "another"]])
        return list(connection.scalars(sa.select(rows.c.key).where(is_any(rows.c.key, words))))

    assert entries.database.transaction(find) == words
