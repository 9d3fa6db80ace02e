"""Jobs and runs as the API and the pages show them: the registry's words beside what the database knows."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from cath_dagster.core.run.spec import JobSpec
from cath_dagster.web import reading
from cath_dagster.web.console import Console
from cath_dagster.web.parameters import parameters_schema

STATE = (
    "last_run_at", "last_run_id", "last_status", "last_error", "last_duration_ms", "total_runs", "total_failures",
    "average_duration_ms", "next_run_at",
)  # fmt: skip
RUN = (
    "location", "job", "run_id", "attempt", "trigger", "actor", "dry_run", "started_at", "completed_at", "status",
    "duration_ms", "error", "parameters", "outcomes", "missed_ticks", "skipped_ticks",
)  # fmt: skip
_NOTHING: Mapping[str, Any] = dict.fromkeys(STATE) | {"total_runs": 0, "total_failures": 0}
Jobs = list[dict[str, Any]]


def list_jobs(console: Console, connection: sa.Connection, locations: Sequence[str], *, job: str | None = None) -> Jobs:
    """Return every job of these locations, in the registry's order; those that the code has no more come last."""
    now = console.clock()
    rows = {(row.location, row.name): row for row in reading.read_jobs(connection, locations, job)}
    holds = reading.read_holds(connection, locations, now=now)
    going = reading.read_all_going(connection, locations)
    ours = [each for each in console.specs.values() if each.location.name in locations and job in {None, each.name}]
    keys = [(each.location.name, each.name) for each in ours]
    found = [
        _job_view(each, rows.pop(key, None), now, is_scheduling=console.settings.is_scheduling)
        for each, key in zip(ours, keys, strict=True)
    ]
    gone = [_gone_view(row) for row in rows.values()]
    return [_with_state(view, going, holds) for view in [*found, *gone]]


def show_job(console: Console, connection: sa.Connection, spec: JobSpec) -> dict[str, Any]:
    """Return a job with its parameters' schema and its last runs."""
    view, *_ = list_jobs(console, connection, [spec.location.name], job=spec.name)
    recent = reading.read_recent(connection, spec.location.name, spec.name)
    return view | {
        "parameters_schema": parameters_schema(spec),
        "timeout_seconds": spec.timeout.total_seconds(),
        "partitioned": spec.partitions is not None,
        "after": list(spec.after),
        "recent_runs": [plain(each, ("run_id", "status", "started_at", "duration_ms", "dry_run")) for each in recent],
    }


def _job_view(spec: JobSpec, row: Any, now: datetime, *, is_scheduling: bool) -> dict[str, Any]:
    """Return a job; what nobody has written down yet follows from its specification."""
    is_manual = spec.schedule is None
    said = (spec.enabled and spec.consent is None) if row is None or row.enabled is None else row.enabled
    state = dict(_NOTHING) if row is None else plain(row, STATE)
    enabled = None if is_manual else said
    if not enabled or not is_scheduling:
        state["next_run_at"] = None
    elif state["next_run_at"] is None or state["next_run_at"] <= now:
        # The daemon writes it down; until it has, the calendar knows.
        state["next_run_at"] = spec.next_tick(now)
    return {
        "location": spec.location.name,
        "name": spec.name,
        "summary": spec.summary,
        "description": spec.description,
        "owner": spec.owner,
        "schedule": None if spec.schedule is None else str(spec.schedule),
        "timezone": spec.location.timezone,
        "enabled": enabled,
        "registered": True,
        "needs_approval": spec.needs_approval,
        **state,
    }


def _gone_view(row: Any) -> dict[str, Any]:
    told = plain(row, ("location", "name", "description", "owner", "schedule", "timezone"))
    state = plain(row, STATE) | {"next_run_at": None}
    marks = {"enabled": None, "registered": False, "needs_approval": False}
    return {**told, "summary": told["description"], **marks, **state}


def _with_state(
    view: dict[str, Any], going: Mapping[tuple[str, str], str], holds: Mapping[tuple[str, str], Any]
) -> dict[str, Any]:
    key = (view["location"], view["name"])
    held = holds.get(key)
    hold = None if held is None else plain(held, ("reason", "held_by", "held_at", "until"))
    return {**view, "running_run_id": going.get(key), "hold": hold}


def run_view(row: Any) -> dict[str, Any]:
    """Return an attempt of a run, or ticks that were skipped."""
    return plain(row, RUN)


def queued_view(run_id: str, location: str, job: str) -> dict[str, Any]:
    """Return a run that has not begun: all that is known is that it waits."""
    nothing: dict[str, Any] = dict.fromkeys(RUN)
    known = {"run_id": run_id, "location": location, "job": job, "status": "queued", "attempt": 1, "dry_run": False}
    return nothing | known | {"parameters": {}, "outcomes": [], "missed_ticks": 0, "skipped_ticks": 0}


def plain(row: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return two columns of a row or more by their names."""
    return dict(zip(names, _columns(names)(row), strict=True))


@cache
def _columns(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    return attrgetter(*names)
