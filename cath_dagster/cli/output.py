"""What the command line shows: tables for people, one JSON object for machines."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from cath_dagster.adapters.logs import is_json, json_line
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.terminal import err, out
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.inspection.index_builds import IndexBuild
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.outcome import COUNTS, Outcome, RunResult, Scalar, Status
from cath_dagster.core.purge.access_path import describe_access
from cath_dagster.core.roles.grants import RoleChange
from cath_dagster.core.run.spec import NO_SCHEDULE

WIDE = 130
"""Columns of a terminal from which on a job's summary has room beside it."""

_STATUS_STYLES = {Status.SUCCESS: "green", Status.FAILED: "red", Status.REFUSED: "yellow"}
_LEVEL_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


def print_json(value: object) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(value, indent=2, default=str))  # noqa: T201 - no console may wrap or colour what a machine reads


def print_error(message: str) -> None:
    """Print one line on standard error, in the form that log lines have."""
    if _is_json():
        print(json_line("error", message, datetime.now(UTC)), file=sys.stderr)  # noqa: T201 - no console may wrap it
    else:
        err.print(f"error: {message}", style="red", markup=False)


def _is_json() -> bool:
    try:
        return is_json(MountedEnvironment())
    except ConfigurationError:
        # It may be this very error that is to be printed.
        return False


def print_jobs(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of jobs; where the terminal is narrow, what they do goes below it."""
    is_wide = out.width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("job", "cron", "next tick", "owner"):
        table.add_column(name, no_wrap=True)
    if is_wide:
        table.add_column("what it does")
    for row in rows:
        cells = [
            f"{row['location']}/{row['job']}",
            row["cron"] or NO_SCHEDULE,
            _next_tick(row["next_tick"]),
            row["owner"],
        ]
        table.add_row(*cells, *([row["summary"]] if is_wide else []))
    out.print(table)
    for row in rows if not is_wide else ():
        out.print(f"[bold]{row['job']}[/bold]: {row['summary']}")


def _next_tick(at: str | None) -> str:
    return datetime.fromisoformat(at).strftime("%a %d %b %H:%M %Z").replace("UTC+", "+") if at else "never"


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
    for note in result.notes:
        out.print(f"note: {note}", markup=False)
    if result.would_refuse:
        out.print(f"[yellow]would be refused:[/yellow] {escape(result.would_refuse)}")
    style = _STATUS_STYLES[result.status]
    out.print(f"[{style}]{result.status.value}[/] in {result.seconds:.2f} s, run {result.run_id}")
    if result.error and with_error:
        err.print(f"error: {result.error}", style="red", markup=False)


def _print_details(outcome: Outcome) -> None:
    ids = outcome.details.get("sample_ids")
    if isinstance(ids, list):
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


def print_roles(changes: Sequence[RoleChange]) -> None:
    """Print what was done about each role, and what it may do besides."""
    for change in changes:
        for statement in change.statements:
            out.print(f"  {statement}", markup=False, highlight=False, soft_wrap=True)
        changed = f"{len(change.statements)} statements" if change.statements else "nothing to change"
        out.print(f"{change.role} holds what it needs: {changed}", markup=False)
        for excess in change.excess:
            out.print(
                f"  it may besides, as an owner or through PUBLIC or another role: {excess}",
                markup=False,
                style="yellow",
            )


def print_builds(location: str, builds: Sequence[IndexBuild], *, dry_run: bool) -> None:
    """Print what was done about each missing index; of a dry run the statements only, for a script to take."""
    if dry_run:
        for statement in (statement for build in builds for statement in build.statements):
            out.print(statement, markup=False, highlight=False, soft_wrap=True)
    elif builds:
        out.print(_build_table(location, builds))
        out.print("To Prisma these indexes are drift: in the long run move them into the service's own migrations.")
    else:
        out.print(f"{location}: no index is missing")
    for error in (build.error for build in builds if build.error):
        err.print(f"error: {error}", style="red", markup=False, soft_wrap=True)


def _build_table(location: str, builds: Sequence[IndexBuild]) -> Table:
    table = Table(title=location, title_justify="left")
    for name in ("index", "table", "rows", "done", "seconds"):
        table.add_column(name, justify="right" if name in ("rows", "seconds") else "left", overflow="fold")
    for build in builds:
        done = "failed" if build.error else build.action
        table.add_row(build.index, build.table, f"{build.rows:,}", done, f"{build.seconds:.1f}")
    return table
