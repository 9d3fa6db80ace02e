"""What the command line shows of jobs: when they run next, and every setting with its variable."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich import box
from rich.table import Table

from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.terminal import out
from cath_dagster.core.model.settings import variable
from cath_dagster.core.run.spec import JobSpec

WIDE = 130
"""Columns of a terminal from which on a job's summary has room beside it."""


def job_rows(specs: Sequence[JobSpec], now: datetime) -> list[dict[str, Any]]:
    """Return what there is to say of each job, with stable keys."""
    return [
        {
            "location": spec.location.name,
            "job": spec.name,
            "cron": spec.cron,
            "every_seconds": int(spec.interval.total_seconds()) if spec.interval else None,
            "schedule": spec.schedule_text,
            "timezone": spec.location.timezone,
            "next_tick": _next_tick(spec, now),
            "owner": spec.owner,
            "summary": spec.summary,
        }
        for spec in specs
    ]


def _next_tick(spec: JobSpec, now: datetime) -> str | None:
    tick = spec.next_tick(now)
    return tick.astimezone(ZoneInfo(spec.location.timezone)).isoformat() if tick else None


def print_jobs(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of jobs; where the terminal is narrow, what they do goes below it."""
    is_wide = out.width >= WIDE
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("job", "schedule", "next tick", "owner"):
        table.add_column(name, no_wrap=True)
    if is_wide:
        table.add_column("what it does")
    for row in rows:
        cells = [f"{row['location']}/{row['job']}", row["schedule"], _shown(row["next_tick"]), row["owner"]]
        table.add_row(*cells, *([row["summary"]] if is_wide else []))
    out.print(table)
    for row in rows if not is_wide else ():
        out.print(f"[bold]{row['job']}[/bold]: {row['summary']}")


def _shown(at: str | None) -> str:
    return datetime.fromisoformat(at).strftime("%a %d %b %H:%M %Z").replace("UTC+", "+") if at else "never"


def setting_rows(specs: Sequence[JobSpec]) -> list[dict[str, Any]]:
    """Return every setting of every job, with stable keys."""
    environ = MountedEnvironment()
    return [
        {
            "job": spec.key,
            "key": key,
            "variable": variable(spec.location.name, spec.name, key),
            "default": str(spec.default_of(key)),
            "set_to": environ.get(variable(spec.location.name, spec.name, key)),
            "description": info.description,
        }
        for spec in specs
        for key, info in spec.settings.model_fields.items()
    ]


def print_settings(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print each setting by its variable, with what it is set to."""
    for row in rows:
        default = f"default {row['default']}" + (f", set to {row['set_to']}" if row["set_to"] else "")
        out.print(f"[bold]{row['variable']}[/bold]  {default}")
        out.print(f"    {row['description']}", markup=False)
