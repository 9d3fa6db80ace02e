"""Starts our programs without the seconds of processor time that each takes to import its libraries.

A program is forked from a process that has imported them already. Everything else is as if it had been started by a
shell: its own script runs as `__main__`, in a process and a session of its own, with its own environment, streams,
signals and exit code. Where the start itself is what a test looks at, `subprocess` starts it. With TEST_COLD_STARTS=1
that starts all of them, as it does where a process with threads cannot be forked safely.
"""

import atexit
import contextlib
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cath_dagster.development.local import Stack

COLD = "TEST_COLD_STARTS"
PARENT = Path(__file__).with_name("warm_parent.py")
REPOSITORY = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent
COMMAND = (
    "typer",
    "rich.console",
    "sqlalchemy.dialects.postgresql.psycopg",
    "psycopg",
    "alembic.command",
    "pydantic",
    "requests",
)
"""What `cath-dagster` imports; nothing of Dagster's is among it."""
TELEMETRY = (
    *COMMAND,
    "opentelemetry.sdk.metrics",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "psutil",
)
"""What it imports besides where it sends telemetry."""
DAGSTER = (
    *COMMAND,
    "dagster._cli",
    "dagster_postgres",
    "dagster._daemon.cli",
    "dagster_webserver.cli",
    "dagster_graphql",
)
KUBERNETES = (*DAGSTER, "dagster_k8s")

IS_COLD = os.environ.get(COLD) == "1" or sys.platform != "linux"

_parents: dict[Sequence[str], "Parent"] = {}
_making = threading.Lock()


class Parent:
    """The process that has imported some modules, and all that was forked from it."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTHONWARNINGS"))}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(PARENT), str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                env=plain,
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )

    def fork(
        self, arguments: Sequence[str], environ: Mapping[str, str], folder: Path, streams: Sequence[int]
    ) -> "Warm":
        """Start a program; its streams are the caller's descriptors."""
        body = json.dumps({"arguments": list(arguments), "environ": dict(environ), "folder": str(folder)}).encode()
        status, theirs = os.pipe()
        try:
            with self._lock:
                socket.send_fds(self._control, [body], [*streams, theirs])
                pid = self._control.recv(64)
        finally:
            os.close(theirs)
        assert pid, "the process that programs are forked from has ended"
        return Warm(arguments, int(pid), status)

    def close(self) -> None:
        """End it, and all of its children that are still there."""
        self._control.close()
        self._process.wait()


class Warm(subprocess.Popen[bytes]):
    """A process that was forked from another one's: that one tells how it ended."""

    def __init__(self, arguments: Sequence[str], pid: int, status: int) -> None:
        self.args = list(arguments)
        self.pid = pid
        self.returncode: int | None = None
        self.stdin = self.stdout = self.stderr = None
        self._status = status

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._status], [], [], timeout)[0]:
            told = os.read(self._status, struct.calcsize("i"))
            assert told, "the process that this one was forked from has ended"
            os.close(self._status)
            (self.returncode,) = struct.unpack("i", told)
        return self.returncode


def start(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    output: IO[bytes] | None = None,
    errors: IO[bytes] | None = None,
    folder: Path = REPOSITORY,
    modules: Sequence[str] = DAGSTER,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with nothing to read; errors go where the output goes if not told."""
    with Path(os.devnull).open("r+b", buffering=0) as nothing:
        streams = [(stream or nothing).fileno() for stream in (None, output, errors or output)]
        if not IS_COLD:
            return _parent(tuple(modules)).fork(arguments, environ, folder, streams)
        stdin, stdout, stderr = streams
        return subprocess.Popen(
            list(arguments),
            env=dict(environ),
            cwd=folder,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


def run(
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str],
    folder: Path = REPOSITORY,
    modules: Sequence[str] = DAGSTER,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; return what it printed, and how it ended."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start(arguments, environ=environ, output=output, errors=errors, folder=folder, modules=modules)
        try:
            code = process.wait(timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        said = [_read(stream) for stream in (output, errors)]
    return subprocess.CompletedProcess(list(arguments), code, *said)


@dataclass
class WarmStack(Stack):
    """The processes of a stack, started so."""

    modules: Sequence[str] = DAGSTER

    def start(self, name: str, arguments: Sequence[str]) -> None:
        self.log_folder.mkdir(parents=True, exist_ok=True)
        program, *rest = arguments
        with (self.log_folder / f"{name}.log").open("wb") as log:
            self.processes[name] = start(
                [str(PROGRAMS / program), *rest], environ=self.environ, output=log, modules=self.modules
            )


def _parent(modules: tuple[str, ...]) -> Parent:
    with _making:
        if modules not in _parents:
            _parents[modules] = Parent(modules)
            atexit.register(_parents[modules].close)
        return _parents[modules]


def _read(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()
