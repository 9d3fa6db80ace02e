"""Find runs that failed or were refused, one alert for a chain of retries, and jobs that work again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
from dagster import DagsterEventType, DagsterRunStatus, RunsFilter

from cath_dagster.core.model.outcome import Status
from cath_dagster.core.model.schedule import NO_SCHEDULE
from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.operations.alerts import Alert, Kind
from cath_dagster.operations.watch.look import Look, Seen
from cath_dagster.registry import spec_of

WILL_RETRY, RETRY_RUN, RETRY_NUMBER = "dagster/will_retry", "dagster/auto_retry_run_id", "dagster/retry_number"
REPOSITORY = ".dagster/repository"
UNDECIDED = timedelta(minutes=1)
"""Dagster says whether a run is launched again just after it has marked it as failed."""
UNLAUNCHED = timedelta(minutes=10)
"""A run that was to be launched again and was not in this time will not be: its daemon is gone."""
OVERLAP = UNLAUNCHED + timedelta(minutes=20)
"""Looks overlap by more than the longest wait, and by what a sensor may be late."""
MOST_RUNS = 2_000
WORKER_LOST = "the run's worker was lost"


@dataclass(frozen=True)
class Failure:
    says: str
    metadata: Mapping[str, Any]


def watch_runs(look: Look) -> Seen:
    """Look at the runs that failed since the last look, and whether jobs that failed have succeeded since."""
    failed = look.instance.get_run_records(
        RunsFilter(statuses=[DagsterRunStatus.FAILURE], updated_after=look.since - OVERLAP), limit=MOST_RUNS
    )
    alerts = [_alert_of_run(look, record) for record in failed if _is_end_of_chain(look, record)]
    return Seen((*alerts, *_recoveries(look)), look.now.isoformat())


def _is_end_of_chain(look: Look, record: dg.RunRecord) -> bool:
    tags = record.dagster_run.tags
    if RETRY_RUN in tags:
        return False
    age = look.now - ended_at(record)
    if WILL_RETRY not in tags:
        return age > UNDECIDED or not look.instance.run_retries_enabled
    return tags[WILL_RETRY] != "true" or age > UNLAUNCHED


def _alert_of_run(look: Look, record: dg.RunRecord) -> Alert:
    run = record.dagster_run
    subject = job_key(run)
    failures = failures_of(look.instance, run.run_id)
    statuses = {plain(failure.metadata.get("status")) for failure in failures}
    is_refused = Status.REFUSED.value in statuses
    how = "was refused" if is_refused else "timed out" if Status.TIMEOUT.value in statuses else "failed"
    says = [line for failure in failures for line in (failure.says, *_left_undone(failure.metadata))]
    attempts = int(run.tags.get(RETRY_NUMBER, "0")) + 1
    if attempts > 1:
        says.append(f"It was tried {attempts} times; this is the last attempt.")
    if run.tags.get(WILL_RETRY) == "true":
        says.append("It was to be launched again, and was not: look at the daemon.")
    spec = spec_of(subject)
    if spec is not None:
        says += _what_goes_on(spec, look.now)
    return Alert(
        kind=Kind.RUN_REFUSED if is_refused else Kind.RUN_FAILED,
        subject=subject,
        occurrence=run.run_id,
        title=f"{subject} {how}",
        says=tuple(says),
        at=ended_at(record),
        path=f"/runs/{run.run_id}",
    )


def _what_goes_on(spec: JobSpec, now: datetime) -> Iterator[str]:
    if spec.schedule is None:
        yield f"It has {NO_SCHEDULE}: the next run that somebody starts goes on where this one stopped."
    elif tick := spec.next_tick(now):
        local = tick.astimezone(ZoneInfo(spec.location.timezone))
        yield f"The next tick, at {local:%Y-%m-%d %H:%M %Z}, goes on where this run stopped."


def job_key(run: dg.DagsterRun) -> str:
    """Return `<location>/<job>` of a run, of one without our tag as well."""
    location = run.tags.get(REPOSITORY, "").rpartition("@")[2]
    return run.tags.get(QUEUE_KEY) or f"{location or 'unknown'}/{run.job_name}"


def ended_at(record: dg.RunRecord) -> datetime:
    if record.end_time is not None:
        return datetime.fromtimestamp(record.end_time, UTC)
    return record.update_timestamp


def failures_of(instance: dg.DagsterInstance, run_id: str) -> list[Failure]:
    """Return why each step of a run failed that did, in words that are ours.

    Of any other error its kind is told, and its message is in the log. Where no step failed, the run itself did.
    """
    kinds = {DagsterEventType.STEP_FAILURE, DagsterEventType.RUN_FAILURE}
    entries = [one.event_log_entry for one in instance.get_records_for_run(run_id, of_type=kinds).records]
    events = [entry.dagster_event for entry in entries if entry.dagster_event is not None]
    steps = [_step_failure(event) for event in events if event.is_step_failure]
    if steps:
        return steps
    # What run monitoring ends says nothing but that.
    ended = [event for event in events if event.is_run_failure and event.event_specific_data is not None]
    reasons = [event.job_failure_data.failure_reason for event in ended]
    named = reasons[-1].value.lower().replace("_", " ") if reasons and reasons[-1] else WORKER_LOST
    return [Failure(f"{named}; what was committed stays, and nothing is done twice.", {})]


def _step_failure(event: dg.DagsterEvent) -> Failure:
    data = event.step_failure_data
    if data.user_failure_data is not None:
        return Failure(data.user_failure_data.description or "it failed", data.user_failure_data.metadata)
    error = data.error.cause or data.error if data.error is not None else None
    kind = error.cls_name if error is not None else None
    return Failure(f"{kind or 'an error'} in step {event.step_key}; its message is in the run's log.", {})


def _left_undone(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each target of which something due is left."""
    for record in plain(metadata.get("outcomes")) or ():
        row = record.data
        done = sum(int(row.get(name) or 0) for name in ("deleted", "updated", "notified"))
        matched, failed = int(row.get("matched") or 0), int(row.get("failed") or 0)
        if matched > done:
            yield f"Left undone: {matched - done:,} of {matched:,} due in {row['target']}."
        elif failed:
            yield f"Left undone: {failed:,} in {row['target']}."


def plain(value: Any) -> Any:
    """Return what a metadata value holds; of a table its records."""
    return getattr(value, "records", None) or getattr(value, "value", None)


def _recoveries(look: Look) -> Iterator[Alert]:
    for kind in (Kind.RUN_FAILED, Kind.RUN_REFUSED):
        for subject, since in look.open_problems(kind).items():
            run = _success_after(look.instance, subject, since)
            if run is not None:
                yield Alert(
                    kind=kind,
                    subject=subject,
                    occurrence=run.run_id,
                    title=f"{subject} works again",
                    says=("A later run succeeded.",),
                    at=look.now,
                    path=f"/runs/{run.run_id}",
                    is_over=True,
                )


def _success_after(instance: dg.DagsterInstance, subject: str, since: datetime) -> dg.DagsterRun | None:
    """Return a run of a job that ended well after an instant, and did not only pretend to."""
    job = subject.rpartition("/")[2]
    ended = instance.get_run_records(
        RunsFilter(job_name=job, statuses=[DagsterRunStatus.SUCCESS], updated_after=since), limit=20
    )
    for record in ended:
        run = record.dagster_run
        if job_key(run) == subject and ended_at(record) > since and not _is_dry(run):
            return run
    return None


def _is_dry(run: dg.DagsterRun) -> bool:
    config = run.run_config
    return bool(config.get("dry_run"))
