"""What is asked of the orchestrator from outside its processes: launch a run, cancel one, start and stop what makes ticks."""

from collections.abc import Mapping
from typing import Any, Protocol

from cath_dagster.core.errors import MaintenanceError

QUEUE_KEY = "cath_dagster/job"
"""The tag of a run by whose values, `<location>/<job>`, the run queue limits runs to one at a time."""
NONCE_TAG = "cath_dagster/nonce"
"""The tag of a run that was commanded from outside: the audit log has the same, and so whose it is."""
PARTITION_TAG = "dagster/partition"
WITHHELD = "cath_dagster/withheld_until"
"""Metadata of a schedule or sensor that nobody may start: the variable of its code location that must be true before."""


class OrchestratorError(MaintenanceError):
    """The orchestrator says no."""


class OrchestratorUnavailableError(OrchestratorError):
    """The orchestrator does not answer, so that nobody knows whether it did what it was asked for."""


class Orchestrator(Protocol):
    """Every method is one request; one that is not answered is not repeated."""

    def launch(self, location: str, job: str, *, config: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Put a run into the queue; return its id."""
        ...

    def cancel(self, run_id: str) -> None:
        """Ask a run to end. One that is not going any more is an `OrchestratorError`."""
        ...

    def set_enabled(self, location: str, ticker: str, *, is_sensor: bool, enabled: bool) -> None:
        """Start or stop the schedule or sensor that makes a job's ticks; it may be so already.

        One that its code location withholds is not started: an `OrchestratorError` names the variable that must be set.
        """
        ...

    def is_alive(self) -> bool:
        """Return whether it answers, and never raise."""
        ...
