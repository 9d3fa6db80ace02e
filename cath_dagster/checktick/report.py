"""Answer for any day what the law required: which deletions were due, done, held and by whom, and overdue and why.

Read from the surveys that are there, from the records that deleted ones left, and from the ledger. Of a survey that is
there its dates are known as they stand now: a date that was moved since is not among them.
"""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile

import sqlalchemy as sa

from cath_dagster.checktick import CHECKTICK
from cath_dagster.checktick.erasure import ACTION
from cath_dagster.checktick.exempt import SAYS, Reason
from cath_dagster.checktick.retention import JOB, WARNING, is_republished
from cath_dagster.checktick.strays import Strays, find_strays
from cath_dagster.checktick.tables import audit_log, legal_hold, survey
from cath_dagster.core.extremes import instant_on_calendar, on_calendar
from cath_dagster.core.instants import as_utc, midnight
from cath_dagster.core.maintenance.tables import ledger_event, sent_notice
from cath_dagster.core.model.ticks import ticks

TIME_TO_RUN = timedelta(hours=1)
"""After a tick, before what it should have done is called overdue."""
RUNS_READ = 1_000
"""The newest ends of steps; more than a year of nights."""


class Phase(enum.StrEnum):
    SOFT = "soft"
    HARD = "hard"


STEPS = {Phase.SOFT: "soft_delete", Phase.HARD: "hard_delete"}


@dataclass(frozen=True, kw_only=True)
class Hold:
    """A legal hold, and by whose authority it was placed."""

    hold_id: int
    authority: str = field(repr=False)
    placed_by_id: int | None
    placed_at: datetime
    removed_at: datetime | None

    def is_active(self, at: datetime) -> bool:
        return self.placed_at <= at and (self.removed_at is None or self.removed_at > at)


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """One of a survey's two deletions, as it stood at the report's instant."""

    survey_id: int
    phase: Phase
    due_at: datetime
    done_at: datetime | None = None
    run_id: str | None = None
    hold: Hold | None = None
    why: str | None = None
    """Of one that is overdue: why it was not done."""
    needs_decision: bool = False
    """Whether the service's users keep it from being done, so that a person must decide."""


@dataclass(frozen=True, kw_only=True)
class RetentionReport:
    """What was required on a day, up to `at`. `due` is all of `done`, `held`, `overdue` and `waiting`.

    `waiting` became due after the last run, and is the next one's.
    """

    day: date
    at: datetime
    tick: datetime
    """The last run's time by the schedule: what was due then and is not done is overdue."""
    done: tuple[Deletion, ...]
    held: tuple[Deletion, ...]
    overdue: tuple[Deletion, ...]
    waiting: tuple[Deletion, ...]
    warnings: dict[str, int]
    """Warnings that were sent on that day, by tier and by what became of them."""
    strays: Strays
    """Surveys that the dates miss, as they stand now."""

    @property
    def due(self) -> tuple[Deletion, ...]:
        return (*self.done, *self.held, *self.overdue, *self.waiting)

    @property
    def alerts(self) -> tuple[Deletion, ...]:
        """Overdue deletions that nothing holds."""
        return tuple(deletion for deletion in self.overdue if not deletion.needs_decision)

    @property
    def undecided(self) -> tuple[Deletion, ...]:
        """Overdue deletions that wait for a person's decision."""
        return tuple(deletion for deletion in self.overdue if deletion.needs_decision)


@dataclass(frozen=True, kw_only=True)
class _Life:
    """A survey's dates, from its row or from the record that it left."""

    survey_id: int
    deletion_date: datetime | None
    soft_deleted_at: datetime | None
    hard_deletion_date: datetime | None
    hard_deleted_at: datetime | None = None
    run_id: str | None = None
    is_closed: bool = True
    is_republished: bool = False
    holds: tuple[Hold, ...] = ()

    def deletions(self) -> Iterable[Deletion]:
        """Yield the deletions that the survey's dates ask for."""
        if self.deletion_date is not None:
            yield Deletion(
                survey_id=self.survey_id, phase=Phase.SOFT, due_at=self.deletion_date, done_at=self.soft_deleted_at
            )
        hard = self.hard_deletion_date or self.soft_deleted_at
        if self.soft_deleted_at is not None and hard is not None:
            yield Deletion(
                survey_id=self.survey_id,
                phase=Phase.HARD,
                due_at=hard,
                done_at=self.hard_deleted_at,
                run_id=self.run_id,
            )

    def reason(self, phase: Phase) -> Reason | None:
        """Return which rule keeps the survey, other than a hold."""
        if phase is Phase.HARD and self.hard_deletion_date is None:
            return Reason.UNDATED
        if not self.is_closed:
            return Reason.NEVER_CLOSED
        return Reason.REPUBLISHED if self.is_republished else None


