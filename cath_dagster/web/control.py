"""Launch, cancel, enable and disable: each is in the audit log before Dagster is asked, and what came of it afterwards.

One launch of a job at a time, over all consoles: an advisory lock is held from the look at what is going until Dagster has
put the run into its queue.
"""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from cath_dagster.core.history.tables import scheduled_job
from cath_dagster.core.ports.orchestrator import (
    NONCE_TAG,
    PARTITION_TAG,
    OrchestratorError,
    OrchestratorUnavailableError,
)
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.web import audit, holds, reading
from cath_dagster.web.console import Console
from cath_dagster.web.problems import UNAVAILABLE, Problem, conflict, not_found, unavailable, unusable
from cath_dagster.web.rights import Action, Principal
from cath_dagster.web.tables import console_request

REMEMBERED = timedelta(days=7)
"""For how long a key is answered with the same run: longer than any client tries again."""
BUSY_SECONDS = 10.0
"""How long somebody waits for his turn to ask Dagster."""
CANCELED_STATEMENT = "57014"
_NAMESPACE = uuid.UUID("6f1f5a53-4d5e-4d0f-9a53-6b6a3c2f8f11")


@dataclass(frozen=True, kw_only=True)
class Order:
    """A run that is to be launched; `config` is checked."""

    spec: JobSpec
    config: Mapping[str, Any]
    key: str | None = None
    """The client's idempotency key. Those of ours have a blank, which a client's cannot have."""
    is_pinned: bool = False
    """Whether its reference time was said, and is not just the instant at which it was asked for."""
    approval: str | None = None
    """What it was approved by: whoever launches it, and how often he tries, it is one run."""
    partition: str | None = None
    reason: str | None = None
    action: Action = Action.RUN

    @property
    def told(self) -> dict[str, Any]:
        """What the audit log keeps of it."""
        return {**self.config, **({"partition": self.partition} if self.partition else {})}


def launch(console: Console, principal: Principal, order: Order) -> str:
    """Put a run into Dagster's queue; return its id.

    The same key again returns the same run. Raises a `Problem` for a job that is held or going (409), and where Dagster says
    no (502) or nothing (503).
    """
    nonce = _nonce(principal, order)
    with _alone(console, f"launch/{order.spec.key}") as connection:
        known = _launched_before(connection, principal, order, nonce)
        if known is not None:
            return known
        _check_free(console, connection, order)
        _record_request(console, connection, principal, order, nonce)
        try:
            run_id = _launch(console, connection, order, nonce)
        except Problem as problem:
            # Who did not answer may still do it: the run then carries the nonce.
            kind = "unknown" if problem.status == UNAVAILABLE else "failed"
            _record_end(connection, principal, order, nonce, result=f"{kind}: {problem.detail}")
            raise
        _record_end(connection, principal, order, nonce, result="launched", run_id=run_id)
        return run_id


def cancel(console: Console, principal: Principal, location: str, job: str, run_id: str, reason: str | None) -> None:
    """Ask Dagster to end a run; raise a `Problem` with 409 where it cannot."""
    with _audited(console, principal, Action.CANCEL, audit.Subject(location, job, run_id), reason=reason):
        console.orchestrator.cancel(run_id)


def set_enabled(console: Console, principal: Principal, spec: JobSpec, *, enabled: bool, reason: str | None) -> None:
    """Start or stop a job's schedule or sensor, which is the one state that Dagster, its UI and we have of it."""
    if spec.schedule is None:
        raise conflict(
            f"{spec.key} has no schedule: it runs when somebody starts it, and is neither enabled nor disabled"
        )
    action = Action.ENABLE if enabled else Action.DISABLE
    with _audited(console, principal, action, audit.Subject(spec.location.name, spec.name), reason=reason):
        console.orchestrator.set_enabled(
            spec.location.name, spec.schedule_name, is_sensor=spec.interval is not None, enabled=enabled
        )
    now = console.clock()
    shown = (
        sa.update(scheduled_job)
        .where(scheduled_job.c.location == spec.location.name, scheduled_job.c.name == spec.name)
        .values(enabled=enabled, next_run_at=spec.next_tick(now) if enabled else None, updated_at=now)
    )
    with console.engine.begin() as connection:
        connection.execute(shown)


