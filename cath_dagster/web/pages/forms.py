"""What the pages' forms do: the same as the API's endpoints, and then a page that shows it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from cath_dagster.web import approvals, control, holds, tokens
from cath_dagster.web.api import schemas
from cath_dagster.web.api.approvals import check_is_person
from cath_dagster.web.api.dependencies import TheConsole
from cath_dagster.web.api.runs import RunId
from cath_dagster.web.api.tokens import check_may_make, managed, revoke
from cath_dagster.web.orders import order_of, plan_of
from cath_dagster.web.pages.rendering import fields_of, parameters_of, quote_part, render
from cath_dagster.web.pages.visiting import AForm, TheVisitor
from cath_dagster.web.parameters import parameters_schema
from cath_dagster.web.problems import conflict, unusable
from cath_dagster.web.rights import EVERYWHERE, Action, Role

router = APIRouter(include_in_schema=False)
LONGEST_REASON = 500


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A run as a form asks for it."""

    parameters: dict[str, Any] = field(default_factory=dict)
    as_of: datetime | None = None
    max_rows: int | None = None
    partition: str | None = None
    dry_run: bool = False
    plan: str | None = None
    reason: str | None = None


@router.post("/jobs/{location}/{name}/plan")
def plan(console: TheConsole, visitor: TheVisitor, location: schemas.Text, name: schemas.Text, form: AForm) -> Response:
    """Launch a dry run; its page shows the counts, and the button that does exactly that."""
    console.require(visitor.principal, Action.RUN, location)
    spec = console.spec(location, name)
    asked = Asked(
        parameters=parameters_of(form, fields_of(parameters_schema(spec))),
        as_of=_instant(form, "as_of"),
        max_rows=_number(form, "max_rows"),
        partition=form.get("partition") or None,
    )
    order = plan_of(spec, asked, now=console.clock(), key=_key(form))
    return _to(f"/runs/{control.launch(console, visitor.principal, order)}")


@router.post("/jobs/{location}/{name}/run")
def run(console: TheConsole, visitor: TheVisitor, location: schemas.Text, name: schemas.Text, form: AForm) -> Response:
    """Launch exactly the run that a dry run showed."""
    console.require(visitor.principal, Action.RUN, location)
    spec = console.spec(location, name)
    if spec.needs_approval:
        raise conflict(f"{spec.key} takes another person: request an approval of the dry run")
    asked = Asked(plan=form.get("plan") or "", reason=_reason(form, is_needed=False))
    with console.reader.connect() as connection:
        order = order_of(connection, spec, asked, now=console.clock(), key=_key(form))
    return _to(f"/runs/{control.launch(console, visitor.principal, order)}")


@router.post("/jobs/{location}/{name}/enabled")
def toggle(
    console: TheConsole, visitor: TheVisitor, location: schemas.Text, name: schemas.Text, form: AForm
) -> Response:
    enabled = form.get("enabled") == "true"
    console.require(visitor.principal, Action.ENABLE if enabled else Action.DISABLE, location)
    spec = console.spec(location, name)
    control.set_enabled(console, visitor.principal, spec, enabled=enabled, reason=_reason(form, is_needed=False))
    return _to_job(location, name)


@router.post("/jobs/{location}/{name}/hold")
def hold(console: TheConsole, visitor: TheVisitor, location: schemas.Text, name: schemas.Text, form: AForm) -> Response:
    console.require(visitor.principal, Action.HOLD, location)
    spec = console.spec(location, name)
    reason, until = _reason(form, is_needed=True) or "", _end(form)
    with console.engine.begin() as connection:
        where = [(location, spec.name)]
        holds.hold(connection, visitor.principal, where, reason=reason, until=until, now=console.clock())
    return _to_job(location, name)


@router.post("/jobs/{location}/{name}/release")
def release(
    console: TheConsole, visitor: TheVisitor, location: schemas.Text, name: schemas.Text, form: AForm
) -> Response:
    del form  # it came from a page of ours, and that is all it says
    console.require(visitor.principal, Action.RELEASE, location)
    with console.engine.begin() as connection:
        holds.release(
            connection, visitor.principal, [(location, console.spec(location, name).name)], now=console.clock()
        )
    return _to_job(location, name)


@router.post("/hold")
def hold_all(console: TheConsole, visitor: TheVisitor, form: AForm) -> Response:
    """Hold every job of every location, for an incident."""
    reason = _reason(form, is_needed=True) or ""
    holds.hold_all(console, visitor.principal, None, reason=reason, until=_end(form))
    return _to("/")


