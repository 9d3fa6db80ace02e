"""An instance on the suite's PostgreSQL, as production has one, and ways to fill it."""

from collections.abc import Iterator

import pytest

from cath_dagster.core.postgres.database import Database
from cath_dagster.operations.backends import open_backends
from tests.operations.instance import Instance, open_instance


@pytest.fixture(scope="session")
def shared_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with open_instance(tmp_path_factory.mktemp("home")) as opened:
        yield opened


@pytest.fixture
def instance(shared_instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """Return an instance with nothing in it, which is also that of `DAGSTER_HOME`."""
    shared_instance.wipe()
    monkeypatch.setenv("DAGSTER_HOME", str(shared_instance.home))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", shared_instance.url)
    return shared_instance


@pytest.fixture
def database(instance: Instance) -> Iterator[Database]:
    """Yield the instance's database, with our tables in it."""
    backends = open_backends(instance.dagster)
    backends.prepare()
    engine = backends.engine("test")
    with Database(engine) as opened:
        yield opened
    engine.dispose()
