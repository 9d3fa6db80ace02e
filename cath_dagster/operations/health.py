"""Look at the instance: what would keep its jobs from running, or its operators from hearing of it.

Everything here is read from Dagster's storage or asked of the code servers. It needs no daemon, so that it also sees
that there is none.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
import sqlalchemy as sa
from dagster import DagsterRunStatus, RunsFilter

from cath_dagster.core.errors import SchemaNotCurrentError
from cath_dagster.core.maintenance.tables import check_current
from cath_dagster.core.model.finding import Finding, Level
from cath_dagster.core.model.ticks import next_tick
from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.core.postgres.database import Database
from cath_dagster.operations import OPERATIONS
from cath_dagster.operations.alerts import AlertSettings
from cath_dagster.operations.patience import Patience
from cath_dagster.operations.store import KEPT_TRYING, AlertStore
from cath_dagster.operations.watch.gone import is_known, is_ours, last_ticked_at
from cath_dagster.operations.watch.runs import job_key
from cath_dagster.operations.watch.ticks import cron_of, error_names, key_of, missed_ticks, running, ticks_of
from cath_dagster.orchestration.internals.code_servers import (
    CodeLocationOrigin,
    DagsterUserCodeUnreachableError,
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    sync_list_repositories_grpc,
)
from cath_dagster.orchestration.internals.instigators import InstigatorState, InstigatorType, TickStatus
from cath_dagster.registry import all_specs, locations

WAITING = [DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING]
LOOK_BACK = timedelta(hours=2)
"""For missed ticks: what is older was told by an alert, and a probe should not be red for it until tomorrow."""
MAX_SKEW = timedelta(seconds=10)
"""Cutoffs are days; what ten seconds tell is that nobody keeps the clocks, and ticks may then come twice or late."""
LONGEST_REST = timedelta(minutes=10)
"""Between two ticks of a sensor of ours."""
UNREACHABLE = "its code server does not answer"
SLACK = timedelta(hours=1)
"""Beyond a job's longest runtime, before the holder of its lock counts as forgotten."""


def look_from_outside(
    instance: dg.DagsterInstance, database: Database, settings: AlertSettings, now: datetime
) -> Iterator[Finding]:
    """Yield what a probe wants to know: daemons, ticks, runs that wait, alerts that nobody was told."""
    yield from find_heartbeats(instance, settings, now)
    yield from find_late_ticks(instance, settings, now)
    yield from find_waiting_runs(instance, settings, now)
    yield from find_untold_alerts(database, settings, now)


def find_heartbeats(instance: dg.DagsterInstance, settings: AlertSettings, now: datetime) -> Iterator[Finding]:
    """Yield a finding for each daemon that the instance needs."""
    beats = instance.get_daemon_heartbeats()
    for kind in sorted(instance.get_required_daemon_types()):
        subject, beat = f"daemon {kind.lower()}", beats.get(kind)
        if beat is None:
            yield Finding(subject=subject, level=Level.PROBLEM, message="never beat", remedy="start dagster-daemon run")
            continue
        age = now.timestamp() - beat.timestamp
        if age > settings.heartbeat_seconds:
            yield Finding(
                subject=subject,
                level=Level.PROBLEM,
                message=f"last beat {_duration(age)} ago, {settings.heartbeat_seconds} s are allowed",
                remedy="look at the daemon's log, and start it again: dagster-daemon run",
            )
        elif beat.errors:
            names = ", ".join(error_names(error) for error in beat.errors)
            yield Finding(
                subject=subject, level=Level.WARNING, message=f"beats, with errors: {names}", remedy="look at its log"
            )
        else:
            yield Finding(subject=subject, level=Level.OK, message=f"beat {max(0, round(age))} s ago")


def find_late_ticks(instance: dg.DagsterInstance, settings: AlertSettings, now: datetime) -> Iterator[Finding]:
    """Yield a finding for each schedule or sensor that ticks late, or whose last tick failed."""
    (states, gone), wrong = running(instance, now), 0
    for state in states:
        says = (
            _missed(instance, state, settings, now)
            or _failed(instance, state)
            or _silent(instance, state, settings, now)
        )
        if says is not None:
            wrong += 1
            yield Finding(
                subject=f"ticks {key_of(state)}",
                level=Level.PROBLEM,
                message=says,
                remedy="look at the ticks of its page, and at the logs of the daemon and the code server",
            )
    stopped = [each for each in instance.all_instigator_state() if not each.is_running and is_known(each)]
    silent = sorted(key_of(each) for each in stopped if each.instigator_type != InstigatorType.SCHEDULE)
    if silent:
        yield Finding(
            subject="sensors",
            level=Level.WARNING,
            message=f"stopped by somebody, so that what they watch for is told to nobody: {', '.join(silent)}",
            remedy="start them in the UI",
        )
    if not states:
        yield Finding(
            subject="ticks",
            level=Level.WARNING,
            message="no schedule and no sensor runs",
            remedy="start them in the UI, or look whether the code locations load",
        )
    elif not wrong:
        yield Finding(
            subject="ticks", level=Level.OK, message=f"{len(states)} schedules and sensors tick in time{_idle(stopped)}"
        )

    if gone:
        # Of another's location nobody can tell whether it has it no more or does not load.
        level = Level.OK if all(is_ours(state) for state in gone.values()) else Level.WARNING
        yield Finding(
            subject="ticks gone", level=level, message=f"in no code location any more: {', '.join(sorted(gone))}"
        )


