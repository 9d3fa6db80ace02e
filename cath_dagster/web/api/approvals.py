"""Approvals: request a run that takes two people, and decide on one."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Response

from cath_dagster.web import approvals
from cath_dagster.web.api import schemas
from cath_dagster.web.api.answers import answer
from cath_dagster.web.api.dependencies import Limit, TheConsole, ThePrincipal
from cath_dagster.web.api.jobs import seen_locations
from cath_dagster.web.console import Console
from cath_dagster.web.problems import Problem, not_found, unusable
from cath_dagster.web.rights import Action, Kind, Principal
from cath_dagster.web.tables import approval

router = APIRouter(prefix="/approvals", tags=["approvals"])
ApprovalId = Annotated[schemas.Text, Path(max_length=100)]


@router.get("", response_model=schemas.ApprovalList)
def list_approvals(
    console: TheConsole,
    principal: ThePrincipal,
    limit: Limit,
    status: Annotated[schemas.ApprovalStatus | None, Query()] = None,
    cursor: Annotated[schemas.Text | None, Query(max_length=100)] = None,
) -> Response:
    """List requests, the newest first."""
    seen = seen_locations(console, principal, None)
    with console.engine.begin() as connection:
        rows, following = read_approvals(console, connection, seen, status=status, limit=limit, cursor=cursor)
    return answer({"items": [row._asdict() for row in rows], "next_cursor": following})


def read_approvals(
    console: Console,
    connection: sa.Connection,
    locations: list[str],
    *,
    status: str | None,
    limit: int,
    cursor: str | None = None,
) -> tuple[list[sa.Row[tuple[object, ...]]], str | None]:
    """Return a page of requests, and the cursor of the next."""
    approvals.expire(connection, now=console.clock())
    query = sa.select(approval).where(approval.c.location.in_(locations))
    query = query.order_by(approval.c.requested_at.desc(), approval.c.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(approval.c.status == status)
    if cursor is not None:
        last = sa.select(approval.c.requested_at, approval.c.id).where(approval.c.id == cursor)
        found = connection.execute(last).one_or_none()
        if found is None:
            raise unusable("the cursor is none of ours; begin without one")
        query = query.where(sa.tuple_(approval.c.requested_at, approval.c.id) < sa.tuple_(*map(sa.literal, found)))
    rows = list(connection.execute(query).all())
    return rows[:limit], rows[limit - 1].id if len(rows) > limit else None


@router.post("", status_code=201, response_model=schemas.Approval)
def request_approval(console: TheConsole, principal: ThePrincipal, body: schemas.ApprovalRequest) -> Response:
    """Request the run that was refused for its size, or the run that a dry run showed."""
    if not principal.may_somewhere(Action.REQUEST):
        console.require(principal, Action.REQUEST, "any location")
    approval_id = approvals.request(console, principal, body.run_id, body.reason)
    return _shown(console, approval_id, status=201, headers={"Location": f"/api/v1/approvals/{approval_id}"})


@router.get("/{approval_id}", response_model=schemas.Approval)
def show_approval(console: TheConsole, principal: ThePrincipal, approval_id: ApprovalId) -> Response:
    """Show a request, with the counts that are to be approved."""
    return _shown(console, approval_id, principal=principal)


@router.post("/{approval_id}/approve", response_model=schemas.Approval)
def approve(
    console: TheConsole,
    principal: ThePrincipal,
    approval_id: ApprovalId,
    body: schemas.ApproveRequest | None = None,
) -> Response:
    """Approve: a dry run looks once more, then exactly this run is launched. Takes a person, and another one."""
    check_is_person(principal)
    approvals.approve(console, principal, approval_id, body.reason if body else None)
    return _shown(console, approval_id)


@router.post("/{approval_id}/reject", response_model=schemas.Approval)
def reject(
    console: TheConsole, principal: ThePrincipal, approval_id: ApprovalId, body: schemas.RejectRequest
) -> Response:
    """Reject, with a reason. Takes a person, and another one."""
    check_is_person(principal)
    approvals.reject(console, principal, approval_id, body.reason)
    return _shown(console, approval_id)


def check_is_person(principal: Principal) -> None:
    if principal.kind is Kind.TOKEN:
        raise Problem(
            403, "not allowed", "a token decides nothing, whatever its role: two pairs of eyes are two people's"
        )


def _shown(
    console: Console,
    approval_id: str,
    *,
    principal: Principal | None = None,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    with console.engine.begin() as connection:
        approvals.expire(connection, now=console.clock())
        row = connection.execute(sa.select(approval).where(approval.c.id == approval_id)).one_or_none()
    if row is None:
        raise not_found("there is no such approval; GET /api/v1/approvals lists them")
    if principal is not None:
        console.require(principal, Action.VIEW, row.location)
    return answer(row._asdict(), status=status, headers=headers)
