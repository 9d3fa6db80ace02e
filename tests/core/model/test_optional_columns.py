"""Columns that a service's schema may have or not."""

import psycopg
import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.model.optional_columns import OPTIONAL, is_optional, optional

TABLE = sa.Table(
    "court",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("gone_at", sa.DateTime, info={OPTIONAL: "it may be dropped"}),
)
INSTANTS = (
    "2026-11-18 01:00:00.001",
    "infinity",
    "-infinity",
    "20265-01-01 00:00:00",
    "0044-03-15 12:00:00 BC",
    "294276-12-31 23:59:59.999999",
    "4713-01-01 00:00:00 BC",
)


def read(url: str, expression: sa.ColumnElement[bool]) -> object:
    engine = open_engine(url, variable="DATABASE_URL", application_name="test")
    with engine.connect() as connection:
        found = connection.scalar(sa.select(expression).select_from(TABLE))
    engine.dispose()
    return found


@pytest.mark.parametrize("instant", INSTANTS)
@pytest.mark.parametrize("style", ["ISO, MDY", "SQL, DMY", "German"])
def test_a_column_that_is_there_is_read_as_it_is(empty_database: str, instant: str, style: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE court (id integer, gone_at timestamp)")
        connection.execute("INSERT INTO court VALUES (1, %s)", [instant])
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET datestyle = "{style}"')

    assert read(empty_database, optional(TABLE.c.gone_at) == TABLE.c.gone_at) is True


def test_a_column_that_is_not_there_is_null(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE court (id integer)")
        connection.execute("INSERT INTO court VALUES (1)")

    assert read(empty_database, optional(TABLE.c.gone_at).is_(None)) is True


def test_a_column_that_must_be_there_is_not_read_as_optional() -> None:
    assert (is_optional(TABLE.c.gone_at), is_optional(TABLE.c.id)) == (True, False)
    with pytest.raises(ValueError, match=r"court\.id is not marked"):
        optional(TABLE.c.id)
