"""What the command line shows: tables for people, one JSON object for machines, progress on standard error."""

import json
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cath_dagster.core.diagnosis import Finding, Level
from cath_dagster.core.outcome import COUNTS, RunResult, Status

SECONDS_BETWEEN_LINES = 2.0

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_STATUS_STYLES = {Status.SUCCESS: "green", Status.FAILED: "red", Status.REFUSED: "yellow"}
_LEVEL_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


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

    def info(self, message: str) -> None:
        if self._verbose:
            self._bars.console.print(message, markup=False)

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


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))  # noqa: T201 - no console may wrap or colour what a machine reads


def print_result(result: RunResult) -> None:
    """Print a run's outcomes as a table, then how it ended and what to know."""
    if result.outcomes:
        out.print(_outcome_table(result))
    for outcome in result.outcomes:
        ids = outcome.details.get("sample_ids")
        if isinstance(ids, list):
            out.print(f"{outcome.target}, for example: {', '.join(ids)}", markup=False)
    for note in result.notes:
        out.print(f"note: {note}", markup=False)
    if result.would_refuse:
        out.print(f"[yellow]would be refused:[/yellow] {result.would_refuse}")
    style = _STATUS_STYLES[result.status]
    out.print(f"[{style}]{result.status.value}[/] in {result.seconds:.2f} s, run {result.run_id}")
    if result.error:
        err.print(f"error: {result.error}", style="red", markup=False)


def _outcome_table(result: RunResult) -> Table:
    columns = [name for name in COUNTS if name == "matched" or any(o.counts()[name] for o in result.outcomes)]
    table = Table(title=f"{result.location}/{result.job}{' (dry run)' if result.dry_run else ''}", title_justify="left")
    table.add_column("target", no_wrap=True)
    for name in (*columns, "seconds"):
        table.add_column(name, justify="right")
    for outcome in result.outcomes:
        counts = outcome.counts()
        table.add_row(outcome.target, *(f"{counts[name]:,}" for name in columns), f"{outcome.seconds:.2f}")
    return table


def print_findings(findings: Sequence[Finding], *, everything: bool) -> None:
    """Print what the doctor found; what is in order only as a number unless `everything`."""
    shown = [finding for finding in findings if everything or finding.level is not Level.OK or finding.remedy]
    for finding in shown:
        out.print(
            f"[{_LEVEL_STYLES[finding.level]}]{finding.level.value:>7}[/]  [bold]{finding.subject}[/bold]", end="  "
        )
        out.print(finding.says, markup=False)
        if finding.remedy:
            out.print(f"         {finding.remedy}", markup=False, style="cyan", soft_wrap=True)
    in_order = sum(finding.level is Level.OK for finding in findings)
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    warnings = len(findings) - in_order - problems
    out.print(f"{in_order} in order, {warnings} warnings, {problems} problems")
