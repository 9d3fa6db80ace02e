"""The process that programs are forked from: imports what it was told to, then forks a child for every request.

It is started by `tests.support.warm`, as a program of its own, and imports nothing of ours: what a module of ours reads from
the environment when it is imported, it shall read in the child.
"""

import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import signal
import socket
import struct
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import arbitrary_address  # type: ignore[attr-defined]
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

LIMIT = 1 << 20
"""More than arguments and environment of a program ever take."""
STREAMS = 3
"""Standard input, output and error."""


@dataclass(frozen=True)
class Program:
    """What a child was asked to become."""

    arguments: Sequence[str]
    environ: dict[str, str]
    folder: str
    streams: Sequence[int]

    def prepare(self) -> None:
        """Make this process look as if the program had been started here."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(self.folder)
        os.environ.clear()
        os.environ.update(self.environ)
        time.tzset()
        if os.environ.get("PYTHONWARNINGS") == "error":
            warnings.simplefilter("error")
        if os.environ.get("PYTHONUNBUFFERED"):
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]

    def run(self) -> None:
        """Run the script or module as Python does; its end is that of this process."""
        program, *rest = self.arguments
        if program == sys.executable:
            option, module, *rest = rest
            assert option == "-m", f"{option} is no way to name a program here"
            sys.path.insert(0, self.folder)
            sys.argv = [module, *rest]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(program).parent))
            sys.argv = [program, *rest]
            runpy.run_path(program, run_name="__main__")


def spawn_warm(modules: Sequence[str], *, soon: bool) -> None:
    """Let processes that a program spawns be forked from one that has the libraries, too.

    They begin as afresh: from the script that runs here, and what they are handed is pickled all the same. A program that
    will spawn some `soon` has that one from the start, while it may still be forked: it has no threads yet.
    """
    get_context = multiprocessing.get_context

    def warm(method: str | None = None) -> BaseContext:
        return get_context("forkserver" if method == "spawn" else method)

    multiprocessing.set_forkserver_preload(list(modules))
    multiprocessing.get_context = warm  # type: ignore[assignment]
    if soon and sys.version_info < (3, 14):
        fork_server()


def fork_server() -> None:
    """Fork here what `multiprocessing` would start as a new interpreter, to import all the libraries once more."""
    with socket.socket(socket.AF_UNIX) as listener:
        address = arbitrary_address("AF_UNIX")
        listener.bind(address)
        listener.listen()
        # It ends once nobody holds the other end any more.
        alive, ours = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(ours)
            forkserver.main(listener.fileno(), alive, [])
            os._exit(0)
    os.close(alive)
    known: Any = forkserver._forkserver
    known._forkserver_address, known._forkserver_alive_fd, known._forkserver_pid = address, ours, pid


class Parent:
    """Forks children, and tells whoever asked for one how it ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._children: dict[int, int] = {}
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._waker, False)

    def serve(self) -> Program | None:
        """Return in every child what it is to become, and nothing in the parent once nobody asks any more."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker)
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, LIMIT)
                self._reap()
            if self._control.fileno() in ready:
                body, descriptors, _, _ = socket.recv_fds(self._control, LIMIT, STREAMS + 1)
                if not body:
                    self._end()
                    return None
                program = self._fork(body, descriptors)
                if program is not None:
                    return program

    def _fork(self, body: bytes, descriptors: list[int]) -> Program | None:
        *streams, status = descriptors
        pid = os.fork()
        if pid:
            self._children[pid] = status
            for stream in streams:
                os.close(stream)
            return None
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (self._woken, self._waker, status, *self._children.values()):
            os.close(descriptor)
        # Not before it leads a group: whoever asked may signal that as soon as it knows the number.
        self._control.send(str(os.getpid()).encode())
        self._control.close()
        told = json.loads(body)
        return Program(told["arguments"], told["environ"], told["folder"], streams)

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            told = self._children.pop(pid)
            os.write(told, struct.pack("i", os.waitstatus_to_exitcode(status)))
            os.close(told)

    def _end(self) -> None:
        for pid in self._children:
            os.killpg(pid, signal.SIGKILL)


def main() -> None:
    _, number, *modules = sys.argv
    del sys.path[0]
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    # What is there now stays: no child shall copy its pages in order to look through it.
    gc.freeze()
    program = Parent(socket.socket(fileno=int(number))).serve()
    if program is not None:
        program.prepare()
        spawn_warm(modules, soon="grpc" in program.arguments)
        program.run()


if __name__ == "__main__":
    main()
