"""Record runs in the orchestrator's database, beside the work and never in its way.

A thread of its own writes. Whoever runs the job waits for it for a moment at most, and goes on however that went: what could
not be written is told in one line, and the monitor fills it in from what the orchestrator knows.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from cath_dagster.adapters.history_writer import PATIENCE_SECONDS, History, Writer
from cath_dagster.core.history import writing
from cath_dagster.core.history.plain import plain_error, plain_outcomes, plain_parameters
from cath_dagster.core.history.writing import Begun, Ended
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.attempts import AttemptListener, Unheard


class Recording(AttemptListener, Protocol):
    """One run, or one step of it, as it is recorded."""

    def step_ended(self, result: RunResult) -> None:
        """Record how a step ended after which there is another."""

    def ended(self, result: RunResult) -> None: ...


class NoRecording(Unheard):
    """Where there is no history."""

    def step_ended(self, result: RunResult) -> None: ...

    def ended(self, result: RunResult) -> None: ...


@contextlib.contextmanager
def recorded(
    history: History | None,
    *,
    location: str,
    job: str,
    run_id: str,
    given: Mapping[str, Any],
    begins: bool,
    warn: Callable[[str], None],
) -> Iterator[Recording]:
    """Yield what records a run; what is broken off is recorded as cancelled, and raised.

    `begins` is False for a step that goes on with a run.
    """
    if history is None:
        yield NoRecording()
        return
    begun = Begun(
        location=location,
        job=job,
        run_id=run_id,
        trigger=history.origin.trigger,
        actor=history.origin.actor,
        nonce=history.origin.nonce,
        dry_run=bool(given.get("dry_run")),
        started_at=datetime.now(UTC),
        parameters=plain_parameters(given),
        is_continued=not begins,
    )
    recording = _Recording(Writer(history, run_id), begun, warn, is_watched=history.is_watched)
    try:
        if begins:
            recording.begin()
        yield recording
    except BaseException as error:
        recording.broken_off(error)
        raise
    finally:
        recording.close()


class _Recording:
    def __init__(self, writer: Writer, begun: Begun, warn: Callable[[str], None], *, is_watched: bool) -> None:
        self._writer, self._begun, self._warn, self._is_watched = writer, begun, warn, is_watched
        self._is_over = False

    def begin(self) -> None:
        begun = self._begun
        self._writer.hold(begun)
        self._writer.write(lambda connection: writing.begin(connection, begun))

    def on_attempt_began(self, attempt: int) -> None:
        if attempt > 1:
            self._begun = replace(self._begun, attempt=attempt, started_at=datetime.now(UTC))
            self.begin()

    def on_attempt(self, attempt: int, ended: RunResult | BaseException, again_in: timedelta | None) -> None:
        """Record how an attempt ended after which there is another; how the last one did is told by the run's end."""
        del attempt
        if again_in is not None and isinstance(ended, RunResult):
            self._writer.rest()
            self._end(_ended(ended))

    def step_ended(self, result: RunResult) -> None:
        begun, ended = self._begun, _ended(result)
        self._writer.write(lambda connection: writing.note(connection, begun, ended))

    def ended(self, result: RunResult) -> None:
        self._is_over = True
        self._end(_ended(result), patience=PATIENCE_SECONDS)

    def broken_off(self, error: BaseException) -> None:
        if self._is_over:
            return
        is_fault = isinstance(error, Exception)
        says = f"{type(error).__name__}; its message is in the run's log" if is_fault else "broken off from outside"
        status = Status.FAILED.value if is_fault else "canceled"
        ended = Ended(status=status, completed_at=datetime.now(UTC), error=says)
        self._end(ended, patience=PATIENCE_SECONDS)

    def close(self) -> None:
        self._writer.close()
        # What the command line could not write it says when it ends, by `finish_writing`.
        if self._is_watched and self._writer.trouble is not None:
            self._warn(self._writer.trouble)

    def _end(self, ended: Ended, *, patience: float = 0.0) -> None:
        begun = self._begun
        self._writer.write(lambda connection: writing.end(connection, begun, ended), patience=patience)


def _ended(result: RunResult) -> Ended:
    return Ended(
        status=result.status.value,
        completed_at=datetime.now(UTC),
        error=plain_error(result.error),
        outcomes=plain_outcomes(result.outcomes),
    )
