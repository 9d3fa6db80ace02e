"""Runs: the history, one run, and how it is cancelled."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime

from cath_dagster.web import control, reading, views
from cath_dagster.web.api import schemas
from cath_dagster.web.api.answers import answer
from cath_dagster.web.api.dependencies import Limit, TheConsole, ThePrincipal
from cath_dagster.web.api.jobs import seen_locations
from cath_dagster.web.problems import conflict, unusable
from cath_dagster.web.rights import Action

router = APIRouter(prefix="/runs", tags=["runs"])
RunId = Annotated[schemas.Text, Path(max_length=100)]
Name = Annotated[schemas.Text | None, Query(max_length=100)]


@router.get("", response_model=schemas.RunList)
def list_runs(
    console: TheConsole,
    principal: ThePrincipal,
    limit: Limit,
    job: Name = None,
    location: Name = None,
    status: Annotated[schemas.RunStatus | None, Query()] = None,
    trigger: Annotated[schemas.Trigger | None, Query()] = None,
    actor: Annotated[schemas.Text | None, Query(max_length=300)] = None,
    after: Annotated[AwareDatetime | None, Query(description="Started at this instant or later.")] = None,
    before: Annotated[AwareDatetime | None, Query(description="Started before this instant.")] = None,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """List runs, the newest first, also those of ticks that were skipped and of dry runs."""
    wanted = reading.Filter(
        locations=seen_locations(console, principal, location),
        location=location,
        job=job,
        status=status,
        trigger=trigger,
        actor=actor,
        after=after,
        before=before,
    )
    try:
        with console.reader.connect() as connection:
            rows, following = reading.read_runs(connection, wanted, limit=limit, cursor=cursor)
    except reading.CursorError:
        raise unusable("the cursor is none of ours; begin without one") from None
    return answer({"items": [views.run_view(row) for row in rows], "next_cursor": following})


@router.get("/{run_id}", response_model=schemas.RunDetail)
def show_run(console: TheConsole, principal: ThePrincipal, run_id: RunId) -> Response:
    """Show a run with all its attempts; one that waits in the queue is `queued`."""
    location, job = control.find_run(console, run_id)
    console.require(principal, Action.VIEW, location)
    with console.reader.connect() as connection:
        rows = reading.read_run(connection, run_id)
    attempts = [views.run_view(row) for row in rows]
    shown = attempts[0] if attempts else views.queued_view(run_id, location, job)
    url = f"{console.settings.ui_url.rstrip('/')}/runs/{run_id}" if console.settings.ui_url else None
    return answer(shown | {"attempts": attempts, "url": url})


@router.delete("/{run_id}", status_code=202, response_model=schemas.Launched)
def cancel_run(
    console: TheConsole,
    principal: ThePrincipal,
    run_id: RunId,
    reason: Annotated[schemas.Text | None, Query(max_length=500)] = None,
) -> Response:
    """Ask a run to end: its statement is cancelled, the transaction rolled back. What is committed stays."""
    location, job = control.find_run(console, run_id)
    console.require(principal, Action.CANCEL, location)
    with console.reader.connect() as connection:
        rows = reading.read_run(connection, run_id)
    if rows and rows[0].status != "running":
        raise conflict(f"run {run_id} has ended: {rows[0].status}")
    control.cancel(console, principal, location, job, run_id, reason)
    return answer({"run_id": run_id, "url": f"/api/v1/runs/{run_id}"}, status=202)
