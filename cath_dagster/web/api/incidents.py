"""What is done to all jobs at once, for an incident: hold them, and let them go again."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from cath_dagster.web import holds
from cath_dagster.web.api import schemas
from cath_dagster.web.api.answers import answer
from cath_dagster.web.api.dependencies import TheConsole, ThePrincipal

router = APIRouter(prefix="/hold", tags=["jobs"])


@router.put("", response_model=schemas.HeldJobs)
def hold_all(console: TheConsole, principal: ThePrincipal, body: schemas.HoldAllRequest) -> Response:
    """Hold every job, of one location or of all, until an end and for one reason. It takes the right in each of them."""
    return _told(holds.hold_all(console, principal, body.location, reason=body.reason, until=body.until))


@router.delete("", response_model=schemas.HeldJobs)
def release_all(
    console: TheConsole,
    principal: ThePrincipal,
    location: Annotated[schemas.Text | None, Query(max_length=100)] = None,
) -> Response:
    """Lift every hold, of one location or of all, also those of single jobs; says which there were."""
    return _told(holds.release_all(console, principal, location))


def _told(jobs: list[tuple[str, str]]) -> Response:
    return answer({"jobs": [f"{location}/{name}" for location, name in jobs]})
