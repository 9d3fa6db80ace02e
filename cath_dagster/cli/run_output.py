"""What the command line shows of a run: its outcomes as a table, what to know, how it ended."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from cath_dagster.adapters.terminal import err, out
from cath_dagster.core.model.check import Severity
from cath_dagster.core.model.outcome import COUNTS, Outcome, RunResult, Status
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.purge.access_path import describe_access

_STATUS_STYLES = {Status.SUCCESS: "green", Status.FAILED: "red", Status.REFUSED: "yellow", Status.TIMEOUT: "red"}


def print_report_of_run(lines: Sequence[str]) -> None:
    """Print what a job says of its run in its own words."""
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


def print_result(result: RunResult, *, outcomes: bool = True, with_error: bool = True) -> None:
    """Print a run's outcomes as a table, if they are wanted, then how it ended and what to know.

    The error too, unless the log has it.
    """
    if result.outcomes and outcomes:
        out.print(_outcome_table(result))
    for outcome in result.outcomes:
        _print_details(outcome)
    undo_until = {outcome.details.get("undo_until") for outcome in result.outcomes} - {None}
    if undo_until and not result.dry_run:
        out.print(f"undo until {max(map(str, undo_until))}: cath-dagster restore {result.run_id}", markup=False)
    for check in result.checks:
        style, word = (
            ("green", "passed") if check.passed else ("red" if check.severity is Severity.ERROR else "yellow", "failed")
        )
        out.print(f"check {check.check}: [{style}]{word}[/]")
    for note in result.notes:
        out.print(f"note: {note}", markup=False)
    if result.would_refuse:
        out.print(f"[yellow]would be refused:[/yellow] {escape(result.would_refuse)}")
    style = _STATUS_STYLES[result.status]
    tried = f" and {result.attempts} attempts" * (result.attempts > 1)
    out.print(f"[{style}]{result.status.value}[/] in {result.seconds:.2f} s{tried}, run {result.run_id}")
    if result.error and with_error:
        err.print(f"error: {result.error}", style="red", markup=False)


def _print_details(outcome: Outcome) -> None:
    ids = outcome.details.get("sample_ids")
    if ids and isinstance(ids, list):
        out.print(f"{outcome.target}, for example: {', '.join(ids)}", markup=False)
    if outcome.changed and (how := _how(outcome.details)):
        out.print(f"{outcome.target}: {how}", markup=False, style="dim")


def _how(details: Mapping[str, Scalar]) -> str:
    """Return how an outcome's rows were found and at what pace, for one who wonders why it took so long."""
    told = [words for words in (describe_access(details), str(details.get("pace", ""))) if words]
    if "duty" in details:
        told.append(f"at work {details['duty']:.0%} of the time, {details['rested_seconds']} s of rest")
    for name in ("backed_off", "timeouts"):
        if name in details:
            value = details[name]
            told.append(f"{name.replace('_', ' ')}: {'; '.join(value) if isinstance(value, list) else value}")
    if "heap_bytes_before" in details:
        sizes = [f"{details[f'heap_bytes_{when}']:,} bytes" for when in ("before", "after")]
        told.append(
            f"VACUUM: {' to '.join(sizes)}, {details['dead_rows_before']:,} dead rows to {details['dead_rows_after']:,}"
        )
    return ", ".join(told)


def _outcome_table(result: RunResult) -> Table:
    columns = [name for name in COUNTS if name == "matched" or any(o.counts()[name] for o in result.outcomes)]
    title = f"{result.location}/{result.job}{' (dry run)' if result.dry_run else ''}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("target", no_wrap=True)
    for name in (*columns, "seconds"):
        table.add_column(name, justify="right")
    for outcome in result.outcomes:
        counts = outcome.counts()
        table.add_row(outcome.target, *(f"{counts[name]:,}" for name in columns), f"{outcome.seconds:.2f}")
    return table
