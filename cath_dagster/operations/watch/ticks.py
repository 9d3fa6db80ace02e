"""Find ticks that failed, and jobs that should have run and did not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Any

import dagster as dg

from cath_dagster.core.model.ticks import Cron
from cath_dagster.core.model.ticks import ticks as foretold
from cath_dagster.operations.alerts import Alert, Kind
from cath_dagster.operations.watch.gone import alerts_of_ended, is_gone
from cath_dagster.operations.watch.look import Look, Seen
from cath_dagster.orchestration.internals.instigators import (
    InstigatorState,
    InstigatorTick,
    InstigatorType,
    ScheduleInstigatorData,
    SerializableErrorInfo,
    TickStatus,
)
from cath_dagster.orchestration.schedules import OVERLAP_SKIP
from cath_dagster.registry import all_specs

DELIVERY = "deliver_alerts"
"""The sensor that tells: that it failed cannot be told by itself, and `cath-dagster health` sees it."""
OVERLAP = timedelta(minutes=5)
"""A failed tick is written down when it ends, under the time at which it began."""
FIRST_LOOK = timedelta(hours=25)
"""How far back the first look goes for a missed tick: to the last one of a daily job."""
LONGEST_LOOK = timedelta(days=32)
"""After a longer pause the ticks themselves are gone."""


def watch_ticks(look: Look) -> Seen:
    """Look for ticks of any schedule or sensor that failed since the last look."""
    failing = look.open_problems(Kind.TICK_FAILED)
    states, gone = running(look.instance, look.now)
    found = [
        alert
        for state in states
        if state.instigator_name != DELIVERY
        for alert in _of_instigator(look, state, failing.get(key_of(state)))
    ]
    return Seen((*found, *alerts_of_ended(look, Kind.TICK_FAILED, gone)), look.now.isoformat())


def running(instance: dg.DagsterInstance, now: datetime) -> tuple[list[InstigatorState], dict[str, InstigatorState]]:
    """Return what ticks, schedules and sensors that nobody has stopped; and by key what would and is gone."""
    states = [state for state in instance.all_instigator_state() if state.is_running]
    gone = {key_of(state): state for state in states if is_gone(instance, state, now)}
    return [state for state in states if key_of(state) not in gone], gone


def key_of(state: InstigatorState) -> str:
    """Return `<location>/<schedule or sensor>`."""
    return f"{state.repository_selector.location_name}/{state.instigator_name}"


def ticks_of(instance: dg.DagsterInstance, state: InstigatorState, **limits: Any) -> list[InstigatorTick]:
    """Return the ticks of an instigator, newest first."""
    return list(instance.get_ticks(state.instigator_origin_id, state.selector_id, **limits))


def _of_instigator(look: Look, state: InstigatorState, failing_since: datetime | None) -> Iterator[Alert]:
    subject = key_of(state)
    after = (look.since - OVERLAP).timestamp()
    # One a look: a sensor that fails every 30 seconds is told once an hour, with how often it did.
    failed = ticks_of(look.instance, state, after=after, statuses=[TickStatus.FAILURE], limit=1)
    for tick in failed:
        yield Alert(
            kind=Kind.TICK_FAILED,
            subject=subject,
            occurrence=str(tick.timestamp),
            title=f"a tick of {subject} failed",
            says=(f"{error_names(tick.error)}; its message is at the tick.", _what_waits(state)),
            at=_at(tick),
            path=_path(state),
        )
    if failing_since is not None and not failed:
        well = [TickStatus.SUCCESS, TickStatus.SKIPPED]
        for tick in ticks_of(look.instance, state, after=failing_since.timestamp(), statuses=well, limit=1):
            yield Alert(
                kind=Kind.TICK_FAILED,
                subject=subject,
                occurrence=str(tick.timestamp),
                title=f"{subject} ticks again",
                says=(f"The tick at {_at(tick):%Y-%m-%d %H:%M %Z} ended well.",),
                at=look.now,
                path=_path(state),
                is_over=True,
            )


def _what_waits(state: InstigatorState) -> str:
    if state.instigator_type == InstigatorType.SCHEDULE:
        return "The run that it should have asked for was not launched; Dagster does not try a tick again later."
    return "What it watches is not watched until a tick ends well."


def error_names(error: SerializableErrorInfo | None) -> str:
    """Return the kinds of an error and of what caused it, without their messages: those may hold anything."""
    names = []
    while error is not None:
        names.append(error.cls_name or "an error")
        error = error.cause
    return ", caused by ".join(names) or "an error"


def watch_schedules(look: Look) -> Seen:
    """Look for jobs that should have run since the last look and did not, and for those that never get to it."""
    late = timedelta(minutes=look.settings.late_minutes)
    until = look.now - late
    since = datetime.fromisoformat(look.cursor) if look.cursor else look.now - FIRST_LOOK
    since = max(since, look.now - LONGEST_LOOK)
    idle = look.open_problems(Kind.DID_NOT_RUN)
    states, gone = running(look.instance, look.now)
    alerts = [
        alert
        for state in states
        if state.instigator_type == InstigatorType.SCHEDULE
        for alert in (
            *_missed(look, state, since, until),
            *_skipped(look, state),
            *_ran_again(look, state, idle.get(key_of(state))),
        )
    ]
    return Seen((*alerts, *alerts_of_ended(look, Kind.DID_NOT_RUN, gone)), until.isoformat())


def missed_ticks(
    instance: dg.DagsterInstance, state: InstigatorState, since: datetime, until: datetime
) -> list[datetime]:
    """Return the instants after `since` and up to `until` at which a schedule should have ticked and did not."""
    data = state.instigator_data
    if not isinstance(data, ScheduleInstigatorData) or data.start_timestamp is None:
        return []
    first = max(since, datetime.fromtimestamp(data.start_timestamp, UTC))
    expected = list(takewhile(lambda at: at <= until, foretold(*cron_of(state), first)))
    if not expected:
        return []
    made = {tick.timestamp for tick in ticks_of(instance, state, after=first.timestamp() - 1)}
    return [at for at in expected if at.timestamp() not in made]


def cron_of(state: InstigatorState) -> tuple[Cron, str]:
    """Return a schedule's cron and the zone it is meant in: what Dagster keeps has no zone, and may be an older cron."""
    location, name = state.repository_selector.location_name, state.instigator_name
    for spec in all_specs():
        if spec.cron and spec.location.name == location and spec.schedule_name == name:
            return spec.cron, spec.location.timezone
    data = state.instigator_data
    return (data.cron_schedule if isinstance(data, ScheduleInstigatorData) else ""), "UTC"


