"""CheckTick with an empty database, a media store and a mail server that listens."""

import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from cath_dagster.adapters.postgres import open_engine
from cath_dagster.checktick import LOCATION
from cath_dagster.core.migrations import migrate
from cath_dagster.development import checktick_sample
from cath_dagster.development.smtp import SmtpServer
from tests.checktick.checktick import CheckTick

SERVER = "TEST_SUITE_SERVER"


def database_url(name: str) -> str:
    """Return the libpq URL of another database on the suite's server."""
    head, _, query = os.environ[SERVER].partition("?")
    base = head.rpartition("/")[0]
    return f"{base}/{name}" + (f"?{query}" if query else "")


@pytest.fixture(scope="session")
def checktick_template() -> Iterator[str]:
    """Yield the name of a database with CheckTick's empty schema and our own tables."""
    name = f"template_checktick_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(os.environ[SERVER], autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(database_url(name)) as connection:
            checktick_sample.create_schema(connection)
        engine = open_engine(database_url(name), variable="template", application_name="template")
        migrate(engine, LOCATION)
        engine.dispose()
        yield name
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def checktick_url(checktick_template: str) -> Iterator[str]:
    """Yield the libpq URL of a database with CheckTick's empty schema and our own tables."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(os.environ[SERVER], autocommit=True) as admin:
        names = map(sql.Identifier, (name, checktick_template))
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(*names))
        yield database_url(name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@pytest.fixture
def checktick(checktick_url: str, smtp: SmtpServer, tmp_path: Path) -> Iterator[CheckTick]:
    with CheckTick.open(checktick_url, smtp, tmp_path, as_of=datetime(2026, 11, 18, 2, 0, tzinfo=UTC)) as opened:
        yield opened
