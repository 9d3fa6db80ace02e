"""Write what becomes of a run, and with it what all runs of its job add up to.

Every function works in the caller's transaction, and may be repeated: what a run adds to its job's totals is taken back
before its row changes, and added again from what the row then says. The job's row is locked first, always.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from cath_dagster.core.history.tables import RUNNING, SCHEMA, SKIPPED, scheduled_job, scheduled_job_history

COMMAND_LINE = "command line"
"""Where, in the audit log, who asked by `cath-dagster scheduler` was."""
FAILURES = ("failed", "timeout")
"""What counts as a failure; a run that was refused or cancelled is none."""
_Row = sa.Row[Any]
_HISTORY = scheduled_job_history
_OF_RUN = "history_of_run"
_AUDIT = sa.table(
    "audit_log", *(sa.column(name, sa.Text) for name in ("nonce", "actor", "origin", "location", "job")), schema=SCHEMA
)
"""The console's; it is there once the console's migration has run."""


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What is known of an attempt of a run when it begins; `parameters` are plain."""

    location: str
    job: str
    run_id: str
    trigger: str
    started_at: datetime
    attempt: int = 1
    actor: str | None = None
    nonce: str | None = None
    dry_run: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    is_continued: bool = False
    """Whether it is a later step of a run, which goes on with the last attempt that there is, whatever its own number."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of it; `error` and `outcomes` are plain."""

    status: str
    completed_at: datetime
    error: str | None = None
    outcomes: Sequence[Mapping[str, Any]] = ()


def begin(connection: sa.Connection, begun: Begun) -> None:
    """Write that an attempt is under way; one that was taken for lost is under way again."""
    _hold(connection, begun.location, begun.job)
    _take_back(connection, begun)
    if begun.is_continued:
        begun = replace(begun, attempt=_last_attempt(connection, begun) + 1)
    row = insert(_HISTORY).values(**_values(_attributed(connection, begun)), status=RUNNING)
    again: dict[str, Any] = {
        "status": RUNNING,
        "completed_at": None,
        "duration_ms": None,
        "error": None,
        "outcomes": [],
    }
    connection.execute(row.on_conflict_do_update(constraint=_OF_RUN, set_=again))


def note(connection: sa.Connection, begun: Begun, ended: Ended) -> None:
    """Write what one step of a run did that goes on with the next; an error of it is the run's in the end."""
    _hold(connection, begun.location, begun.job)
    new = _inserted(_placed(connection, begun), ended, status=RUNNING)
    later = {"outcomes": _joined(new), "error": sa.func.coalesce(_HISTORY.c.error, new.excluded.error)}
    connection.execute(new.on_conflict_do_update(constraint=_OF_RUN, set_=later, where=_HISTORY.c.status == RUNNING))


def end(connection: sa.Connection, begun: Begun, ended: Ended, *, expected: str | None = None) -> bool:
    """Write what became of an attempt, whether it was written before that it began or not; return whether it is.

    A run of several steps whose last went well has failed where an earlier one had. Where a status is `expected`, nothing is
    written over another one.
    """
    job = _hold(connection, begun.location, begun.job)
    begun = _placed(connection, begun)
    if expected is not None and _status(connection, begun) != expected:
        return False
    _take_back(connection, begun)
    new = _inserted(_attributed(connection, begun), ended, status=ended.status)
    step_failed = sa.and_(_HISTORY.c.status == RUNNING, _HISTORY.c.error.is_not(None), new.excluded.status == "success")
    final = {
        "status": sa.case((step_failed, "failed"), else_=new.excluded.status),
        "error": sa.case((step_failed, _HISTORY.c.error), else_=new.excluded.error),
        "completed_at": new.excluded.completed_at,
        "duration_ms": _milliseconds(_HISTORY.c.started_at, new.excluded.completed_at),
        "outcomes": _joined(new),
    }
    connection.execute(new.on_conflict_do_update(constraint=_OF_RUN, set_=final))
    _count(connection, job, begun)
    return True


