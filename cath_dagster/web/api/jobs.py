"""Jobs: what there is and how it stands, and what may be done with each."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Response

from cath_dagster.web import control, holds, views
from cath_dagster.web.api import schemas
from cath_dagster.web.api.answers import answer
from cath_dagster.web.api.dependencies import Limit, TheConsole, ThePrincipal
from cath_dagster.web.console import Console
from cath_dagster.web.orders import order_of, plan_of
from cath_dagster.web.problems import conflict, not_found, unusable
from cath_dagster.web.rights import Action, Principal

router = APIRouter(prefix="/jobs", tags=["jobs"])
Location = Annotated[schemas.Text, Path(max_length=100, description="A code location.")]
JobName = Annotated[schemas.Text, Path(max_length=100, description="The job's name in its location.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="The same key again is answered with the same run.",
    ),
]
Sort = Literal["name", "last_run_at", "next_run_at", "last_status", "-last_run_at", "-next_run_at"]


@router.get("", response_model=schemas.JobList)
def list_jobs(
    console: TheConsole,
    principal: ThePrincipal,
    limit: Limit,
    location: Annotated[schemas.Text | None, Query(max_length=100)] = None,
    status: Annotated[schemas.RunStatus | None, Query(description="Of its last run, or running, or queued.")] = None,
    enabled: Annotated[bool | None, Query()] = None,
    owner: Annotated[str | None, Query(max_length=200)] = None,
    sort: Annotated[Sort, Query(description="- in front: the latest first.")] = "name",
    cursor: Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")] = None,
) -> Response:
    """List the jobs of every location that may be looked at, with their state."""
    seen = seen_locations(console, principal, location)
    with console.reader.connect() as connection:
        jobs = views.list_jobs(console, connection, seen)
    kept = [job for job in jobs if _is_wanted(job, status, enabled, owner)]
    page, following = _page(_sorted(kept, sort), limit, cursor)
    scheduling = "running" if console.settings.is_scheduling else "stopped"
    return answer({"items": page, "next_cursor": following, "scheduling": scheduling})


def seen_locations(console: Console, principal: Principal, location: str | None) -> list[str]:
    """Return the locations that are asked for and may be looked at; raise a `Problem` with 403 for none."""
    if location is not None:
        console.require(principal, Action.VIEW, location)
        return [location]
    if not principal.may_somewhere(Action.VIEW):
        console.require(principal, Action.VIEW, "any location")
    return principal.seen(console.locations)


def _is_wanted(job: dict[str, Any], status: str | None, enabled: bool | None, owner: str | None) -> bool:
    state = "running" if job["running_run_id"] else job["last_status"]
    return (
        status in {None, state}
        and (enabled is None or job["enabled"] is enabled)
        and (owner is None or job["owner"] == owner)
    )


def _sorted(jobs: views.Jobs, sort: str) -> views.Jobs:
    field, is_reversed = sort.removeprefix("-"), sort.startswith("-")
    if field == "name":
        return jobs
    known = [job for job in jobs if job[field] is not None]
    # What has no such instant comes last, whichever way round.
    unknown = [job for job in jobs if job[field] is None]
    return [*sorted(known, key=lambda job: job[field], reverse=is_reversed), *unknown]


def _page(jobs: views.Jobs, limit: int, cursor: str | None) -> tuple[views.Jobs, str | None]:
    start = 0
    if cursor is not None:
        places = [place for place, job in enumerate(jobs) if _key(job) == cursor]
        if not places:
            raise unusable("the cursor is of no page with these filters; begin without one")
        start = places[0] + 1
    page = jobs[start : start + limit]
    return page, _key(page[-1]) if start + limit < len(jobs) else None


def _key(job: dict[str, Any]) -> str:
    return f"{job['location']}/{job['name']}"


@router.get("/{location}/{job}", response_model=schemas.JobDetail)
def show_job(console: TheConsole, principal: ThePrincipal, location: Location, job: JobName) -> Response:
    """Show a job, with the JSON Schema of its parameters and its last runs."""
    console.require(principal, Action.VIEW, location)
    return _shown(console, location, job)


def _shown(console: Console, location: str, job: str) -> Response:
    spec = console.spec(location, job)
    with console.reader.connect() as connection:
        return answer(views.show_job(console, connection, spec))


@router.delete("/{location}/{job}", status_code=204)
def forget_job(console: TheConsole, principal: ThePrincipal, location: Location, job: JobName) -> Response:
    """Forget a job that the code has no more, with its history. One that is registered stays: 409."""
    console.require(principal, Action.FORGET, location)
    control.forget(console, principal, location, job)
    return Response(status_code=204)


@router.post("/{location}/{job}/runs", status_code=202, response_model=schemas.Launched)
def run_job(
    console: TheConsole,
    principal: ThePrincipal,
    location: Location,
    job: JobName,
    body: schemas.RunRequest,
    key: Key = None,
) -> Response:
    """Launch a run. 409 names the run that is going; what only an approval may do is refused by name."""
    console.require(principal, Action.RUN, location)
    spec = console.spec(location, job)
    with console.reader.connect() as connection:
        order = order_of(connection, spec, body, now=console.clock(), key=key)
    if spec.needs_approval and not body.dry_run:
        raise conflict(
            f"{spec.key} takes another person: make a dry run, and request its approval by POST /api/v1/approvals"
        )
    return _launched(control.launch(console, principal, order))


@router.post("/{location}/{job}/plan", status_code=202, response_model=schemas.Launched)
def plan_job(
    console: TheConsole,
    principal: ThePrincipal,
    location: Location,
    job: JobName,
    body: schemas.PlanRequest,
    key: Key = None,
) -> Response:
    """Launch a dry run: its outcomes say what a run would change, and `plan` of a run then does exactly that."""
    console.require(principal, Action.RUN, location)
    order = plan_of(console.spec(location, job), body, now=console.clock(), key=key)
    return _launched(control.launch(console, principal, order))


def _launched(run_id: str) -> Response:
    url = f"/api/v1/runs/{run_id}"
    return answer({"run_id": run_id, "url": url}, status=202, headers={"Location": url})


@router.put("/{location}/{job}/enabled", response_model=schemas.JobDetail)
def toggle_job(
    console: TheConsole, principal: ThePrincipal, location: Location, job: JobName, body: schemas.EnabledRequest
) -> Response:
    """Enable or disable a job's schedule, which lasts over restarts and deployments. A manual job has none: 409."""
    console.require(principal, Action.ENABLE if body.enabled else Action.DISABLE, location)
    control.set_enabled(console, principal, console.spec(location, job), enabled=body.enabled, reason=body.reason)
    return _shown(console, location, job)


@router.put("/{location}/{job}/hold", response_model=schemas.JobDetail)
def hold_job(
    console: TheConsole, principal: ThePrincipal, location: Location, job: JobName, body: schemas.HoldRequest
) -> Response:
    """Hold a job: nothing starts it until the hold ends or is lifted. It is apart from whether the job is enabled."""
    console.require(principal, Action.HOLD, location)
    spec = console.spec(location, job)
    with console.engine.begin() as connection:
        where = [(spec.location.name, spec.name)]
        holds.hold(connection, principal, where, reason=body.reason, until=body.until, now=console.clock())
    return _shown(console, location, job)


@router.delete("/{location}/{job}/hold", response_model=schemas.JobDetail)
def release_job(console: TheConsole, principal: ThePrincipal, location: Location, job: JobName) -> Response:
    """Lift a hold."""
    console.require(principal, Action.RELEASE, location)
    spec = console.spec(location, job)
    with console.engine.begin() as connection:
        if not holds.release(connection, principal, [(spec.location.name, spec.name)], now=console.clock()):
            raise not_found(f"{spec.key} is not held")
    return _shown(console, location, job)
