"""Jobs that come after others: launched when each of those has succeeded since their own last run, in any location."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.internals.instigators import InstigatorTick, TickStatus
from cath_dagster.orchestration.states import own_name, read_states

WAITS = "waits until "
"""How the reason begins of a tick that is skipped for now, since what comes before has not succeeded."""
LATEST_RUNS = 50
"""Dry runs count for nothing; so many in a row nobody makes."""
DRY_RUN = "dry_run"


@dataclass(frozen=True)
class Standing:
    """How a job stands to those that it comes after: which are missing, and when the last of the others succeeded."""

    missing: tuple[str, ...]
    complete_at: float

    @property
    def says(self) -> str:
        """Which are missing, for people."""
        return f"{', '.join(self.missing)}: no success since the job's last run"


def standing(instance: dg.DagsterInstance, spec: JobSpec) -> Standing:
    """Look which of the jobs before it have succeeded since a job last ran."""
    last = last_run(instance, spec.key)
    since = last.create_timestamp if last is not None else None
    ended = {name: last_success(instance, name, since) for name in spec.after}
    missing = tuple(name for name, at in ended.items() if at is None)
    return Standing(missing, max((at for at in ended.values() if at is not None), default=0.0))


def why_waiting(instance: dg.DagsterInstance, spec: JobSpec, tick_at: datetime | None = None) -> str | None:
    """Return why a tick of a job is skipped, and until when it waits; None where nothing is missing."""
    if not spec.after:
        return None
    stands = standing(instance, spec)
    if not stands.missing:
        return None
    until = f"{WAITS}{tick_at + spec.after_within:%Y-%m-%d %H:%M:%S %Z} for " if tick_at is not None else "waits for "
    return f"{until}{stands.says}"


def last_run(instance: dg.DagsterInstance, key: str) -> dg.RunRecord | None:
    """Return the newest run of a job that was no dry run."""
    records = instance.get_run_records(RunsFilter(tags={QUEUE_KEY: key}), limit=LATEST_RUNS)
    return next((record for record in records if not _is_dry(record.dagster_run)), None)


def last_success(instance: dg.DagsterInstance, key: str, since: datetime | None) -> float | None:
    """Return when a job last succeeded after an instant, however it was started; None where it did not."""
    after = RunsFilter(tags={QUEUE_KEY: key}, statuses=[DagsterRunStatus.SUCCESS], updated_after=since)
    for record in instance.get_run_records(after, limit=LATEST_RUNS):
        ended = record.end_time or record.update_timestamp.timestamp()
        if not _is_dry(record.dagster_run) and (since is None or ended > since.timestamp()):
            return ended
    return None


def _is_dry(run: dg.DagsterRun) -> bool:
    return bool(run.run_config.get(DRY_RUN))


def look(
    instance: dg.DagsterInstance, specs: Sequence[JobSpec], told: dict[str, str], now: datetime
) -> Iterator[dg.RunRequest | str]:
    """Yield the runs that may begin now, and what is said of ticks that waited in vain, which `told` remembers."""
    for spec in specs:
        if spec.cron is not None:
            yield from _after_a_tick(instance, spec, told, now)
        elif spec.interval is None:
            stands = standing(instance, spec)
            if not stands.missing:
                yield _request(spec, now, f"{stands.complete_at}")


def _after_a_tick(
    instance: dg.DagsterInstance, spec: JobSpec, told: dict[str, str], now: datetime
) -> Iterator[dg.RunRequest | str]:
    tick = _last_tick(instance, spec)
    if tick is None or tick.status is not TickStatus.SKIPPED or not (tick.skip_reason or "").startswith(WAITS):
        return
    tick_at = datetime.fromtimestamp(tick.timestamp, UTC)
    last = last_run(instance, spec.key)
    if last is not None and last.create_timestamp.timestamp() >= tick.timestamp:
        return
    stands = standing(instance, spec)
    if now <= tick_at + spec.after_within:
        if not stands.missing:
            yield _request(spec, tick_at, tick_at.isoformat())
    elif told.get(spec.key) != tick_at.isoformat():
        told[spec.key] = tick_at.isoformat()
        yield f"{spec.key}: the tick of {tick_at:%Y-%m-%d %H:%M:%S %Z} is skipped after {spec.after_within}; {stands.says}"


def _last_tick(instance: dg.DagsterInstance, spec: JobSpec) -> InstigatorTick | None:
    """Return the last tick of a job's schedule, None of one that somebody has stopped: it waits no more."""
    state = read_states(instance).get(own_name(spec))
    if state is None or not state.is_running:
        return None
    made = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    return next(iter(made), None)


def _request(spec: JobSpec, as_of: datetime, once: str) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{spec.key} after {once}",
        job_name=spec.name,
        run_config={"as_of": as_of.isoformat()},
        partition_key=spec.partitions.default(as_of) if spec.partitions is not None else None,
    )


def read_told(cursor: str | None) -> dict[str, str]:
    """Return what a sensor has noted by job: it is written as JSON."""
    noted: dict[str, str] = json.loads(cursor) if cursor else {}
    return noted
