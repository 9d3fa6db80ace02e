"""What the engines of a test process share: the compiled form of a statement, and nothing of what it is said with."""

import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from tests.support.databases import Databases


def compiled(engine: sa.Engine) -> int:
    return len(engine.get_execution_options()["compiled_cache"])


def test_a_statement_is_compiled_once_for_the_engines_of_all_databases(databases: Databases) -> None:
    answers, sizes = [], []
    for number in (1, 2):
        with databases.copy() as url:
            engine = open_engine(url, variable="URL", application_name="test")
            with engine.connect() as connection:
                statement = sa.select(sa.func.current_database(), sa.literal(number).label("said_in_this_test_alone"))
                answers.append(tuple(connection.execute(statement).one()))
            sizes.append(compiled(engine))
            engine.dispose()

    assert [number for _, number in answers] == [1, 2]
    assert len({database for database, _ in answers}) == 2
    assert sizes[0] == sizes[1] > 0


def test_statements_that_differ_are_not_taken_for_each_other(empty_database: str) -> None:
    engine = open_engine(empty_database, variable="URL", application_name="test")
    with engine.connect() as connection:
        columns: list[sa.ColumnClause[object]] = [sa.literal_column(words) for words in ("1", "2", "'one'")]
        assert [connection.scalar(sa.select(column)) for column in columns] == [1, 2, "one"]
    engine.dispose()
