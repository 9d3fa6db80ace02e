"""The one envelope around a run, whoever asks for it: the dead-man's switch, telemetry, the work, and how it ended."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.history import Recording, recorded
from cath_dagster.adapters.history_writer import History
from cath_dagster.adapters.ping import open_switch
from cath_dagster.adapters.telemetry import is_sent, observed
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.attempts import UNHEARD, AttemptListener
from cath_dagster.core.run.backends import Reporter
from cath_dagster.core.run.execution import execute
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.telemetry import trace_id


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What is launched: one run of a job, or one step of it."""

    spec: JobSpec
    given: Mapping[str, Any]
    run_id: str
    partition: str | None = None
    selection: frozenset[str] | None = None
    is_scheduled: bool = False
    step: str | None = None
    spent_seconds: float = 0.0
    """What of the run's time is gone, by the steps before this one."""

    @property
    def begins(self) -> bool:
        """Whether nothing of the run was done before."""
        return self.step is None or self.step == self.spec.steps[0].name

    def goes_on_after(self, result: RunResult) -> bool:
        """Whether another step comes after this one; after one that did not come to its work there is none."""
        is_last = self.step is None or self.step == self.spec.steps[-1].name
        return not is_last and result.began


@dataclass(frozen=True, kw_only=True)
class Caller:
    """What the envelope asks of whoever keeps the run; the command line keeps none."""

    note_trace: Callable[[str], None] | None = None
    """Writes down in which trace a run is found, before it begins: also one that is killed has sent some of it."""
    prepares: bool = False
    """Whether a location's database of our own is brought up to date first; otherwise `migrate` alone does so."""
    listener: AttemptListener = UNHEARD
    """Hears of every attempt of a run that is not recorded, the first included."""
    every_step_succeeded: Callable[[], bool] = lambda: True
    """Says of a run of several steps whether those before the last ended well."""
    history: History | None = None
    """Where the run is recorded; nowhere where the orchestrator's database is not known."""


COMMAND_LINE = Caller()


def perform(
    launch: Launch,
    *,
    backends: EnvironmentBackends,
    environ: Mapping[str, str],
    reporter: Reporter,
    caller: Caller = COMMAND_LINE,
) -> RunResult:
    """Do what is launched and return what came of it; a failure of the run is a result, as `execute` has it.

    The switch hears once that a run of several steps began and once how it ended, and at once that one failed or was
    broken off. What is broken off is raised.
    """
    spec, run_id = launch.spec, launch.run_id
    if caller.note_trace is not None and is_sent(environ):
        caller.note_trace(trace_id(run_id, environ))
    is_dry = bool(launch.given.get("dry_run"))
    switch = open_switch(spec, environ, run_id=run_id, dry_run=is_dry, report=reporter.info)
    with (
        _recorded(launch, caller, reporter) as recording,
        switch.watching(begins=launch.begins),
        observed(spec, run_id, reporter, environ, step=launch.step) as heard,
    ):
        if caller.prepares:
            backends.prepare()
        result = execute(
            spec,
            launch.given,
            run_id=run_id,
            now=datetime.now(UTC),
            backends=backends,
            reporter=heard,
            partition=launch.partition,
            selection=launch.selection,
            is_scheduled=launch.is_scheduled,
            step=launch.step,
            listener=caller.listener if caller.history is None else recording,
            spent_seconds=launch.spent_seconds,
        )
        if launch.goes_on_after(result):
            recording.step_ended(result)
        else:
            recording.ended(result)
    if result.status is not Status.SUCCESS or _is_whole(launch, caller):
        switch.ping_result(result)
    return result


def _recorded(launch: Launch, caller: Caller, reporter: Reporter) -> AbstractContextManager[Recording]:
    told = {"partition": launch.partition, "selection": sorted(launch.selection) if launch.selection else None}
    return recorded(
        caller.history,
        location=launch.spec.location.name,
        job=launch.spec.name,
        run_id=launch.run_id,
        given={**launch.given, **told},
        begins=launch.begins,
        warn=reporter.warning,
    )


def _is_whole(launch: Launch, caller: Caller) -> bool:
    """Return whether a step that ended well is the last of a run in which every step did."""
    if launch.step is None:
        return True
    return launch.step == launch.spec.steps[-1].name and caller.every_step_succeeded()
