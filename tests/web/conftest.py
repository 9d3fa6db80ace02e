"""One instance's database for all tests of the console, emptied between them."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from cath_dagster.adapters.postgres import open_pool
from cath_dagster.operations.backends import open_backends
from tests.operations.instance import Instance, open_instance
from tests.web.world import World, open_world


@pytest.fixture(scope="session")
def console_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with open_instance(tmp_path_factory.mktemp("home")) as opened:
        open_backends(opened.dagster).prepare()
        yield opened


@pytest.fixture(scope="session")
def console_engine(console_instance: Instance) -> Iterator[sa.Engine]:
    with open_pool(console_instance.url, variable="URL", application_name="console", size=10) as engine:
        yield engine


@pytest.fixture
def world(console_instance: Instance, console_engine: sa.Engine) -> Iterator[World]:
    """Yield a console in whose database nothing is."""
    console_instance.wipe()
    with open_world(console_instance, console_engine) as opened:
        yield opened
