"""The pages to look at: overview, job, run, calendar, approvals, audit log, tokens."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated, Any, TypeVar, get_args
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from pydantic import BeforeValidator

from cath_dagster.core.history.tables import scheduled_job_history
from cath_dagster.web import control, reading, views
from cath_dagster.web.api import schemas
from cath_dagster.web.api.approvals import read_approvals
from cath_dagster.web.api.dependencies import TheConsole
from cath_dagster.web.api.jobs import seen_locations
from cath_dagster.web.api.looks import forecast, read_audit
from cath_dagster.web.api.runs import RunId
from cath_dagster.web.api.tokens import managed
from cath_dagster.web.console import Console
from cath_dagster.web.pages.rendering import fields_of, quote_part, render, show_plot
from cath_dagster.web.pages.visiting import TheVisitor
from cath_dagster.web.parameters import parameters_schema
from cath_dagster.web.problems import unusable
from cath_dagster.web.rights import EVERYWHERE, Action, Role

router = APIRouter(include_in_schema=False)
PAGE = 50
DAYS = 7
MANY = 6
"""Ticks of a job a day beyond which the calendar has one line for all."""
H = scheduled_job_history
T = TypeVar("T")


def or_none(value: T) -> T | None:
    """Return what a form chose; its empty choice is none."""
    return value or None


Word = Annotated[schemas.Text | None, Query(max_length=300)]


@router.get("/")
def show_overview(request: Request, console: TheConsole, visitor: TheVisitor) -> Response:
    """Every job of every location that may be looked at, and what needs a person."""
    seen = seen_locations(console, visitor.principal, None)
    with console.engine.begin() as connection:
        jobs = views.list_jobs(console, connection, seen)
        bars = reading.read_bars(connection, [(job["location"], job["name"]) for job in jobs])
        pending, _ = read_approvals(console, connection, seen, status="pending", limit=PAGE)
    for job in jobs:
        job["bars"] = bars[job["location"], job["name"]]
    failing = [job for job in jobs if job["last_status"] in {"failed", "timeout", "refused"}]
    held = [job for job in jobs if job["hold"]]
    return render(
        request, visitor, "overview.html", jobs=jobs, pending=pending, failing=failing, held=held, states=Counter(_states(jobs)),
        may_hold_all=all(visitor.principal.may(Action.HOLD, each) for each in console.locations),
        until=console.clock() + timedelta(hours=4),
    )  # fmt: skip


def _states(jobs: views.Jobs) -> list[str]:
    return ["running" if job["running_run_id"] else job["last_status"] or "never ran" for job in jobs]


@router.get("/jobs/{location}/{name}")
def show_job(
    request: Request,
    console: TheConsole,
    visitor: TheVisitor,
    location: schemas.Text,
    name: schemas.Text,
    status: Annotated[schemas.RunStatus | None, BeforeValidator(or_none), Query()] = None,
    cursor: Word = None,
) -> Response:
    """What a job does and how it stands, its history, and the forms for whoever may."""
    console.require(visitor.principal, Action.VIEW, location)
    spec = console.spec(location, name)
    wanted = reading.Filter(locations=[location], location=location, job=name, status=status)
    with console.reader.connect() as connection:
        job = views.show_job(console, connection, spec)
        rows, following = _page(connection, wanted, cursor)
        newest, _ = reading.read_runs(connection, reading.Filter(locations=[location], job=name), limit=reading.BARS)
    shown = [row for row in reversed(newest) if row.run_id is not None and row.completed_at is not None]
    return render(
        request, visitor, "job.html",
        job=job, runs=rows, following=following, chosen=status, statuses=get_args(schemas.RunStatus),
        fields=fields_of(parameters_schema(spec)), key=control.new_key(),
        durations=show_plot([(row.duration_ms or 0) / 1_000 for row in shown], "How long runs took", "s"),
        changes=show_plot([_changed(row.outcomes) for row in shown], "Rows that runs changed", "rows"),
        until=console.clock() + timedelta(days=1),
    )  # fmt: skip


def _page(connection: sa.Connection, wanted: reading.Filter, cursor: str | None) -> tuple[list[Any], str | None]:
    try:
        return reading.read_runs(connection, wanted, limit=PAGE, cursor=cursor)
    except reading.CursorError:
        raise unusable("this page of the history is not there; begin with the first") from None


def _changed(outcomes: Any) -> int:
    names = ("deleted", "updated", "restored", "notified")
    return sum(int(each.get(name) or 0) for each in outcomes if isinstance(each, Mapping) for name in names)


@router.get("/runs/{run_id}")
def show_run(request: Request, console: TheConsole, visitor: TheVisitor, run_id: RunId) -> Response:
    """A run: what it was told, how it goes, what it did."""
    return render(request, visitor, "run.html", **_run(console, visitor, run_id))


@router.get("/runs/{run_id}/live")
def show_progress(request: Request, console: TheConsole, visitor: TheVisitor, run_id: RunId) -> Response:
    """The part of a run's page that changes while it goes."""
    return render(request, visitor, "progress.html", **_run(console, visitor, run_id))


