"""The queue of runs: Dagster's own, with as many at a time as the deployment says."""

from collections.abc import Mapping
from typing import Any, Self

from typing_extensions import override

from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.orchestration.internals.queues import ConfigurableClassData, QueuedRunCoordinator

MAX_CONCURRENT = "SCHEDULER_MAX_CONCURRENT"
MOST = 1_000
LIMIT = "max_concurrent_runs"


class EnvironmentRunCoordinator(QueuedRunCoordinator[Any]):
    """`dagster.yaml` says how many runs may go on at a time, and `SCHEDULER_MAX_CONCURRENT` where it is another number."""

    @classmethod
    @override
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        return cls(inst_data=inst_data, **{**config_value, **max_concurrent()})


def max_concurrent() -> dict[str, int]:
    """Return the queue's limit where the environment has one; raise `ConfigurationError` for what is none.

    0 would leave every run queued for ever, without a word.
    """
    given = MountedEnvironment().get(MAX_CONCURRENT)
    if not given:
        return {}
    if not given.isdecimal() or not 1 <= int(given) <= MOST:
        raise ConfigurationError(f"{MAX_CONCURRENT} is {given!r}; write how many runs may go on at a time, 1 to {MOST}")
    return {LIMIT: int(given)}
