"""Tell a dead-man's switch that a job ran: a server that raises the alarm when it hears nothing, in Healthchecks' words."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.spec import JobSpec

TIMEOUT_SECONDS = 3.0
"""For the connection and for the answer: twice a run, and a switch that is away must not hold a purge up."""
START, SUCCESS, FAIL = "/start", "", "/fail"
SCHEMES = ("http", "https")


def ping_url(spec: JobSpec, environ: Mapping[str, str]) -> str | None:
    """Return where a job's runs are told, None where nobody wants to hear.

    `<LOCATION>_<JOB>_PING_URL` is the address of that job's check. `<LOCATION>_PING_URL` is the address of a project,
    to which the job's name is added, so that every job has a check of its own.
    """
    own = environ.get(f"{spec.location.name}_{spec.name}_PING_URL".upper())
    if own:
        return own.rstrip("/")
    shared = environ.get(f"{spec.location.prefix}_PING_URL")
    return f"{shared.rstrip('/')}/{spec.location.name}-{spec.name.replace('_', '-')}" if shared else None


class Switch:
    """The dead-man's switch of one run. Nothing that goes wrong with it is a failure of the run; `report` is given it."""

    def __init__(self, url: str | None, *, run_id: str, report: Callable[[str], None]) -> None:
        self._url = url
        self._run_id = run_id
        self._report = report

    @contextlib.contextmanager
    def watching(self, *, begins: bool = True) -> Iterator[None]:
        """Report that the run has begun, unless it has before, and that it failed where it is broken off."""
        if begins:
            self._ping(START)
        try:
            yield
        except BaseException:
            self._ping(FAIL)
            raise

    def ping_result(self, result: RunResult) -> None:
        """Report how the run ended."""
        self._ping(SUCCESS if result.status is Status.SUCCESS else FAIL)

    def _ping(self, how: str) -> None:
        if self._url is None:
            return
        import requests

        # An address is all that it takes to silence the switch: none is ever shown.
        try:
            if urlsplit(self._url).scheme not in SCHEMES:
                self._report("the dead-man's switch was not told: its address is no http(s) URL")
                return
            answer = requests.get(
                f"{self._url}{how}", params={"rid": self._run_id}, timeout=TIMEOUT_SECONDS, stream=True
            )
            answer.close()
        except (requests.RequestException, ValueError) as error:
            self._report(f"the dead-man's switch was not told: {type(error).__name__}")
            return
        if not answer.ok:
            self._report(f"the dead-man's switch was not told: it answered {answer.status_code}")


def open_switch(
    spec: JobSpec, environ: Mapping[str, str], *, run_id: str, dry_run: bool, report: Callable[[str], None]
) -> Switch:
    """Return the switch of a run; a dry run's tells nobody, since nothing that is due was done."""
    try:
        url = None if dry_run else ping_url(spec, environ)
    except ConfigurationError as error:
        report(f"the dead-man's switch was not told: {error}")
        url = None
    return Switch(url, run_id=run_id, report=report)
