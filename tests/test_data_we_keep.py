"""Whatever we keep is in the documents, with its end."""

import re
from pathlib import Path

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.cath import CATH
from cath_dagster.core.history import tables as history
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.registry import all_specs, locations

PAGE = Path(__file__).parents[1] / "docs" / "data-we-keep.md"
RELATIONS = """
    SELECT relname, array_agg(attname::text ORDER BY attnum) FILTER (WHERE relkind = 'r')
    FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    WHERE relnamespace::regnamespace::text = ANY(%s) AND relkind IN ('r', 'p', 'v', 'm') GROUP BY relname
"""


def rows() -> list[list[str]]:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]


def named(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


@pytest.mark.parametrize("location", locations(), ids=lambda location: location.name)
def test_every_table_and_column_of_ours_is_described_with_its_end(empty_database: str, location: CodeLocation) -> None:
    engine = open_engine(empty_database, variable="V", application_name="test")
    migrate(engine, location)
    engine.dispose()
    described = {name: (named(row[1]), row[-1]) for row in rows() for name in named(row[0])}

    with psycopg.connect(empty_database) as connection:
        found = connection.execute(RELATIONS, [[SCHEMA, history.SCHEMA]]).fetchall()

    assert found
    for table, columns in found:
        assert table in described, f"{table} is not in {PAGE.name}"
        names, until = described[table]
        assert columns is None or sorted(names) == sorted(columns), table
        assert len(until) > 5, f"{PAGE.name} does not say how long {table} is kept"


def test_every_job_that_sends_mail_says_when_its_notices_are_forgotten() -> None:
    mailing = {spec.name for spec in all_specs() if spec.mail}
    told = {row[0].strip("`") for row in rows() if len(row) == 3}

    assert mailing <= told
    assert all(spec.mail.forgets for spec in all_specs() if spec.mail)


def test_keys_of_rows_deleted_over_two_years_ago_go_with_the_next_migration(cath_url: str) -> None:
    with psycopg.connect(cath_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO maintenance.deleted_key (run_id, table_name, key, deleted_at) VALUES"
            " ('r', 't', 'old', now() - interval '731 days'), ('r', 't', 'young', now() - interval '729 days')"
        )
        engine = open_engine(cath_url, variable="V", application_name="test")
        migrate(engine, CATH)
        engine.dispose()

        assert connection.execute("SELECT key FROM maintenance.deleted_key").fetchall() == [("young",)]
