"""The console as a whole: what its parts share, and the jobs that it knows."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

import sqlalchemy as sa

from cath_dagster.core.ports.orchestrator import Orchestrator
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.web.identity import Doorkeeper, no_right
from cath_dagster.web.problems import not_found
from cath_dagster.web.rights import Action, Principal
from cath_dagster.web.settings import ConsoleSettings

MOST_LAUNCHES = 4
"""At a time: each has a connection until Dagster has answered, and most of the pool is for who looks."""


@dataclass(frozen=True)
class Console:
    """Everything that a request needs; made once, when the console starts, and by tests with parts of their own."""

    settings: ConsoleSettings
    engine: sa.Engine
    orchestrator: Orchestrator
    clock: Callable[[], datetime]
    specs: Mapping[str, JobSpec]
    """By `location/job`."""
    doorkeeper: Doorkeeper = field(init=False)
    launching: threading.Semaphore = field(
        init=False, default_factory=lambda: threading.BoundedSemaphore(MOST_LAUNCHES)
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "doorkeeper", Doorkeeper(self.settings, self.engine, self.clock))

    @cached_property
    def reader(self) -> sa.Engine:
        """The same connections for whoever only reads: no statement waits for a transaction to begin and end around it."""
        return self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @cached_property
    def locations(self) -> tuple[str, ...]:
        """The names of all code locations, in the order of the registry."""
        return tuple(dict.fromkeys(spec.location.name for spec in self.specs.values()))

    def require(self, principal: Principal, action: Action, location: str) -> None:
        """Raise a `Problem` with 403 for who may not do this there."""
        if not principal.may(action, location):
            raise no_right(principal, action, location)

    def spec(self, location: str, job: str) -> JobSpec:
        """Return a job's specification; raise a `Problem` with 404 where this version has none of that name."""
        found = self.specs.get(f"{location}/{job}")
        if found is None:
            raise not_found("there is no such job in this version; GET /api/v1/jobs lists them")
        return found
