"""The service's tables as stated against those that are there: every column and type that a statement would stumble over."""

import importlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, ENUM, JSONB

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.model.optional_columns import OPTIONAL, is_optional
from cath_dagster.core.run.schema_fit import find_misfits, stated_tables
from cath_dagster.core.run.spec import load_specs
from cath_dagster.development.sample import Sample
from cath_dagster.development.samples import samples

MOOD = ENUM("good", "bad", name="mood", create_type=False)


@pytest.fixture
def connection(empty_database: str) -> Iterator[sa.Connection]:
    engine = open_engine(empty_database, variable="URL", application_name="test")
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def says(connection: sa.Connection, *tables: sa.Table) -> list[str]:
    return [misfit.says for misfit in find_misfits(connection, tables)]


def thing(*columns: "sa.Column[Any]") -> sa.Table:
    return sa.Table("thing", sa.MetaData(), *columns)


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_every_job_s_tables_are_stated_and_fit_the_service_s_schema(empty_database: str, sample: Sample) -> None:
    with psycopg.connect(empty_database) as session:
        sample.create_schema(session)
    engine = open_engine(empty_database, variable="URL", application_name="test")
    with engine.connect() as connection:
        for spec in load_specs(sample.location):
            tables = stated_tables(spec)
            named = {name for name in spec.privileges if "." not in name and name != "maintenance"}
            assert {table.name for table in tables} == (
                named if spec.database and spec.database.needs_every_table else set()
            )
            assert says(connection, *tables) == []
    engine.dispose()


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.name)
def test_any_column_of_any_table_that_is_renamed_is_named(empty_database: str, sample: Sample) -> None:
    with psycopg.connect(empty_database) as session:
        sample.create_schema(session)
    engine = open_engine(empty_database, variable="URL", application_name="test")
    metadata = importlib.import_module(f"{sample.location.package}.tables").METADATA
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            for column in table.columns:
                if is_optional(column):
                    continue
                connection.execute(sa.text(f'ALTER TABLE "{table.name}" RENAME "{column.name}" TO renamed'))
                assert says(connection, table) == [f"table {table.name} has no column {column.name}"]
                connection.rollback()
    engine.dispose()


@pytest.mark.parametrize(
    ("stated", "made"),
    [
        (sa.Integer, "bigint"),
        (sa.BigInteger, "integer"),
        (sa.Text, "varchar(20)"),
        (sa.String(20), "text"),
        (sa.String(20), "char(20)"),
        (sa.String(20), "short"),
        (sa.Uuid, "uuid"),
        (sa.Boolean, "boolean"),
        (sa.Date, "date"),
        (sa.DateTime(timezone=True), "timestamptz(3)"),
        (sa.DateTime(timezone=False), "timestamp"),
        (sa.LargeBinary, "bytea"),
        (JSONB, "jsonb"),
        (ARRAY(sa.Integer), "bigint[]"),
        (MOOD, "mood"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_type_that_statements_are_right_with_fits(connection: sa.Connection, stated: Any, made: str) -> None:
    connection.execute(sa.text("CREATE TYPE mood AS ENUM ('bad', 'good', 'better')"))
    connection.execute(sa.text("CREATE DOMAIN shorter AS varchar(20); CREATE DOMAIN short AS shorter"))
    connection.execute(sa.text(f"CREATE TABLE thing (value {made})"))

    assert says(connection, thing(sa.Column("value", stated))) == []


@pytest.mark.parametrize(
    ("stated", "made", "words"),
    [
        (sa.DateTime(timezone=True), "timestamp", "timestamp without time zone, where timestamptz is needed"),
        (sa.DateTime(timezone=False), "timestamptz", "timestamp with time zone, where timestamp is needed"),
        (sa.Date, "timestamptz", "where date is needed"),
        (sa.Integer, "uuid", "is of type uuid"),
        (sa.Uuid, "text", "is of type text, where uuid is needed"),
        (sa.Text, "mood", "is of type mood"),
        (JSONB, "json", "is of type json, where jsonb is needed"),
        (sa.Boolean, "text", "where bool is needed"),
        (ARRAY(sa.Integer), "integer", "is of type integer"),
        (sa.Integer, "integer[]", "is of type integer[]"),
        (MOOD, "text", "is of type text, where the enumeration mood is needed"),
        (ENUM("good", "gone", name="mood"), "mood", "has no value 'gone' in its enumeration mood"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_type_that_statements_would_stumble_over_is_named(
    connection: sa.Connection, stated: Any, made: str, words: str
) -> None:
    connection.execute(sa.text("CREATE TYPE mood AS ENUM ('bad', 'good')"))
    connection.execute(sa.text(f"CREATE TABLE thing (value {made})"))

    (found,) = says(connection, thing(sa.Column("value", stated)))

    assert found.startswith("thing.value ")
    assert words in found


def test_a_table_that_is_not_there_is_named_and_one_of_another_schema_is_none(connection: sa.Connection) -> None:
    connection.execute(sa.text("CREATE SCHEMA other; CREATE TABLE other.thing (id int); SET search_path = other"))

    assert says(connection, thing(sa.Column("id", sa.Integer))) == ["public has no table thing"]


def test_a_column_that_may_be_missing_may_be_missing_and_no_more(connection: sa.Connection) -> None:
    stated = thing(sa.Column("id", sa.Integer), sa.Column("gone", sa.Date, info={OPTIONAL: "newer versions have none"}))
    connection.execute(sa.text("CREATE TABLE thing (id int)"))
    without = says(connection, stated)
    connection.execute(sa.text("ALTER TABLE thing ADD gone text"))

    assert (without, says(connection, stated)) == ([], ["thing.gone is of type text, where date is needed"])
