"""CheckTick with an empty database, a media store and a mail server that listens."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cath_dagster.checktick import CHECKTICK
from cath_dagster.development.simulators.smtp import SmtpServer
from tests.checktick.checktick import CheckTick
from tests.support.databases import Databases


@pytest.fixture
def checktick_template(databases: Databases) -> str:
    """Return the name of a database with CheckTick's empty schema and our own tables."""
    return databases.template(CHECKTICK.name)


@pytest.fixture
def checktick_url(databases: Databases, checktick_template: str) -> Iterator[str]:
    """Yield the libpq URL of a copy of it."""
    with databases.copy(checktick_template) as url:
        yield url


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@pytest.fixture
def checktick(checktick_url: str, smtp: SmtpServer, tmp_path: Path) -> Iterator[CheckTick]:
    with CheckTick.open(checktick_url, smtp, tmp_path, as_of=datetime(2026, 11, 18, 2, 0, tzinfo=UTC)) as opened:
        yield opened