def _idle(stopped: Sequence[InstigatorState]) -> str:
    names = sorted(key_of(each) for each in stopped)
    return f"; stopped by somebody: {', '.join(names)}" if names else ""


def _silent(instance: dg.DagsterInstance, state: InstigatorState, settings: AlertSettings, now: datetime) -> str | None:
    """Return what is wrong with one that does not tick at all: a location that does not load, say."""
    if state.instigator_type == InstigatorType.SCHEDULE:
        cron, timezone = cron_of(state)
        return None if next_tick(cron, timezone, now) else f"its cron, {cron}, names no date that ever comes"
    last = last_ticked_at(instance, state) if is_known(state) else None
    if last is None or now - last <= timedelta(minutes=settings.late_minutes) + LONGEST_REST:
        return None
    return f"it last ticked at {last:%Y-%m-%d %H:%M %Z}"


def _missed(instance: dg.DagsterInstance, state: InstigatorState, settings: AlertSettings, now: datetime) -> str | None:
    if state.instigator_type != InstigatorType.SCHEDULE:
        return None
    until = now - timedelta(minutes=settings.late_minutes)
    missed = missed_ticks(instance, state, now - LOOK_BACK, until)
    last = last_ticked_at(instance, state)
    if missed and last is not None and last > missed[-1]:
        # It was away and ticks again, which an alert has told.
        return None
    return f"the tick of {missed[-1]:%Y-%m-%d %H:%M %Z} was never made" if missed else None


def _failed(instance: dg.DagsterInstance, state: InstigatorState) -> str | None:
    ended = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
    for tick in ticks_of(instance, state, statuses=ended, limit=1):
        if tick.status == TickStatus.FAILURE:
            at = datetime.fromtimestamp(tick.timestamp, UTC)
            return f"the last tick, at {at:%Y-%m-%d %H:%M %Z}, failed: {error_names(tick.error)}"
    return None


def find_waiting_runs(instance: dg.DagsterInstance, settings: AlertSettings, now: datetime) -> Iterator[Finding]:
    """Yield a finding for runs that wait for long, and for those that run for longer than their job may."""
    waiting = instance.get_run_records(RunsFilter(statuses=WAITING))
    old = [one for one in waiting if now - one.create_timestamp > timedelta(minutes=settings.late_minutes)]
    # A run that waits for another of its job waits by design.
    going = {one.tags.get(QUEUE_KEY) for one in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))}
    stuck = [one for one in old if one.dagster_run.tags.get(QUEUE_KEY) not in going - {None}]
    if stuck:
        oldest = min(stuck, key=lambda one: one.create_timestamp)
        yield Finding(
            subject="queue",
            level=Level.PROBLEM,
            message=f"{len(stuck)} runs wait and nothing goes on, the oldest ({job_key(oldest.dagster_run)}, run "
            f"{oldest.dagster_run.run_id}) for {_duration((now - oldest.create_timestamp).total_seconds())}",
            remedy="look at the daemon's log and at the run's",
        )
    else:
        yield Finding(subject="queue", level=Level.OK, message=f"{len(waiting)} runs wait, none for too long")
    limits = {spec.key: spec.timeout for spec in all_specs()}
    for record in instance.get_run_records(RunsFilter(statuses=[DagsterRunStatus.STARTED])):
        limit = limits.get(job_key(record.dagster_run))
        if limit is None or record.start_time is None:
            continue
        seconds = now.timestamp() - record.start_time
        if seconds > (limit + SLACK).total_seconds():
            yield Finding(
                subject=f"run {record.dagster_run.run_id}",
                level=Level.PROBLEM,
                message=f"{job_key(record.dagster_run)} runs for {_duration(seconds)}, {limit} are allowed",
                remedy="terminate it in the UI; the next run goes on where it stopped",
            )