@dataclass(frozen=True, kw_only=True)
class _End:
    """How a step of a run ended."""

    run_id: str
    step: str
    as_of: datetime
    outcome: str
    failed_ids: frozenset[str]
    skipped: int


def last_tick(cron: str | None, at: datetime) -> datetime:
    """Return when the schedule last ticked long enough before an instant for its run to have ended.

    Without a schedule, or a tick, a run may have been made at any time, so that the latest such instant counts.
    """
    latest = as_utc(at) - TIME_TO_RUN
    foretold = ticks(cron, CHECKTICK.timezone, latest - timedelta(days=32)) if cron else ()
    made = list(takewhile(lambda tick: tick <= latest, foretold))
    return made[-1] if made else latest


def read_report(connection: sa.Connection, *, day: date, at: datetime, tick: datetime) -> RetentionReport:
    """Return what was required on a day, as it stood at an instant of it, in the caller's transaction."""
    start = midnight(day)
    lives = [*_living(connection, at), *_dead(connection, start)]
    ends = _ends(connection, at)
    found: dict[str, list[Deletion]] = {"done": [], "held": [], "overdue": [], "waiting": []}
    for life in lives:
        for deletion in life.deletions():
            kind, exempt = _judge(life, deletion, ends, start=start, at=at, tick=tick)
            if kind:
                found[kind].append(exempt)
    for deletions in found.values():
        deletions.sort(key=lambda each: (each.due_at, each.survey_id, each.phase))
    return RetentionReport(
        day=day,
        at=at,
        tick=tick,
        done=tuple(found["done"]),
        held=tuple(found["held"]),
        overdue=tuple(found["overdue"]),
        waiting=tuple(found["waiting"]),
        warnings=_warnings(connection, start, at),
        strays=find_strays(connection),
    )


def _judge(
    life: _Life, deletion: Deletion, ends: Sequence[_End], *, start: datetime, at: datetime, tick: datetime
) -> tuple[str, Deletion]:
    """Return under which heading of the report a deletion falls, "" if under none, with what is said of it there."""
    if deletion.done_at is not None and deletion.done_at <= at:
        return ("done" if deletion.done_at >= start else ""), deletion
    if deletion.due_at > at or not _existed(life, deletion, at):
        return "", deletion
    open_still = replace(deletion, done_at=None, run_id=None)
    hold = next((hold for hold in life.holds if hold.is_active(at)), None)
    if hold is not None:
        return "held", replace(open_still, hold=hold)
    reason = life.reason(deletion.phase)
    if reason is not None:
        return "overdue", replace(open_still, why=SAYS[reason], needs_decision=reason is Reason.REPUBLISHED)
    if deletion.due_at > tick:
        return "waiting", open_still
    return "overdue", replace(open_still, why=_why(deletion, ends))


def _existed(life: _Life, deletion: Deletion, at: datetime) -> bool:
    """Return whether a hard deletion was already asked for at an instant: the soft one comes before it."""
    return deletion.phase is Phase.SOFT or (life.soft_deleted_at is not None and life.soft_deleted_at <= at)


def _why(deletion: Deletion, ends: Sequence[_End]) -> str:
    """Return why a deletion that no rule keeps was not done, by the newest run that should have done it."""
    if deletion.done_at is not None:
        return f"it was late, and done on {deletion.done_at:%Y-%m-%d}"
    tried = [end for end in ends if end.as_of >= deletion.due_at]
    if not tried:
        return "no run has ended since it was due"
    newest = next((end for end in tried if end.step == STEPS[deletion.phase]), tried[0])
    if str(deletion.survey_id) in newest.failed_ids:
        return f"run {newest.run_id} tried and failed"
    if newest.step != STEPS[deletion.phase] or newest.outcome not in ("success", "failed"):
        return f"run {newest.run_id} ended {newest.outcome} before it came to it"
    if newest.skipped:
        return f"run {newest.run_id} was told to stop before it, by max_rows"
    return f"run {newest.run_id} did not take it; it became due, or was released, since"


