"""What the catalogue says of a table is read once for questions that belong together."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.postgres.relations import one_look, read_references, read_relation, read_relations


@pytest.fixture
def connection(cath_url: str) -> Iterator[sa.Connection]:
    engine = open_engine(cath_url, variable="CATH_DATABASE_URL", application_name="relations")
    with engine.connect() as opened, opened.begin():
        yield opened
    engine.dispose()


def asked(connection: sa.Connection) -> list[str]:
    """Return the list into which every statement goes from now on."""
    statements: list[str] = []

    @sa.event.listens_for(connection, "before_cursor_execute")
    def note(*given: object) -> None:
        statements.append(str(given[2]))

    return statements


def test_within_one_look_a_table_and_its_keys_are_read_once(connection: sa.Connection) -> None:
    statements = asked(connection)
    with one_look():
        first = read_relation(connection, "artefact", "public")
        both = read_relations(
            connection, [("public", "artefact"), ("public", "artefact_search"), ("public", "artefact")]
        )
        keys = [read_references(connection, [table for table in both if table]) for _ in range(2)]

    assert both[0] is both[2] is first
    assert keys[0] == keys[1] != []
    assert len(statements) == 3


def test_what_is_not_there_is_not_asked_for_again_either(connection: sa.Connection) -> None:
    statements = asked(connection)
    with one_look():
        assert read_relation(connection, "nowhere") is read_relation(connection, "nowhere") is None

    assert len(statements) == 1


def test_the_next_look_sees_what_has_changed(connection: sa.Connection) -> None:
    with one_look():
        assert read_relation(connection, "lately") is None
    connection.execute(sa.text("CREATE TABLE public.lately (id int PRIMARY KEY)"))

    with one_look():
        assert read_relation(connection, "lately") is not None