def _run(console: Console, visitor: TheVisitor, run_id: str) -> dict[str, Any]:
    location, job = control.find_run(console, run_id)
    console.require(visitor.principal, Action.VIEW, location)
    with console.reader.connect() as connection:
        attempts = [views.run_view(row) for row in reading.read_run(connection, run_id)]
    run = attempts[0] if attempts else views.queued_view(run_id, location, job)
    columns = [name for name in _COUNTS if any(outcome.get(name) for outcome in run["outcomes"])] or ["matched"]
    is_going = run["status"] in {"queued", "running"}
    return {
        "run": run, "attempts": attempts, "columns": columns, "is_going": is_going, "key": control.new_key(),
        "address": f"/runs/{quote_part(run_id)}",
        "is_plan": run["dry_run"] and run["status"] == "success" and f"{location}/{job}" in console.specs,
        "needs_approval": _takes_two(console, run),
    }  # fmt: skip


_COUNTS = (
    "matched", "deleted", "archived", "updated", "restored", "notified", "undelivered", "failed", "kept", "skipped", "rows_left",
)  # fmt: skip


def _takes_two(console: Console, run: Mapping[str, Any]) -> bool:
    spec = console.specs.get(f"{run['location']}/{run['job']}")
    return run["status"] == "refused" or (spec is not None and spec.needs_approval)


@router.get("/calendar")
def show_calendar(request: Request, console: TheConsole, visitor: TheVisitor) -> Response:
    """What runs when over the next days, and what should have run on the last ones."""
    now = console.clock()
    seen = seen_locations(console, visitor.principal, None)
    items = forecast(console, seen, now, now + timedelta(days=DAYS))
    missed = sa.or_(H.c.status == "skipped", H.c.missed_ticks > 0)
    query = sa.select(H).where(missed, H.c.location.in_(seen), H.c.started_at > now - timedelta(days=DAYS))
    with console.reader.connect() as connection:
        rows = connection.execute(query.order_by(H.c.started_at.desc()).limit(PAGE)).all()
    intervals = [item for item in items if item["every_seconds"]]
    return render(
        request, visitor, "calendar.html",
        days=_days([item for item in items if not item["every_seconds"]]), intervals=intervals, missed=rows,
        changes=_clock_changes({spec.location.timezone for spec in console.specs.values()}, now),
    )  # fmt: skip


def _days(items: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return ticks by day, those of a job that ticks all day as one, and marked where two of a location meet."""
    per_day = Counter((f"{item['at']:%Y-%m-%d}", item["location"], item["job"]) for item in items)
    together = Counter((item["at"], item["location"]) for item in items)
    days: dict[str, list[dict[str, Any]]] = {}
    seen = set()
    for item in items:
        day = f"{item['at']:%Y-%m-%d}"
        key = (day, item["location"], item["job"])
        count = per_day[key]
        if key in seen and count > MANY:
            continue
        seen.add(key)
        clashes = together[item["at"], item["location"]] > 1
        days.setdefault(day, []).append(item | {"count": count if count > MANY else 1, "clashes": clashes})
    return days


def _clock_changes(zones: set[str], now: datetime) -> list[tuple[str, datetime]]:
    """Return when clocks change within the days that are shown, to the hour."""
    hours = [now + timedelta(hours=hour) for hour in range(DAYS * 24 + 1)]
    return [
        (zone, later)
        for zone in sorted(zones)
        for earlier, later in pairwise(hours)
        if earlier.astimezone(ZoneInfo(zone)).utcoffset() != later.astimezone(ZoneInfo(zone)).utcoffset()
    ]


@router.get("/approvals")
def show_approvals(
    request: Request,
    console: TheConsole,
    visitor: TheVisitor,
    status: Annotated[schemas.ApprovalStatus | None, BeforeValidator(or_none), Query()] = None,
) -> Response:
    """What was requested, and the forms for whoever may decide."""
    seen = seen_locations(console, visitor.principal, None)
    with console.engine.begin() as connection:
        rows, _ = read_approvals(console, connection, seen, status=status, limit=PAGE)
    statuses = get_args(schemas.ApprovalStatus)
    return render(request, visitor, "approvals.html", approvals=rows, chosen=status, statuses=statuses)


@router.get("/audit")
def show_audit(
    request: Request,
    console: TheConsole,
    visitor: TheVisitor,
    actor: Word = None,
    action: Word = None,
    cursor: Annotated[int | None, Query(ge=0, le=2**63 - 1)] = None,
) -> Response:
    """Who did what."""
    rows = read_audit(
        console,
        visitor.principal,
        location=None,
        limit=PAGE + 1,
        before=cursor,
        actor=actor or None,
        action=action or None,
    )
    following = rows[PAGE - 1].sequence if len(rows) > PAGE else None
    return render(
        request, visitor, "audit.html",
        rows=rows[:PAGE], following=following, actor=actor or "", action=action or "", actions=list(Action),
    )  # fmt: skip


@router.get("/tokens")
def show_tokens(request: Request, console: TheConsole, visitor: TheVisitor) -> Response:
    """By what machines come in, for whoever may make and revoke it."""
    principal = visitor.principal
    if not principal.may_somewhere(Action.TOKEN):
        console.require(principal, Action.TOKEN, EVERYWHERE)
    places = [name for name in (EVERYWHERE, *console.locations) if principal.may(Action.TOKEN, name)]
    tokens = managed(console, principal)
    return render(request, visitor, "tokens.html", tokens=tokens, roles=list(Role), places=places, made=None)