def _living(connection: sa.Connection, at: datetime) -> Iterable[_Life]:
    query = (
        sa.select(
            *(survey.c.id, survey.c.closed_at.is_not(None).label("was_closed")),
            *map(_dated, (survey.c.deletion_date, survey.c.deleted_at, survey.c.hard_deletion_date)),
            is_republished().label("is_republished"),
            *(legal_hold.c.id.label("hold_id"), legal_hold.c.authority, legal_hold.c.placed_by_id),
            *map(_dated, (legal_hold.c.placed_at, legal_hold.c.removed_at)),
        )
        .outerjoin(legal_hold, legal_hold.c.survey_id == survey.c.id)
        .where(sa.or_(survey.c.deletion_date <= at, survey.c.deleted_at.is_not(None)))
    )
    for row in connection.execute(query):
        hold = (
            Hold(
                hold_id=row.hold_id,
                authority=row.authority,
                placed_by_id=row.placed_by_id,
                placed_at=row.placed_at,
                removed_at=row.removed_at,
            )
            if row.hold_id is not None
            else None
        )
        yield _Life(
            survey_id=row.id,
            deletion_date=row.deletion_date,
            soft_deleted_at=row.deleted_at,
            hard_deletion_date=row.hard_deletion_date,
            is_closed=row.was_closed or row.deleted_at is not None,
            is_republished=row.is_republished,
            holds=(hold,) if hold else (),
        )


def _dated(column: sa.Column[datetime]) -> sa.ColumnElement[datetime]:
    return on_calendar(column).label(column.name)


def _dead(connection: sa.Connection, start: datetime) -> Iterable[_Life]:
    """Yield the surveys that were deleted for good on the day or later, by the records that they left."""
    query = sa.select(audit_log.c.metadata, on_calendar(audit_log.c.created_at)).where(
        audit_log.c.action == ACTION, audit_log.c.survey_id.is_(None), audit_log.c.created_at >= start
    )
    for record, deleted_at in connection.execute(query):
        yield _Life(
            survey_id=record["survey_id"],
            deletion_date=_instant(record["deletion_date"]),
            soft_deleted_at=_instant(record["soft_deleted_at"]),
            hard_deletion_date=_instant(record["hard_deletion_date"]),
            hard_deleted_at=deleted_at,
            run_id=record["run_id"],
            holds=tuple(
                Hold(
                    hold_id=hold["hold_id"],
                    authority=hold["authority"],
                    placed_by_id=hold["placed_by_id"],
                    placed_at=instant_on_calendar(hold["placed_at"]),
                    removed_at=_instant(hold["removed_at"]),
                )
                for hold in record["released_holds"]
            ),
        )


def _instant(text: str | None) -> datetime | None:
    return instant_on_calendar(text) if text else None


def _ends(connection: sa.Connection, at: datetime) -> list[_End]:
    """Return how the steps of the job's runs ended, the newest first."""
    event = ledger_event.c
    query = (
        sa.select(event.run_id, event.step, event.as_of, event.outcome, event.details, event.skipped)
        .where(event.job == JOB, event.kind == "finished", ~event.dry_run, event.as_of <= at)
        .where(event.table_name.in_((survey.name, "mail")))
        .order_by(event.event_id.desc())
        .limit(RUNS_READ)
    )
    return [
        _End(
            run_id=row.run_id,
            step=row.step,
            as_of=row.as_of,
            outcome=row.outcome,
            failed_ids=frozenset(
                key
                for name, ids in (row.details or {}).items()
                if name in ("not_soft_deleted_ids", "not_hard_deleted_ids")
                for key in ids
            ),
            skipped=row.skipped,
        )
        for row in connection.execute(query)
    ]


def _warnings(connection: sa.Connection, start: datetime, at: datetime) -> dict[str, int]:
    tier = sa.func.replace(sent_notice.c.kind, WARNING, "")
    query = (
        sa.select(tier, sent_notice.c.status, sa.func.count())
        .where(sent_notice.c.job == JOB, sent_notice.c.sent_at >= start, sent_notice.c.sent_at <= at)
        .group_by(tier, sent_notice.c.status)
        .order_by(sa.cast(tier, sa.Integer).desc(), sent_notice.c.status)
    )
    return {f"{days} days, {status}": count for days, status, count in connection.execute(query)}


def day_of(text: str | None, now: datetime) -> tuple[date, datetime]:
    """Return a day and the instant of it up to which there is something to report, today and now if it is not given.

    Raises `ValueError` for what is no day, or one to come.
    """
    today = as_utc(now).astimezone(UTC).date()
    day = date.fromisoformat(text) if text else today
    if day > today:
        raise ValueError(f"{day} is yet to come")
    return day, min(now, midnight(day) + timedelta(days=1) - timedelta(microseconds=1))
