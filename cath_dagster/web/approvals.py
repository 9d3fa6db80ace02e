"""Two pairs of eyes: a run that one person alone may not start is requested by one and approved by another.

What is approved is the very run that was shown: its job, its parameters, its reference time, and at most the counts shown plus
a tenth, which is looked at again, by a dry run, when somebody approves.
"""

import enum
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cath_dagster.core.run.spec import JobSpec
from cath_dagster.web import audit, control, reading, recorded, tokens
from cath_dagster.web.console import Console
from cath_dagster.web.parameters import ALLOW_LARGE
from cath_dagster.web.problems import Problem, conflict, not_found, unavailable, unusable
from cath_dagster.web.rights import Action, Principal
from cath_dagster.web.tables import approval, console_request

LASTS = timedelta(hours=24)
LOOK_SECONDS = 120.0
"""For the dry run that an approval begins with: in a cluster it starts a pod."""
POLL_SECONDS = 0.5
FRESH = timedelta(minutes=10)
"""For how long a look that has ended is one of now: whoever tries again soon need not wait again."""
ENDED = frozenset({"success", "failed", "timeout", "refused", "canceled"})
REFUSED, SUCCESS = "refused", "success"


class Status(enum.StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    REFUSED = "refused"
    """Approved, and by then more rows matched than were shown."""


@dataclass(frozen=True)
class Waiting:
    """How a dry run is waited for; tests do not sleep."""

    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def counts_of(outcomes: Any) -> dict[str, int]:
    """Return what a run's outcomes say would change, by target."""
    listed = outcomes if isinstance(outcomes, list) else []
    return {str(each["target"]): int(each.get("matched") or 0) for each in listed if isinstance(each, Mapping)}


def allowed(count: int) -> int:
    """Return how many rows may match where so many were shown: a tenth more, rounded down."""
    return count + count // 10


def request(console: Console, principal: Principal, run_id: str, reason: str) -> str:
    """Request the run that was refused, or of which there was a dry run; return the approval's id."""
    now = console.clock()
    with console.engine.begin() as connection:
        rows = reading.read_run(connection, run_id)
        if not rows:
            raise not_found("there is no such run; request the one that was refused, or a dry run of it")
        run = rows[0]
        console.require(principal, Action.REQUEST, run.location)
        spec = console.spec(run.location, run.job)
        _check_requestable(spec, run)
        counts = counts_of(run.outcomes)
        if not counts:
            raise unusable(
                "this run says no counts that somebody could approve; make a dry run with the same parameters, and request that"
            )
        config = recorded.told(connection, run)
        approval_id = uuid.uuid4().hex
        values = {
            "id": approval_id,
            "location": run.location,
            "job": run.job,
            "run_id": run_id,
            "status": Status.PENDING.value,
            "reason": reason,
            "requested_by": principal.actor,
            "requested_at": now,
            "expires_at": now + LASTS,
            "as_of": recorded.as_of(config, run),
            "parameters": _parameters(config),
            "counts": counts,
        }
        expire(connection, now=now)
        try:
            connection.execute(sa.insert(approval).values(**values))
        except IntegrityError:
            raise conflict("an approval of this run is pending already; GET /api/v1/approvals?status=pending") from None
        told = {"approval": approval_id, "counts": counts}
        subject = audit.Subject(run.location, run.job, run_id)
        audit.append(connection, principal, Action.REQUEST, subject, reason=reason, parameters=told, result="pending")
    return approval_id


def _check_requestable(spec: JobSpec, run: Any) -> None:
    is_refused = run.status == REFUSED and not run.dry_run
    is_shown = run.dry_run and run.status == SUCCESS
    if not (is_refused or is_shown):
        raise conflict(
            f"run {run.run_id} of {spec.key} ended as {run.status}{', a dry run' if run.dry_run else ''}; a run that was "
            "refused can be requested, or a dry run that succeeded"
        )


def _parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the run was told, without what an approval itself says."""
    return {key: value for key, value in config.items() if key not in {"dry_run", "as_of", ALLOW_LARGE}}


def expire(connection: sa.Connection, *, now: datetime) -> None:
    """Mark what nobody decided in time."""
    over = sa.update(approval).where(approval.c.status == Status.PENDING.value, approval.c.expires_at <= now)
    connection.execute(over.values(status=Status.EXPIRED.value))


def reject(console: Console, principal: Principal, approval_id: str, reason: str) -> None:
    """Say no."""
    now = console.clock()
    with console.engine.begin() as connection:
        row = _pending(console, connection, principal, Action.REJECT, approval_id, now)
        if (run_id := control.find_approved(connection, approval_id)) is not None:
            # It was approved once; Dagster's answer was lost, and not the launch.
            raise conflict(f"it was launched already, as run {run_id}; cancel that", run_id=run_id)
        _decide(connection, row, principal, Status.REJECTED, now=now, reason=reason)
        _audit_decision(connection, principal, Action.REJECT, row, reason=reason, result=Status.REJECTED)


def approve(
    console: Console, principal: Principal, approval_id: str, reason: str | None, waiting: Waiting | None = None
) -> str:
    """Say yes; return the run that was launched.

    A dry run looks again first: where more matches than was allowed, the approval is `refused` and nothing is launched. An approval
    that was given and of which nobody knows a run, since a console was killed, can be given again: it stands for one run.
    """
    now = console.clock()
    with console.engine.begin() as connection:
        row = _pending(console, connection, principal, Action.APPROVE, approval_id, now)
        if (launched := control.find_approved(connection, approval_id)) is not None:
            _settle(connection, principal, approval_id, launched, now=now)
            return launched
        look_key = _look_key(connection, principal, approval_id, now)
    spec = console.spec(row.location, row.job)
    config = {**row.parameters, "as_of": row.as_of.isoformat()}
    partition = config.pop("partition", None)
    look = control.Order(spec=spec, config={**config, "dry_run": True}, partition=partition, key=look_key)
    found = _look(console, control.launch(console, principal, look), waiting or Waiting())
    too_many = {target: count for target, count in found.items() if count > allowed(int(row.counts.get(target, 0)))}
    with console.engine.begin() as connection:
        # Decided now, and once: whoever comes second finds it no longer pending.
        again = _pending(console, connection, principal, Action.APPROVE, approval_id, console.clock(), locked=True)
        if (again.status, again.decided_at) != (row.status, row.decided_at):
            raise conflict("somebody else has decided meanwhile; look at the approval again")
        status = Status.REFUSED if too_many else Status.APPROVED
        _decide(connection, again, principal, status, now=console.clock(), reason=reason)
        told = {"counts": dict(row.counts), "found": found}
        _audit_decision(connection, principal, Action.APPROVE, row, reason=reason, result=status, parameters=told)
    if too_many:
        said = ", ".join(f"{target} {count} (shown {row.counts.get(target, 0)})" for target, count in too_many.items())
        raise conflict(
            f"more matches than was shown, by over a tenth: {said}; the approval is refused", status_now="refused"
        )
    order = control.Order(
        spec=spec,
        config={**config, ALLOW_LARGE: True},
        partition=partition,
        key=f"approval {row.id}",
        approval=row.id,
        reason=f"approval {row.id}",
    )
    return _launch_approved(console, principal, order, row.id)


def _launch_approved(console: Console, principal: Principal, order: control.Order, approval_id: str) -> str:
    mine = approval.c.id == approval_id
    try:
        run_id = control.launch(console, principal, order)
    except Problem:
        # Nothing ran, as far as is known: the decision is taken back, so that it can be taken again.
        undone = {"status": Status.PENDING.value, "decided_by": None, "decided_at": None, "decision_reason": None}
        with console.engine.begin() as connection:
            of_nobody = sa.and_(mine, approval.c.approved_run_id.is_(None))
            connection.execute(sa.update(approval).where(of_nobody).values(**undone))
        raise
    with console.engine.begin() as connection:
        _settle(connection, principal, approval_id, run_id, now=console.clock())
    return run_id


def _settle(connection: sa.Connection, principal: Principal, approval_id: str, run_id: str, *, now: datetime) -> None:
    """Write down which run an approval was used up by."""
    values = {
        "status": Status.APPROVED.value,
        "decided_by": sa.func.coalesce(approval.c.decided_by, principal.actor),
        "decided_at": sa.func.coalesce(approval.c.decided_at, now),
        "approved_run_id": run_id,
    }
    connection.execute(sa.update(approval).where(approval.c.id == approval_id).values(**values))


def _look_key(connection: sa.Connection, principal: Principal, approval_id: str, now: datetime) -> str:
    """Return the key of this person's look that goes on, or ended well a moment ago; else of a new one."""
    mine = console_request.c.key.startswith(f"look {approval_id} ")
    query = sa.select(console_request).where(console_request.c.actor == principal.actor, mine)
    last = connection.execute(query.order_by(console_request.c.at.desc()).limit(1)).one_or_none()
    if last is not None and (last.run_id is None or _is_of_now(connection, last.run_id, now)):
        return str(last.key)
    return f"look {approval_id} {uuid.uuid4().hex}"


def _is_of_now(connection: sa.Connection, run_id: str, now: datetime) -> bool:
    rows = reading.read_run(connection, run_id)
    if rows and rows[0].status in ENDED:
        return bool(rows[0].status == SUCCESS and rows[0].completed_at > now - FRESH)
    queued = reading.location_of_queued(connection, run_id)
    return bool(rows) or (queued is not None and queued[-1] in reading.WAITING)


def _look(console: Console, run_id: str, waiting: Waiting) -> dict[str, int]:
    """Wait for the end of a dry run; return what it says would change."""
    deadline = waiting.clock() + LOOK_SECONDS
    while True:
        with console.reader.connect() as connection:
            rows = reading.read_run(connection, run_id)
        if rows and rows[0].status in ENDED:
            break
        if waiting.clock() > deadline:
            raise unavailable(f"the dry run {run_id}, which looks once more, has not ended; approve again when it has")
        waiting.sleep(POLL_SECONDS)
    if rows[0].status != SUCCESS:
        raise conflict(f"the dry run {run_id}, which looks once more, ended as {rows[0].status}; nothing is launched")
    return counts_of(rows[0].outcomes)


def _pending(
    console: Console,
    connection: sa.Connection,
    principal: Principal,
    action: Action,
    approval_id: str,
    now: datetime,
    *,
    locked: bool = False,
) -> Any:
    """Return an approval that this person may decide now; raise a `Problem` with 404, 403 or 409."""
    query = sa.select(approval).where(approval.c.id == approval_id)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None:
        raise not_found("there is no such approval; GET /api/v1/approvals lists them")
    console.require(principal, action, row.location)
    # Whoever has made a token asks by it himself; and of a name a directory may have several spellings.
    askers = {row.requested_by, *tokens.makers(connection, row.requested_by)}
    if principal.actor.casefold() in {each.casefold() for each in askers}:
        raise Problem(
            403, "not allowed", "nobody decides his own request; it takes another person with the role approver"
        )
    # Approved by somebody whose console was killed before it had launched, or could say so.
    is_half_done = row.status == Status.APPROVED and row.approved_run_id is None and action is Action.APPROVE
    is_open = row.status == Status.PENDING or is_half_done
    status = Status.EXPIRED if is_open and row.expires_at <= now else row.status
    if not is_open or status == Status.EXPIRED:
        raise conflict(f"the approval is {status} already")
    return row


def _decide(
    connection: sa.Connection, row: Any, principal: Principal, status: Status, *, now: datetime, reason: str | None
) -> None:
    values = {"status": status.value, "decided_by": principal.actor, "decided_at": now, "decision_reason": reason}
    connection.execute(sa.update(approval).where(approval.c.id == row.id).values(**values))


def _audit_decision(
    connection: sa.Connection,
    principal: Principal,
    action: Action,
    row: Any,
    *,
    reason: str | None,
    result: Status,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    subject = audit.Subject(row.location, row.job, row.run_id)
    told = {"approval": row.id, **(parameters or {})}
    audit.append(connection, principal, action, subject, reason=reason, parameters=told, result=result.value)
