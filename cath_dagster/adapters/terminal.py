"""The terminal: results on standard output, progress and errors on standard error."""

import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.run.summary import summary
from cath_dagster.core.untrusted_text import printable

SECONDS_BETWEEN_LINES = 2.0


class Terminal(Console):
    """A console that shows whatever characters a text has, and lets none of them control the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


out = Terminal(highlight=False)
err = Terminal(stderr=True, highlight=False)


class TerminalReporter:
    """Shows a run's progress: bars on a terminal, a line now and then elsewhere; `verbose` shows all it says."""

    def __init__(self, *, verbose: bool, quiet: bool = False) -> None:
        self._verbose = verbose and not quiet
        self._quiet = quiet
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=err,
            transient=True,
            disable=quiet or not err.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._told_at = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def info(self, message: str, **values: Scalar) -> None:
        del values
        if self._verbose:
            self._bars.console.print(message, markup=False)

    def warning(self, message: str) -> None:
        self.info(message)

    def ended(self, result: RunResult) -> None:
        self.info(summary(result))

    def progress(self, target: str, done: int, total: int) -> None:
        if self._quiet:
            return
        if err.is_terminal:
            task = self._tasks.setdefault(
                target, self._bars.add_task(target) if target not in self._tasks else TaskID(0)
            )
            self._bars.update(task, completed=done, total=total)
        elif time.monotonic() - self._told_at >= SECONDS_BETWEEN_LINES:
            self._told_at = time.monotonic()
            err.print(f"{target}: {done:,} of {total:,}", markup=False)
