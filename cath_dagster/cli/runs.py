"""Run a job in this process, and show what came of it."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import typer

from cath_dagster.adapters.account import account
from cath_dagster.adapters.envelope import Caller, Launch, perform
from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.history_writer import INSTANCE_URL, NOT_CONFIGURED, History, Origin
from cath_dagster.adapters.logs import JsonReporter, is_json
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.terminal import TerminalReporter
from cath_dagster.cli.own_options import read_own_options
from cath_dagster.cli.run_output import print_report_of_run, print_result
from cath_dagster.console.exits import FAILED
from cath_dagster.console.output import print_json
from cath_dagster.core.errors import ConfigurationError, UnknownJobError
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.run.execution import check_partition, read_config
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.registry import find_spec


def run_in_process(
    name: str,
    given: Mapping[str, Any],
    *,
    own_options: Sequence[str] = (),
    partition: str | None,
    as_json: bool,
    quiet: bool,
) -> RunResult:
    """Run a job and return what came of it; what is unusable is raised, with `as_json` as a result on standard output too.

    `own_options` are the job's own settings, as the command line has them.
    """
    run_id = str(uuid.uuid4())
    try:
        spec = find_spec(name)
        given = {**given, **read_own_options(spec, own_options)}
        environ = MountedEnvironment()
        read_config(spec, given, environ=environ, now=datetime.now(UTC))
        check_partition(spec, partition)
        is_json(environ)
    except (ConfigurationError, UnknownJobError) as error:
        if as_json:
            unusable = RunResult(
                location="", job=name, run_id=run_id, dry_run=given.get("dry_run", False), as_of=None,
                status=Status.FAILED, error=str(error),
            )  # fmt: skip
            print_json(unusable.as_json())
        raise
    with _reporter(spec, run_id, as_json=as_json, quiet=quiet) as reporter:
        return perform(
            Launch(spec=spec, given=given, run_id=run_id, partition=partition),
            backends=open_backends(spec.location),
            environ=environ,
            reporter=reporter,
            caller=Caller(history=_history(environ, reporter)),
        )


def _history(environ: MountedEnvironment, reporter: JsonReporter | TerminalReporter) -> History | None:
    url = environ.get(INSTANCE_URL)
    if not url:
        reporter.info(NOT_CONFIGURED)
        return None
    return History(url=url, origin=Origin(trigger="cli", actor=account()))


def _reporter(spec: JobSpec, run_id: str, *, as_json: bool, quiet: bool) -> JsonReporter | TerminalReporter:
    environ = MountedEnvironment()
    if is_json(environ):
        return JsonReporter(spec, run_id, environ, quiet=quiet)
    return TerminalReporter(verbose=not as_json, quiet=quiet)


def finish(result: RunResult, *, as_json: bool, verbose: bool = False) -> None:
    """Show what came of a run, and end with its exit code."""
    report = find_spec(f"{result.location}/{result.job}").console_report
    if as_json:
        print_json(result.as_json())
    elif report is not None:
        print_report_of_run(report(result, verbose))
        print_result(result, outcomes=verbose, with_error=not is_json(MountedEnvironment()))
    else:
        print_result(result, with_error=not is_json(MountedEnvironment()))
    if result.status is not Status.SUCCESS:
        raise typer.Exit(FAILED)
