"""The command `cath-dagster`, called in this process, or in one of its own where that is what is tested."""

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cath_dagster.adapters.terminal import err, out
from cath_dagster.cli.main import main
from tests.support.warm import COMMAND, run

COLUMNS = 250
"""Wide enough that no table folds a word that a test looks for."""
PROGRAM = str(Path(sys.executable).parent / "cath-dagster")

Done = subprocess.CompletedProcess[str]


def environment(*sources: Mapping[str, str]) -> dict[str, str]:
    """Return what a process of ours is given: nothing of what a shell exports for real services."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
    for source in sources:
        plain |= source
    return {**plain, "COLUMNS": str(COLUMNS), "PYTHONWARNINGS": "error"}


def call(environ: Mapping[str, str], *arguments: str) -> Done:
    """Call the command as its entry point does; to start a process for it would take a hundred times as long."""
    with _environ(environment(environ)), _streams() as (stdout, stderr):
        handler = signal.getsignal(signal.SIGTERM)
        try:
            main(arguments)
        except SystemExit as ended:
            return Done([PROGRAM, *arguments], _as_code(ended.code), stdout.getvalue(), stderr.getvalue())
        finally:
            signal.signal(signal.SIGTERM, handler)


def call_process(environ: Mapping[str, str], *arguments: str, modules: Sequence[str] = COMMAND) -> Done:
    """Call the command in a process of its own, as a shell does; `modules` are there already."""
    return run([PROGRAM, *arguments], environ=environment(environ), modules=modules)


@contextlib.contextmanager
def _environ(environ: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environ)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _streams() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    stdout, stderr = io.StringIO(), io.StringIO()
    # A console reads its width when it is made.
    widths = {console: console.width for console in (out, err)}
    try:
        for console in widths:
            console.width = COLUMNS
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            yield stdout, stderr
    finally:
        for console, width in widths.items():
            console.width = width


def _as_code(code: str | int | None) -> int:
    return code if isinstance(code, int) else int(code is not None)