def skip(connection: sa.Connection, begun: Begun, reason: str) -> bool:
    """Write that a tick asked for no run, and why; return whether it is new.

    Of ticks in a row that were skipped for one reason the first has a row, which counts them. `begun` has the tick's time;
    its run id and attempt are left out. Ticks are told in their order.
    """
    at = begun.started_at
    _hold(connection, begun.location, begun.job)
    of_job = sa.and_(_HISTORY.c.location == begun.location, _HISTORY.c.job == begun.job)
    newest_first = (_HISTORY.c.started_at.desc(), _HISTORY.c.id.desc())
    known = sa.select(_HISTORY.c.id).where(
        of_job, _HISTORY.c.status == SKIPPED, _HISTORY.c.started_at <= at, _HISTORY.c.completed_at >= at
    )
    if connection.scalar(known.order_by(*newest_first).limit(1)) is not None:
        return False
    before = sa.select(_HISTORY).where(of_job, _HISTORY.c.started_at <= at).order_by(*newest_first).limit(1)
    last = connection.execute(before).one_or_none()
    if last is not None and (last.status, last.error) == (SKIPPED, reason):
        more = {"skipped_ticks": _HISTORY.c.skipped_ticks + 1, "completed_at": at}
        connection.execute(sa.update(_HISTORY).where(_HISTORY.c.id == last.id).values(**more))
        return True
    values = _values(begun) | {"run_id": None, "status": SKIPPED, "completed_at": at, "skipped_ticks": 1}
    connection.execute(insert(_HISTORY).values(**values, error=reason))
    return True


def miss(connection: sa.Connection, location: str, job: str, after: datetime, count: int) -> bool:
    """Write on the first row of a job from an instant on how many ticks before it nobody made; return whether that is new."""
    first = (
        sa.select(_HISTORY.c.id)
        .where(_HISTORY.c.location == location, _HISTORY.c.job == job, _HISTORY.c.started_at >= after)
        .order_by(_HISTORY.c.started_at, _HISTORY.c.id)
        .limit(1)
    )
    told = sa.update(_HISTORY).where(_HISTORY.c.id == first.scalar_subquery(), _HISTORY.c.missed_ticks != count)
    return bool(connection.execute(told.values(missed_ticks=count)).rowcount)


def _hold(connection: sa.Connection, location: str, job: str) -> _Row:
    """Return the job's row, locked; made now where a run comes before its registration."""
    connection.execute(insert(scheduled_job).values(location=location, name=job).on_conflict_do_nothing())
    of_job = sa.and_(scheduled_job.c.location == location, scheduled_job.c.name == job)
    # Rows of the history refer to it, and may be written meanwhile by others.
    return connection.execute(sa.select(scheduled_job).where(of_job).with_for_update(key_share=True)).one()


def _of_run(begun: Begun) -> sa.ColumnElement[bool]:
    return sa.and_(
        _HISTORY.c.run_id == begun.run_id, _HISTORY.c.location == begun.location, _HISTORY.c.job == begun.job
    )


def _attempts(connection: sa.Connection, begun: Begun) -> Sequence[_Row]:
    return connection.execute(sa.select(_HISTORY).where(_of_run(begun)).order_by(_HISTORY.c.attempt)).all()


def _status(connection: sa.Connection, begun: Begun) -> str | None:
    found = sa.select(_HISTORY.c.status).where(_of_run(begun), _HISTORY.c.attempt == begun.attempt)
    return connection.scalar(found)


def _placed(connection: sa.Connection, begun: Begun) -> Begun:
    return replace(begun, attempt=max(1, _last_attempt(connection, begun))) if begun.is_continued else begun


def _last_attempt(connection: sa.Connection, begun: Begun) -> int:
    return connection.scalar(sa.select(sa.func.max(_HISTORY.c.attempt)).where(_of_run(begun))) or 0


def _take_back(connection: sa.Connection, begun: Begun) -> None:
    """Take what the run added to the totals out of them."""
    attempts = _attempts(connection, begun)
    for row in attempts:
        if row.counted:
            _add(connection, begun, _share(attempts[0], row), sign=-1)
            connection.execute(sa.update(_HISTORY).where(_HISTORY.c.id == row.id).values(counted=False))


