"""The command `cath-dagster`: our own commands, and those that services bring.

Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 restored (or restorable, in a dry run) in part only.
"""

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import typer

from cath_dagster.adapters.history_writer import finish_writing
from cath_dagster.cli.commands import (
    console,
    databases,
    files,
    indexes,
    jobs,
    ledger,
    new_job,
    restore,
    roles,
    runs,
    sample,
    views,
)
from cath_dagster.cli.mounting import service_apps
from cath_dagster.console.exits import FAILED, TERMINATED, WRONG_USAGE
from cath_dagster.console.output import print_error
from cath_dagster.core.errors import ConfigurationError, MaintenanceError, UnknownJobError

app = typer.Typer(
    name="cath-dagster",
    help="Scheduled maintenance of services that live on PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
OWN = (jobs, runs, databases, ledger, restore, sample, views, indexes, roles, files, console, new_job)
"""In the order in which `--help` lists them; those of services come after."""
for mounted in (*(module.app for module in OWN), *service_apps()):
    app.add_typer(mounted)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; every failure of ours becomes one line on standard error and an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        _run(arguments)
    finally:
        for unwritten in finish_writing():
            print_error(unwritten)


def _run(arguments: Sequence[str] | None) -> NoReturn:
    try:
        app(args=arguments, standalone_mode=True)
    except (ConfigurationError, UnknownJobError) as error:
        print_error(str(error))
        sys.exit(WRONG_USAGE)
    except MaintenanceError as error:
        print_error(str(error))
        sys.exit(FAILED)
    sys.exit(0)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Turn SIGTERM into an exit, on whose way out the statement on the server is cancelled."""
    del number, frame
    raise SystemExit(TERMINATED)
