"""Send a run's telemetry where the environment says; never at the run's cost.

Whatever goes wrong with it is told in one line, and changes nothing for the run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

from cath_dagster.adapters.exporters import Complaints, Destination, Exporters, find_destinations
from cath_dagster.adapters.instruments import Observed
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.run.backends import Reporter
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.run.summary import summary
from cath_dagster.core.telemetry import Telemetry, reporting_to

INFO, WARN, ERROR = "INFO", "WARN", "ERROR"


class Recording(Telemetry, Protocol):
    """What records a run; the recorder itself brings OpenTelemetry with it, which a run that sends nothing does not load."""

    def say(self, message: str, severity: str) -> None: ...

    def ended(self, result: RunResult) -> None: ...

    def close(self, error: BaseException | None) -> bool: ...


def is_sent(environ: Mapping[str, str]) -> bool:
    """Return whether the environment names a place to send telemetry to."""
    try:
        return bool(find_destinations(environ))
    except ConfigurationError:
        return False


@contextmanager
def observed(
    spec: JobSpec, run_id: str, reporter: Reporter, environ: Mapping[str, str], *, step: str | None = None
) -> Iterator[Reporter]:
    """Yield the reporter for a run, or a step of it, within which all that it tells is also sent as telemetry.

    At the end what is left is sent, for two seconds at most.
    """
    destinations = _find(environ, reporter)
    if not destinations:
        yield reporter
        return
    complaints = Complaints()
    recorder = _open(destinations, Observed(spec, run_id, step), environ, reporter)
    if recorder is None:
        complaints.stop()
        yield reporter
        return
    error: BaseException | None = None
    try:
        with reporting_to(recorder):
            yield _Overheard(reporter, recorder)
    except BaseException as raised:
        error = raised
        raise
    finally:
        if recorder.close(error):
            complaints.stop()
        else:
            # What is still under way would complain in the midst of other output.
            complaints.any = True
    if complaints.any:
        reporter.warning("not all telemetry of this run could be sent. The run itself is not affected")


class _Overheard:
    """A reporter whose lines are also sent."""

    def __init__(self, reporter: Reporter, recorder: Recording) -> None:
        self._reporter = reporter
        self._recorder = recorder

    def info(self, message: str, **values: Scalar) -> None:
        self._reporter.info(message, **values)
        self._recorder.say(message, INFO)

    def warning(self, message: str) -> None:
        self._reporter.warning(message)
        self._recorder.say(message, WARN)

    def progress(self, target: str, done: int, total: int) -> None:
        self._reporter.progress(target, done, total)

    def ended(self, result: RunResult) -> None:
        self._reporter.ended(result)
        self._recorder.say(summary(result), INFO if result.status is Status.SUCCESS else ERROR)
        try:
            self._recorder.ended(result)
        except Exception as error:  # noqa: BLE001 - the work is done and committed, and a mistake here changes nothing of it
            self._reporter.warning(f"not all telemetry of this run could be sent ({type(error).__name__})")


def _find(environ: Mapping[str, str], reporter: Reporter) -> list[Destination]:
    try:
        return find_destinations(environ)
    except ConfigurationError as error:
        reporter.warning(f"no telemetry is sent: {error}")
        return []


def _open(
    destinations: Sequence[Destination], run: Observed, environ: Mapping[str, str], reporter: Reporter
) -> Recording | None:
    """Return the recorder of a run, None where the settings are such that none can be made."""
    opened = [exporters for each in destinations if (exporters := _open_destination(each, reporter))]
    if not opened:
        return None
    try:
        from cath_dagster.adapters.recorder import Recorder

        return Recorder(run, environ, opened)
    except Exception as error:  # noqa: BLE001 - a value of OTEL_… that the library cannot use must not cost a run
        reporter.warning(f"no telemetry is sent: OpenTelemetry refuses its settings ({type(error).__name__})")
        return None


def _open_destination(destination: Destination, reporter: Reporter) -> Exporters | None:
    try:
        return destination.open()
    except Exception as error:  # noqa: BLE001 - the same; the message may hold the secret in the value
        reporter.warning(
            f"no telemetry is sent to {destination.name}: "
            f"{destination.variable} or a setting beside it cannot be used ({type(error).__name__})"
        )
        return None