def forget(console: Console, principal: Principal, location: str, job: str) -> None:
    """Delete the row of a job that the code has no more, and its history with it."""
    if f"{location}/{job}" in console.specs:
        raise conflict(f"{location}/{job} is registered: take it out of the code first, or disable it")
    gone = sa.delete(scheduled_job).where(
        scheduled_job.c.location == location, scheduled_job.c.name == job, sa.not_(scheduled_job.c.registered)
    )
    with console.engine.begin() as connection:
        if not connection.execute(gone).rowcount:
            raise not_found("there is no job of this name whose code is gone")
        audit.append(connection, principal, Action.FORGET, audit.Subject(location, job), result="forgotten")


@contextlib.contextmanager
def _audited(
    console: Console, principal: Principal, action: Action, subject: audit.Subject, *, reason: str | None
) -> Iterator[None]:
    """Have the audit log say that something is asked of Dagster, and then what became of it."""
    nonce = uuid.uuid4().hex
    with console.engine.begin() as connection:
        audit.append(connection, principal, action, subject, nonce=nonce, reason=reason, result=audit.REQUESTED)
    result = "unknown: interrupted"
    try:
        yield
        result = audit.DONE
    except OrchestratorUnavailableError as error:
        result = f"unknown: {error}"
        raise unavailable(str(error)) from None
    except OrchestratorError as error:
        result = f"failed: {error}"
        raise conflict(str(error)) from None
    finally:
        with console.engine.begin() as connection:
            audit.append(connection, principal, action, subject, nonce=nonce, result=result)


@contextlib.contextmanager
def _alone(console: Console, name: str) -> Iterator[sa.Connection]:
    """Yield a connection, without a transaction, while no other console does the same thing."""
    key = sa.func.hashtextextended(f"console/{name}", 0)
    with _turn(console), console.engine.connect() as connection:
        try:
            with connection.begin():
                connection.execute(sa.select(sa.func.pg_advisory_lock(key)))
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == CANCELED_STATEMENT:
                raise unavailable("another launch of this job waits for Dagster's web server; try again") from None
            raise
        try:
            yield connection
        finally:
            try:
                with connection.begin():
                    connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))
            except DBAPIError:
                # A lock outlives its transaction: the connection must not come back with it.
                connection.invalidate()


@contextlib.contextmanager
def _turn(console: Console) -> Iterator[None]:
    """Wait for one of the connections that launches may have: a web server that hangs must not take those by which all else is
    shown.
    """
    if not console.launching.acquire(timeout=BUSY_SECONDS):
        raise unavailable(
            "other launches wait for Dagster's web server, which is slow; nothing was launched, try again"
        )
    try:
        yield
    finally:
        console.launching.release()


def new_key() -> str:
    """Return a key for one form: however often it is sent, there is one run."""
    return uuid.uuid4().hex


def find_approved(connection: sa.Connection, approval_id: str) -> str | None:
    """Return the run that was launched by an approval, None where none was, as far as Dagster has it."""
    return reading.find_launched(connection, NONCE_TAG, _nonce_of_approval(approval_id))


def _nonce_of_approval(approval_id: str) -> str:
    return uuid.uuid5(_NAMESPACE, f"approval {approval_id}").hex


def _nonce(principal: Principal, order: Order) -> str:
    """Return the run's nonce; of a request with a key always the same one, so that its run is found whatever was killed."""
    if order.approval is not None:
        return _nonce_of_approval(order.approval)
    if order.key is None:
        return uuid.uuid4().hex
    return uuid.uuid5(_NAMESPACE, json.dumps([principal.actor, order.spec.key, order.key])).hex


