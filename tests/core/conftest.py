"""What the tests of the engine share."""

from collections.abc import Iterator

import psycopg
import pytest

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.postgres.database import Database
from tests.core.post_office import office  # noqa: F401 - a fixture
from tests.core.workshop import ENTRY, RUN, Workshop


@pytest.fixture
def workshop(cath_url: str) -> Iterator[Workshop]:
    engine = open_engine(cath_url, variable="CATH_DATABASE_URL", application_name=f"tidy:{RUN}")
    pauses: list[float] = []
    with psycopg.connect(cath_url, autocommit=True) as sql, Database(engine, sleep=pauses.append) as database:
        sql.execute(ENTRY)
        yield Workshop(cath_url, sql, database, pauses)


@pytest.fixture
def patient(workshop: Workshop) -> Workshop:
    """A workshop whose database really pauses before it tries again."""
    engine = open_engine(workshop.url, variable="CATH_DATABASE_URL", application_name=f"tidy:{RUN}")
    return Workshop(workshop.url, workshop.sql, Database(engine), [])
