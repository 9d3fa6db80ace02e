"""What is looked at over all jobs: who did what, what runs when, what operators were told."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations.tables import alert
from cath_dagster.web import views
from cath_dagster.web.api import schemas
from cath_dagster.web.api.answers import answer
from cath_dagster.web.api.dependencies import Limit, TheConsole, ThePrincipal
from cath_dagster.web.api.jobs import seen_locations
from cath_dagster.web.console import Console
from cath_dagster.web.problems import unusable
from cath_dagster.web.rights import EVERYWHERE, Action, Principal
from cath_dagster.web.tables import audit_log

router = APIRouter()
FARTHEST = timedelta(days=31)
TICKS = 5_000
"""Of one job: beyond that nobody reads on."""
MAX_ID = 2**63 - 1
Number = Annotated[int | None, Query(ge=0, le=MAX_ID)]
AUDIT = tuple(schemas.AuditEntry.model_fields)
ALERT = tuple(schemas.Alert.model_fields)


@router.get("/audit", response_model=schemas.AuditList, tags=["audit"])
def list_audit(
    console: TheConsole,
    principal: ThePrincipal,
    limit: Limit,
    location: Annotated[schemas.Text | None, Query(max_length=100)] = None,
    actor: Annotated[schemas.Text | None, Query(max_length=300)] = None,
    action: Annotated[schemas.Text | None, Query(max_length=100)] = None,
    cursor: Number = None,
) -> Response:
    """List who did what, the newest first; of tokens and sign-ins only for who may look at every location."""
    rows = read_audit(console, principal, location=location, limit=limit + 1, before=cursor, actor=actor, action=action)
    page = [views.plain(row, AUDIT) for row in rows[:limit]]
    return answer({"items": page, "next_cursor": str(page[-1]["sequence"]) if len(rows) > limit else None})


def read_audit(
    console: Console,
    principal: Principal,
    *,
    location: str | None,
    limit: int,
    before: int | None = None,
    **equal: str | None,
) -> list[Any]:
    """Return rows of the audit log that this person may see."""
    seen = seen_locations(console, principal, location)
    may_see: sa.ColumnElement[bool] = audit_log.c.location.in_(seen)
    if location is None and principal.may(Action.VIEW, EVERYWHERE):
        may_see = sa.or_(may_see, audit_log.c.location.is_(None))
    query = sa.select(audit_log).where(may_see).order_by(audit_log.c.sequence.desc()).limit(limit)
    query = query.where(*(audit_log.c[name] == value for name, value in equal.items() if value is not None))
    if before is not None:
        query = query.where(audit_log.c.sequence < before)
    with console.reader.connect() as connection:
        return list(connection.execute(query).all())


@router.get("/forecast", response_model=schemas.Forecast, tags=["jobs"])
def show_forecast(
    console: TheConsole,
    principal: ThePrincipal,
    limit: Limit,
    until: Annotated[AwareDatetime | None, Query(description="At most 31 days ahead; a day if it is left out.")] = None,
    location: Annotated[schemas.Text | None, Query(max_length=100)] = None,
    cursor: Annotated[schemas.Text | None, Query(max_length=300)] = None,
) -> Response:
    """Tell what runs when: the ticks of every enabled job, over clock changes too; an interval only once."""
    now = console.clock()
    end = until or now + timedelta(days=1)
    if not now <= end <= now + FARTHEST:
        raise unusable(f"until is {end.isoformat()}; it may lie up to {FARTHEST.days} days ahead")
    items = forecast(console, seen_locations(console, principal, location), now, end)
    if cursor is not None:
        items = [item for item in items if _place(item) > cursor]
    return answer({"items": items[:limit], "next_cursor": _place(items[limit - 1]) if len(items) > limit else None})


def _place(item: Mapping[str, Any]) -> str:
    """Return what orders ticks, and says where a page ended."""
    return f"{item['at'].isoformat()} {item['location']}/{item['job']}"


def forecast(console: Console, locations: list[str], now: datetime, end: datetime) -> list[dict[str, Any]]:
    """Return the ticks of all enabled jobs up to an instant, in order; of a job at an interval the next alone."""
    with console.reader.connect() as connection:
        jobs = views.list_jobs(console, connection, locations)
    enabled = {f"{job['location']}/{job['name']}" for job in jobs if job["enabled"]}
    items = [
        {
            "location": spec.location.name,
            "job": spec.name,
            "at": tick,
            "timezone": spec.location.timezone,
            "every_seconds": spec.interval.total_seconds() if spec.interval else None,
        }
        for key, spec in console.specs.items()
        if key in enabled
        for tick in _ticks(spec, now, end)
    ]
    return sorted(items, key=_place)


def _ticks(spec: JobSpec, now: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    for tick in spec.ticks(now):
        if tick > end or len(found) == TICKS:
            break
        found.append(tick)
        if spec.interval is not None:
            break
    return found


@router.get("/alerts", response_model=schemas.AlertList, tags=["alerts"])
def list_alerts(console: TheConsole, principal: ThePrincipal, limit: Limit, cursor: Number = None) -> Response:
    """List what was found amiss in any location, the newest first, and when every channel had it."""
    console.require(principal, Action.VIEW, EVERYWHERE)
    query = sa.select(*(alert.c[name] for name in ALERT)).order_by(alert.c.alert_id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(alert.c.alert_id < cursor)
    with console.reader.connect() as connection:
        rows = connection.execute(query).all()
    page = [row._asdict() for row in rows[:limit]]
    return answer({"items": page, "next_cursor": str(page[-1]["alert_id"]) if len(rows) > limit else None})