def _body_hash(order: Order) -> str:
    # The reference time is ours where the client gave none, and another one each time.
    body = {key: value for key, value in order.told.items() if key != "as_of" or order.is_pinned} | {
        "job": order.spec.key
    }
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _launched_before(connection: sa.Connection, principal: Principal, order: Order, nonce: str) -> str | None:
    if order.key is None:
        return None
    mine = sa.and_(console_request.c.actor == principal.actor, console_request.c.key == order.key)
    with connection.begin():
        row = connection.execute(sa.select(console_request).where(mine)).one_or_none()
        if row is not None and row.body_hash != _body_hash(order):
            raise unusable("this Idempotency-Key was used for another request; a new request needs a new one")
        if row is not None and row.run_id is not None:
            return str(row.run_id)
        is_known = row is not None or order.approval is not None
        found = reading.find_launched(connection, NONCE_TAG, nonce) if is_known else None
    if found is not None:
        # Whoever launched it was killed before he could say so, or had no answer.
        _record_end(connection, principal, order, nonce, result="launched", run_id=found)
    return found


def _check_free(console: Console, connection: sa.Connection, order: Order) -> None:
    spec, now = order.spec, console.clock()
    with connection.begin():
        held = holds.find_hold(connection, spec.location.name, spec.name, now=now)
        going = reading.read_going(connection, spec.location.name, spec.name)
    if held is not None and not order.config.get("dry_run"):
        raise conflict(
            f"{spec.key} is held by {held.held_by} until {held.until.isoformat(timespec='minutes')}: {held.reason}"
        )
    if going is not None:
        raise conflict(f"{spec.key} is queued or going already; wait for run {going}, or cancel it", run_id=going)


def _record_request(
    console: Console, connection: sa.Connection, principal: Principal, order: Order, nonce: str
) -> None:
    with connection.begin():
        old = console_request.c.at < console.clock() - REMEMBERED
        connection.execute(sa.delete(console_request).where(old))
        if order.key is not None:
            values = {"actor": principal.actor, "key": order.key, "body_hash": _body_hash(order), "at": console.clock()}
            connection.execute(insert(console_request).values(**values).on_conflict_do_nothing())
        audit.append(
            connection,
            principal,
            order.action,
            audit.Subject(order.spec.location.name, order.spec.name),
            nonce=nonce,
            reason=order.reason,
            parameters=order.told,
            result=audit.REQUESTED,
        )


def _launch(console: Console, connection: sa.Connection, order: Order, nonce: str) -> str:
    tags = {NONCE_TAG: nonce, **({PARTITION_TAG: order.partition} if order.partition else {})}
    spec = order.spec
    try:
        return console.orchestrator.launch(spec.location.name, spec.name, config=order.config, tags=tags)
    except OrchestratorUnavailableError as error:
        # The answer may have been lost, and not the request.
        with connection.begin():
            found = reading.find_launched(connection, NONCE_TAG, nonce)
        if found is not None:
            return found
        raise unavailable(f"{error}; nothing was launched as far as can be seen") from None
    except OrchestratorError as error:
        raise Problem(502, "Dagster says no", str(error)) from None


def _record_end(
    connection: sa.Connection,
    principal: Principal,
    order: Order,
    nonce: str,
    *,
    result: str,
    run_id: str | None = None,
) -> None:
    subject = audit.Subject(order.spec.location.name, order.spec.name, run_id)
    with connection.begin():
        if order.key is not None and run_id is not None:
            mine = sa.and_(console_request.c.actor == principal.actor, console_request.c.key == order.key)
            connection.execute(sa.update(console_request).where(mine).values(run_id=run_id))
        audit.append(connection, principal, order.action, subject, nonce=nonce, result=result)


def find_run(console: Console, run_id: str) -> tuple[str, str]:
    """Return location and job of a run, also of one that waits; raise a `Problem` with 404."""
    with console.reader.connect() as connection:
        rows = reading.read_run(connection, run_id)
        if rows:
            return rows[0].location, rows[0].job
        queued = reading.location_of_queued(connection, run_id)
    if queued is None:
        raise not_found("there is no such run; GET /api/v1/runs lists them")
    return queued[0], queued[1]
