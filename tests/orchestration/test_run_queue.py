"""How many runs go on at a time: as dagster.yaml says, unless the environment says otherwise."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.development.local import REPOSITORY
from cath_dagster.orchestration.run_queue import EnvironmentRunCoordinator


def limit() -> int:
    given: dict[str, Any] = yaml.safe_load(Path(REPOSITORY / "dagster.yaml").read_text())["run_coordinator"]
    assert given["class"] == EnvironmentRunCoordinator.__name__
    return EnvironmentRunCoordinator.from_config_value(None, given["config"]).get_run_queue_config().max_concurrent_runs


def test_the_environment_says_how_many_runs_go_on_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert limit() == 10
    monkeypatch.setenv("SCHEDULER_MAX_CONCURRENT", "3")
    assert limit() == 3


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1001"])
def test_refuses_a_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("SCHEDULER_MAX_CONCURRENT", wrong)

    with pytest.raises(ConfigurationError, match="SCHEDULER_MAX_CONCURRENT is"):
        limit()