@router.post("/release")
def release_all(console: TheConsole, visitor: TheVisitor, form: AForm) -> Response:
    del form
    holds.release_all(console, visitor.principal, None)
    return _to("/")


@router.post("/runs/{run_id}/cancel")
def cancel(console: TheConsole, visitor: TheVisitor, run_id: RunId, form: AForm) -> Response:
    location, job = control.find_run(console, run_id)
    console.require(visitor.principal, Action.CANCEL, location)
    control.cancel(console, visitor.principal, location, job, run_id, _reason(form, is_needed=False))
    return _to(f"/runs/{quote_part(run_id)}")


@router.post("/runs/{run_id}/request")
def request_approval(console: TheConsole, visitor: TheVisitor, run_id: RunId, form: AForm) -> Response:
    approvals.request(console, visitor.principal, run_id, _reason(form, is_needed=True) or "")
    return _to("/approvals?status=pending")


@router.post("/approvals/{approval_id}/{how}")
def decide(
    console: TheConsole, visitor: TheVisitor, approval_id: schemas.Text, how: schemas.Text, form: AForm
) -> Response:
    check_is_person(visitor.principal)
    if how == "approve":
        run_id = approvals.approve(console, visitor.principal, approval_id, _reason(form, is_needed=False))
        return _to(f"/runs/{quote_part(run_id)}")
    approvals.reject(console, visitor.principal, approval_id, _reason(form, is_needed=True) or "")
    return _to("/approvals")


@router.post("/tokens")
def make_token(request: Request, console: TheConsole, visitor: TheVisitor, form: AForm) -> Response:
    """Make a token and show it: the one page that has it, and the one time."""
    role, place = form.get("role", ""), form.get("location") or EVERYWHERE
    if role not in list(Role):
        raise unusable(f"there is no role {role!r}; there are {', '.join(Role)}")
    check_may_make(console, visitor.principal, [place])
    days, now = _number(form, "expires_in_days"), console.clock()
    if days is not None and days > 3_650:  # noqa: PLR2004 - ten years, as by the API
        raise unusable("a token lasts ten years at most")
    with console.engine.begin() as connection:
        made = tokens.create(
            connection, visitor.principal, form.get("name", ""), role=Role(role), locations=[place],
            expires_at=now + timedelta(days=days) if days else None, now=now,
        )  # fmt: skip
    places = [name for name in (EVERYWHERE, *console.locations) if visitor.principal.may(Action.TOKEN, name)]
    shown = managed(console, visitor.principal)
    return render(request, visitor, "tokens.html", tokens=shown, roles=list(Role), places=places, made=made)


@router.post("/tokens/{name}/revoke")
def revoke_token(console: TheConsole, visitor: TheVisitor, name: schemas.Text, form: AForm) -> Response:
    del form
    revoke(console, visitor.principal, name)
    return _to("/tokens")


def _to(address: str) -> Response:
    # The browser asks for the page anew, so that to reload it sends nothing twice.
    return RedirectResponse(address, status_code=303)


def _to_job(location: str, name: str) -> Response:
    return _to(f"/jobs/{quote_part(location)}/{quote_part(name)}")


def _end(form: dict[str, str]) -> datetime:
    until = _instant(form, "until")
    if until is None:
        raise unusable("a hold needs an end")
    return until


def _key(form: dict[str, str]) -> str | None:
    key = (form.get("key") or "")[:200]
    # As a page of ours made it: the keys that we give ourselves have a blank.
    return key if key.isalnum() else None


def _reason(form: dict[str, str], *, is_needed: bool) -> str | None:
    reason = form.get("reason", "").strip()
    if is_needed and not reason:
        raise unusable("say why: a reason is needed")
    if len(reason) > LONGEST_REASON:
        raise unusable(f"a reason has at most {LONGEST_REASON} characters")
    return reason or None


def _number(form: dict[str, str], name: str) -> int | None:
    text = form.get(name, "").strip()
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:  # noqa: PLR2004 - more rows than any table has
        raise unusable(f"{name} is {text[:50]!r}; write a whole number")
    return int(text)


def _instant(form: dict[str, str], name: str) -> datetime | None:
    """Return an instant of a field, which has no zone and is in UTC, as its label says."""
    text = form.get(name, "").strip()
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise unusable(f"{name} is {text[:50]!r}; write an instant like 2026-11-20T01:00") from None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
