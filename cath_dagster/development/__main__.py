"""What `make run` and `make dev` do: python -m cath_dagster.development run|dev."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

from cath_dagster.adapters.terminal import TerminalReporter, err
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.development.console import PORT as CONSOLE_PORT
from cath_dagster.development.console import start_console
from cath_dagster.development.local import Local, LocalError, dagster_stack, forget_outside
from cath_dagster.development.session import Session, print_summary
from cath_dagster.development.simulators.outside import Outside

UI_PORT = 3000


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cath_dagster.development", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, purpose in (("run", "run every job once on the samples"), ("dev", "open the UI on the samples")):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("--scale", type=float, default=1.0, help="1 makes about 260,000 rows")
        command.add_argument("--port", type=int, default=UI_PORT if name == "dev" else None)
        command.add_argument("--console-port", type=int, default=CONSOLE_PORT)
    given = parser.parse_args(arguments)
    forget_outside()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        return (
            _run(given.scale, given.port)
            if given.command == "run"
            else _dev(given.scale, given.port, given.console_port)
        )
    except MaintenanceError as error:
        err.print(f"error: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        err.print("stopped")
        return 130


def _run(scale: float, port: int | None) -> int:
    with _samples(scale) as (local, outside):
        mails_before = len(outside.notify.sent)
        err.print("starting code servers, daemon and UI")
        with dagster_stack(local, outside.environment(), port=port, schedules=False) as (stack, web_port):
            results = Session(stack, web_port, local).run_every_job()
        return print_summary(results, outside, local, mails_before=mails_before)


def _dev(scale: float, port: int, console_port: int) -> int:
    with (
        _samples(scale) as (local, outside),
        dagster_stack(local, outside.environment(), port=port, schedules=True) as (stack, web_port),
    ):
        link = start_console(stack, local, web_port=web_port, port=console_port)
        err.print(f"console, signed in once: {link}", markup=False, highlight=False, soft_wrap=True)
        err.print(
            f"UI: http://127.0.0.1:{web_port}   mail: {local.mail_log}, {local.mail_folder}   Ctrl-C stops everything"
        )
        while True:
            stack.check()
            time.sleep(1)


@contextlib.contextmanager
def _samples(scale: float) -> Iterator[tuple[Local, Outside]]:
    local = Local.here()
    ran_before = local.postgres.is_running()
    err.print("starting PostgreSQL")
    local.start_database()
    try:
        with TerminalReporter(verbose=True) as reporter:
            local.make_samples(scale=scale, fresh=False, reporter=reporter)
        with Outside.listening(notify_log=local.mail_log, mail_folder=local.mail_folder) as outside:
            yield local, outside
    finally:
        if not ran_before:
            local.postgres.stop()


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise KeyboardInterrupt


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalError as error:
        sys.exit(str(error))
