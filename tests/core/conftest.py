"""What the tests of the engine share."""

from collections.abc import Iterator

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.postgres.database import Database
from tests.support.entries import ENTRY, RUN, Entries
from tests.support.post_office import office  # noqa: F401 - a fixture


@pytest.fixture
def entries(cath_url: str) -> Iterator[Entries]:
    engine = open_engine(cath_url, variable="CATH_DATABASE_URL", application_name=f"tidy:{RUN}")
    pauses: list[float] = []
    with psycopg.connect(cath_url, autocommit=True) as sql, Database(engine, sleep=pauses.append) as database:
        sql.execute(ENTRY)
        yield Entries(cath_url, sql, database, pauses)


@pytest.fixture
def patient(entries: Entries) -> Entries:
    """A workshop whose database really pauses before it tries again."""
    engine = open_engine(entries.url, variable="CATH_DATABASE_URL", application_name=f"tidy:{RUN}")
    return Entries(entries.url, entries.sql, Database(engine), [])
