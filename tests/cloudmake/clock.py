"""A clock that goes on when somebody sleeps by it, and runs of jobs that go by it."""

import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.outbox.notices import Patience
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import load_specs
from tests.cloudmake.cloudmake import CloudMake


class SleptClock:
    """Seconds that pass in sleep alone; several threads may sleep by it, one after the other."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._lock = threading.Lock()
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self._seconds

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._seconds += seconds
            self.slept.append(seconds)


def run_by(clock: SleptClock, cloudmake: CloudMake, job: str, **config: Any) -> RunResult:
    """Run a job by this clock, as of `cloudmake.as_of` unless the config says otherwise."""
    (spec,) = (spec for spec in load_specs(CLOUDMAKE) if spec.name == job)
    return execute(
        spec,
        {"as_of": cloudmake.as_of, **config},
        run_id=str(uuid.uuid4()),
        now=datetime.now(UTC) + timedelta(days=36_500),
        backends=EnvironmentBackends(CLOUDMAKE.prefix, cloudmake.environ),
        reporter=cloudmake.reporter,
        clock=clock,
        patience=Patience(sleep=clock.sleep),
    )
