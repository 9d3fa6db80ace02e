"""An instance on the suite's PostgreSQL, as production has one, and ways to fill it."""

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.operations.instance import Instance, open_instance


@pytest.fixture(scope="module")
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
def dagster(instance: Instance) -> dg.DagsterInstance:
    return instance.dagster
