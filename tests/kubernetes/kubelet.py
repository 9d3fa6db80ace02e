"""Runs a pod's container as a process on this machine: asked to end by SIGTERM, killed when its grace is over."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from tests.support.warm import KUBERNETES, PROGRAMS, start


class MissingConfigurationError(Exception):
    """A Secret or ConfigMap that a container needs is not there."""


@dataclass
class Container:
    """One process group; what it says goes into the file `log` of its folder, which is also its /tmp."""

    process: subprocess.Popen[bytes]
    killed_at: float | None = None

    @classmethod
    def start(cls, arguments: Sequence[str], environ: Mapping[str, str], folder: Path) -> Self:
        folder.mkdir(parents=True)
        with (folder / "log").open("wb") as log:
            own = {**environ, "TMPDIR": str(folder), "MPLCONFIGDIR": str(folder.parent / "matplotlib")}
            process = _start(arguments, own, log)
        return cls(process)

    @property
    def asked(self) -> bool:
        """Whether the pod is being removed."""
        return self.killed_at is not None

    def ask(self, grace_seconds: float) -> None:
        """Ask the process to end, and kill it after the grace period."""
        if self.killed_at is None or grace_seconds == 0:
            self.killed_at = time.monotonic() + grace_seconds
            self._signal(signal.SIGTERM if grace_seconds else signal.SIGKILL)

    def keep_time(self) -> None:
        """Kill the process once its grace period is over."""
        if self.killed_at is not None and time.monotonic() > self.killed_at:
            self.kill()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def exit_code(self) -> int | None:
        """Return the exit code as a container runtime tells it, None while the process runs."""
        code = self.process.poll()
        return 128 - code if code is not None and code < 0 else code

    def _signal(self, number: int) -> None:
        # A reaped process' number may belong to somebody else by now.
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def _start(arguments: Sequence[str], environ: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a container's program; one of ours without the seconds that its imports take."""
    program = shutil.which(arguments[0], path=environ["PATH"])
    if program is not None and Path(program).parent == PROGRAMS:
        return start([program, *arguments[1:]], environ=environ, output=log, folder=Path("/"), modules=KUBERNETES)
    return subprocess.Popen(
        list(arguments),
        env=dict(environ),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