def _missed(look: Look, state: InstigatorState, since: datetime, until: datetime) -> Iterator[Alert]:
    missed = missed_ticks(look.instance, state, since, until)
    if not missed:
        return
    subject = key_of(state)
    several = f", and {len(missed) - 1} before it since {missed[0]:%Y-%m-%d %H:%M %Z}" if len(missed) > 1 else ""
    yield Alert(
        kind=Kind.DID_NOT_RUN,
        subject=subject,
        occurrence=missed[-1].isoformat(),
        title=f"{subject} should have run and did not",
        says=(
            f"The tick of {missed[-1]:%Y-%m-%d %H:%M %Z} was never made{several}: the daemon or the code server was away.",
            "Of missed ticks Dagster makes up for the latest alone. What is due stays due, and the next run does it.",
        ),
        at=look.now,
        path=_path(state),
    )


def _skipped(look: Look, state: InstigatorState) -> Iterator[Alert]:
    """Yield an alert where the last ticks were all skipped because a run of the job was under way."""
    count = look.settings.skipped_ticks
    ticks = ticks_of(look.instance, state, limit=count)
    reasons = [tick.tick_data.skip_reason or "" for tick in ticks if tick.status == TickStatus.SKIPPED]
    if len(reasons) < count or not all(OVERLAP_SKIP in reason for reason in reasons):
        return
    subject = key_of(state)
    yield Alert(
        kind=Kind.DID_NOT_RUN,
        subject=subject,
        occurrence=_at(ticks[0]).isoformat(),
        title=f"{subject} was skipped {count} times in a row",
        says=(f"The last time because {reasons[0]}.", "Let that run end, or terminate it: the next tick then goes on."),
        at=look.now,
        path=_path(state),
    )


def _ran_again(look: Look, state: InstigatorState, since: datetime | None) -> Iterator[Alert]:
    if since is None:
        return
    subject = key_of(state)
    for tick in ticks_of(look.instance, state, after=since.timestamp(), statuses=[TickStatus.SUCCESS], limit=1):
        yield Alert(
            kind=Kind.DID_NOT_RUN,
            subject=subject,
            occurrence=_at(tick).isoformat(),
            title=f"{subject} runs again",
            says=(f"The tick of {_at(tick):%Y-%m-%d %H:%M %Z} asked for its run.",),
            at=look.now,
            path=_path(state),
            is_over=True,
        )


def _at(tick: InstigatorTick) -> datetime:
    return datetime.fromtimestamp(tick.timestamp, UTC)


def _path(state: InstigatorState) -> str:
    selector = state.repository_selector
    kind = "schedules" if state.instigator_type == InstigatorType.SCHEDULE else "sensors"
    return f"/locations/{selector.location_name}/{kind}/{state.instigator_name}"
