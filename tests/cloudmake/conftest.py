"""CloudMake with an empty database."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from cath_dagster.cloudmake import CLOUDMAKE
from tests.cloudmake.cloudmake import CloudMake
from tests.support.databases import Databases


@pytest.fixture
def cloudmake_url(databases: Databases) -> Iterator[str]:
    """Yield the libpq URL of a database with CloudMake's empty schema and our own tables."""
    with databases.copy(databases.template(CLOUDMAKE.name)) as url:
        yield url


@pytest.fixture
def cloudmake(cloudmake_url: str) -> Iterator[CloudMake]:
    with CloudMake.open(cloudmake_url, as_of=datetime(2026, 11, 18, 6, 0, tzinfo=UTC)) as opened:
        yield opened