def _count(connection: sa.Connection, job: _Row, begun: Begun) -> None:
    """Add the run to the totals by its last attempt, and tell it as the job's last; a dry run is neither."""
    attempts = _attempts(connection, begun)
    last = attempts[-1]
    if last.dry_run or last.status in (RUNNING, SKIPPED):
        return
    share = _share(attempts[0], last)
    connection.execute(sa.update(_HISTORY).where(_HISTORY.c.id == last.id).values(counted=True))
    is_newest = job.last_run_at is None or job.last_run_at <= attempts[0].started_at
    told = {
        "last_run_at": attempts[0].started_at,
        "last_run_id": last.run_id,
        "last_status": last.status,
        "last_error": last.error,
        "last_duration_ms": share[-1],
    }
    _add(connection, begun, share, sign=1, told=told if is_newest else {})


def _share(first: _Row, last: _Row) -> tuple[int, int, int]:
    """Return what a run adds to the totals: itself, a failure, and its milliseconds from the first attempt's start on."""
    seconds = (last.completed_at - first.started_at).total_seconds()
    return 1, int(last.status in FAILURES), max(0, round(1_000 * seconds))


def _add(
    connection: sa.Connection,
    begun: Begun,
    share: tuple[int, int, int],
    *,
    sign: int,
    told: Mapping[str, Any] | None = None,
) -> None:
    names = ("total_runs", "total_failures", "total_duration_ms")
    more = {name: scheduled_job.c[name] + sign * value for name, value in zip(names, share, strict=True)}
    connection.execute(_update_job(begun).values(**more, **(told or {}), updated_at=sa.func.now()))


def _update_job(begun: Begun) -> sa.Update:
    return sa.update(scheduled_job).where(scheduled_job.c.location == begun.location, scheduled_job.c.name == begun.job)


def _attributed(connection: sa.Connection, begun: Begun) -> Begun:
    """Return a run that claims to come from the console or our command line with who asked for it, if the audit log knows.

    A nonce is good for one run: those that are launched again have the tags of the first.
    """
    if begun.nonce is None or connection.scalar(sa.select(sa.func.to_regclass(f"{SCHEMA}.audit_log"))) is None:
        return begun
    used = sa.select(_HISTORY.c.id).where(_HISTORY.c.nonce == begun.nonce, _HISTORY.c.run_id != begun.run_id).limit(1)
    if connection.scalar(used) is not None:
        return replace(begun, nonce=None)
    asked = sa.select(_AUDIT.c.actor, _AUDIT.c.origin).where(
        _AUDIT.c.nonce == begun.nonce, _AUDIT.c.location == begun.location, _AUDIT.c.job == begun.job
    )
    found = connection.execute(asked.limit(1)).one_or_none()
    if found is None:
        return begun
    return replace(begun, trigger="cli" if found.origin == COMMAND_LINE else "api", actor=found.actor)


def _values(begun: Begun) -> dict[str, Any]:
    return {
        "location": begun.location,
        "job": begun.job,
        "run_id": begun.run_id,
        "attempt": begun.attempt,
        "trigger": begun.trigger,
        "actor": begun.actor,
        "nonce": begun.nonce,
        "dry_run": begun.dry_run,
        "started_at": begun.started_at,
        "parameters": dict(begun.parameters),
    }


def _inserted(begun: Begun, ended: Ended, *, status: str) -> Any:
    is_over = status != RUNNING
    return insert(_HISTORY).values(
        **_values(begun),
        status=status,
        completed_at=ended.completed_at if is_over else None,
        duration_ms=_milliseconds(begun.started_at, ended.completed_at) if is_over else None,
        error=ended.error,
        outcomes=[dict(each) for each in ended.outcomes],
    )


def _joined(new: Any) -> sa.ColumnElement[Any]:
    return _HISTORY.c.outcomes.op("||", return_type=JSONB())(new.excluded.outcomes)


def _milliseconds(start: Any, end: Any) -> sa.ColumnElement[int]:
    instant = sa.DateTime(timezone=True)
    took = sa.extract("epoch", sa.cast(end, instant) - sa.cast(start, instant))
    return sa.cast(sa.func.greatest(0, sa.func.round(1_000 * took)), sa.BigInteger)