def find_untold_alerts(database: Database, settings: AlertSettings, now: datetime) -> Iterator[Finding]:
    """Yield whether operators are told."""
    if not settings.channels:
        yield Finding(
            subject="alerts",
            level=Level.WARNING,
            message="no channel: alerts are recorded and nobody is told",
            remedy=f"set {OPERATIONS.prefix}_ALERT_URLS",
        )
        return
    try:
        database.transaction(
            lambda connection: check_current(connection, location=OPERATIONS.name, revision=OPERATIONS.revision)
        )
    except SchemaNotCurrentError as error:
        yield Finding(
            subject="alerts", level=Level.PROBLEM, message=f"no sensor of {OPERATIONS.name} ever ran: {error}"
        )
        return
    store = AlertStore(database)
    given_up = store.given_up(now=now)
    if given_up is not None:
        yield Finding(
            subject="alerts given up",
            level=Level.PROBLEM,
            message=f"{given_up.count} messages did not reach every channel in {KEPT_TRYING.days} days and are tried no more, the "
            f"newest of {given_up.newest_at:%Y-%m-%d %H:%M %Z}",
            remedy="read them: SELECT raised_at, title, says, last_error FROM maintenance.alert WHERE settled_at IS NULL; "
            "then: cath-dagster health --acknowledge",
        )
    backlog = store.backlog(now=now)
    late = timedelta(minutes=settings.late_minutes)
    unsealed = store.oldest_unsealed(now=now)
    # One may wait for the interval of its fingerprint, and no longer.
    if unsealed is not None and now - unsealed > late + timedelta(minutes=settings.alert_interval_minutes):
        yield Finding(
            subject="alerts untold",
            level=Level.PROBLEM,
            message=f"nobody has tried to tell what was found, the oldest of {unsealed:%Y-%m-%d %H:%M %Z}",
            remedy="look whether the sensor deliver_alerts is started, and at its ticks",
        )
    if backlog.oldest_at is not None and now - backlog.oldest_at > late:
        why = f": {backlog.last_error}" if backlog.last_error else ""
        yield Finding(
            subject="alerts",
            level=Level.PROBLEM,
            message=f"{backlog.waiting} not told to every channel, the oldest of {backlog.oldest_at:%Y-%m-%d %H:%M %Z}, "
            f"after {backlog.attempts} attempts{why}",
            remedy="look at the ticks of the sensor deliver_alerts",
        )
    else:
        yield Finding(subject="alerts", level=Level.OK, message=f"{len(settings.channels)} channels, nothing is late")


def find_code_locations(
    instance: dg.DagsterInstance, settings: AlertSettings, patience: Patience | None = None
) -> Iterator[Finding]:
    """Yield a finding for each code location that should load: asked of its code server, as the daemon does.

    A server that does not answer may be about to: it is asked again while there is patience.
    """
    patience = patience or Patience()
    known = {origin.location_name: origin for origin in _origins(instance)}
    ours = [name for name in (location.name for location in locations()) if name in known]
    for name in settings.locations.split() or ours:
        subject = f"code location {name}"
        if name not in known:
            yield Finding(subject=subject, level=Level.PROBLEM, message="never loaded in this instance")
            continue
        origin = known[name]
        if isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin):
            says = "not looked at: the daemon itself starts its server, at an address of its own"
            yield Finding(subject=subject, level=Level.OK, message=says)
            continue
        error = patience.ask(partial(_load, instance, origin), lambda error: error == UNREACHABLE)
        if error is None:
            yield Finding(subject=subject, level=Level.OK, message="loads")
        else:
            yield Finding(
                subject=subject,
                level=Level.PROBLEM,
                message=f"does not load: {error}",
                remedy="look at its code server's log; its schedules do not tick meanwhile",
            )


def _origins(instance: dg.DagsterInstance) -> Sequence[CodeLocationOrigin]:
    """Return where code locations were last loaded from, by the schedules and sensors they have."""
    states = instance.all_instigator_state()
    return [state.origin.repository_origin.code_location_origin for state in states]


def _load(instance: dg.DagsterInstance, origin: CodeLocationOrigin) -> str | None:
    """Return why a location does not load, None if it does; of an error its kind alone."""
    try:
        if isinstance(origin, GrpcServerCodeLocationOrigin):
            sync_list_repositories_grpc(origin.create_client())
        else:
            origin.create_location(instance).cleanup()
    except DagsterUserCodeUnreachableError:
        return UNREACHABLE
    except Exception as error:  # noqa: BLE001 - whatever the location's own code raises
        return type(error).__name__
    return None


def find_clock_skew(database: Database) -> Finding:
    """Return how far this machine's clock and the database's are apart, beyond what the question took."""
    before = datetime.now(UTC)
    theirs: datetime = database.transaction(
        lambda connection: connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    )
    after = datetime.now(UTC)
    skew = max(before - theirs, theirs - after, timedelta())
    if skew > MAX_SKEW:
        return Finding(
            subject="clock",
            level=Level.PROBLEM,
            message=f"this machine and the database are {skew.total_seconds():.0f} s apart",
            remedy="let both keep their time by NTP",
        )
    return Finding(subject="clock", level=Level.OK, message="agrees with the database's")


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
