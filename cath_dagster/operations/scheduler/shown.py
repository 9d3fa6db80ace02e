"""What people see of jobs and runs: within 80 columns, and more where the terminal is wide."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from rich import box
from rich.table import Table

from cath_dagster.adapters.terminal import out
from cath_dagster.operations.scheduler.reading import Record

WIDE = 120
UNREGISTERED = "what has a ? or is missing is not registered yet: the sensor scheduler_monitor does it; cath-dagster health says if it ticks"
STYLES = {
    "success": "green", "failed": "red", "timeout": "red", "refused": "yellow", "canceled": "yellow", "running": "cyan",
    "skipped": "dim",
}  # fmt: skip
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


OF_A_JOB, OF_A_RUN = 46, 52
"""Columns of the terminal that all but the name of the job may take."""


def _table(*names: str, beside: int) -> Table:
    """Return a table in which the job's name is cut where there is no room for it, and nothing else."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for name in names:
        widest = max(len(name), out.width - beside) if name == "job" else None
        table.add_column(name, no_wrap=True, overflow="ellipsis", max_width=widest)
    return table


def print_jobs(jobs: Sequence[Record], now: datetime, *, is_stopped: bool) -> None:
    """Print a table of jobs by location, then what the last run of each said that did not end well."""
    if is_stopped:
        out.print("[yellow]scheduling is stopped[/yellow]: SCHEDULER_ENABLED is false, and no tick asks for a run")
    is_wide = out.width >= WIDE
    more = ("took", "usually", "schedule", "owner") if is_wide else ()
    table = _table("job", "state", "last run", "next", "runs", *more, beside=OF_A_JOB)
    location = None
    for job in jobs:
        if job["location"] != location:
            location = job["location"]
            table.add_row(f"[bold]{location}[/bold]")
        table.add_row(*_job_cells(job, now), *(_wide_cells(job) if is_wide else []))
    out.print(table)
    if not all(job["description"] for job in jobs) or not jobs:
        out.print(UNREGISTERED, markup=False)
    for job in jobs:
        key = f"{job['location']}/{job['name']}"
        if job["held_by"]:
            held = f"held by {job['held_by']} until {job['held_until']:%Y-%m-%d %H:%M %Z}: {job['hold_reason']}"
            out.print(f"{key}: {held}", markup=False, soft_wrap=True)
        if job["last_error"] and job["registered"]:
            out.print(f"{key}: {job['last_error']}", markup=False, soft_wrap=True)


def _job_cells(job: Record, now: datetime) -> list[str]:
    last, status = job["last_run_at"], job["last_status"]
    told = f"[{STYLES.get(status, 'none')}]{status}[/] {span(now - last)}" if last is not None else "never"
    following = job["next_run_at"]
    failures = f", {job['total_failures']} ✗" if job["total_failures"] else ""
    runs = f"{job['total_runs']}{failures}"
    return [f"  {job['name']}", _state(job), told, span(following - now) if following else "–", runs]


def _wide_cells(job: Record) -> list[str]:
    took, usually = job["last_duration_ms"], job["average_duration_ms"]
    return [milliseconds(took), milliseconds(usually), job["schedule"] or "no schedule", job["owner"]]


def _state(job: Record) -> str:
    if not job["registered"]:
        return "[yellow]gone[/yellow]"
    if job["running_run_id"]:
        return "[cyan]running[/cyan]"
    if job["held_by"]:
        return "[yellow]held[/yellow]"
    if not job["description"]:
        return "[yellow]?[/yellow]"
    return {None: "manual", True: "on", False: "[yellow]off[/yellow]"}[job["enabled"]]


def print_history(runs: Sequence[Record], now: datetime) -> None:
    """Print a table of runs, the newest first, and what those said that did not end well."""
    is_wide = out.width >= WIDE
    table = _table(
        "started (UTC)", "job", "status", "took", "by", *(("actor", "run") if is_wide else ()), beside=OF_A_RUN
    )
    for run in runs:
        took = milliseconds(run["duration_ms"]) if run["status"] != "running" else span(now - run["started_at"])
        cells = [f"{run['started_at']:%m-%d %H:%M:%S}", f"{run['location']}/{run['job']}", _status(run)]
        more = [run["actor"] or "", run["run_id"] or ""] if is_wide else []
        table.add_row(*cells, took if run["run_id"] else "–", run["trigger"], *more)
    out.print(table)
    for run in runs:
        for line in _said(run):
            out.print(
                f"{run['started_at']:%m-%d %H:%M:%S} {run['location']}/{run['job']}: {line}",
                markup=False,
                soft_wrap=True,
            )


def _status(run: Record) -> str:
    dry = " dry" if run["dry_run"] else ""
    again = f" #{run['attempt']}" if run["attempt"] > 1 else ""
    times = f" ×{run['skipped_ticks']}" if run["skipped_ticks"] > 1 else ""
    return f"[{STYLES[run['status']]}]{run['status']}[/]{dry}{again}{times}"


def _said(run: Record) -> list[str]:
    missed = run["missed_ticks"]
    before = f"{missed} tick{'s' if missed > 1 else ''} before it never came: the daemon was away"
    said = [run["error"]] if run["error"] else []
    return [*said, before] if missed else said


def span(length: timedelta) -> str:
    """Return a length of time in its largest unit, `now` for one that has passed or not begun."""
    seconds = int(length.total_seconds())
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), (1, ""))
    return f"{seconds // size} {unit}" if unit else "now"


def milliseconds(value: Any) -> str:
    """Return a duration as people read it."""
    if value is None:
        return "–"
    length = timedelta(milliseconds=value)
    return span(length) if length >= timedelta(minutes=1) else f"{length.total_seconds():.1f} s"
