"""Run a job inside a Dagster run, and say in Dagster's words what came of it."""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import dagster as dg

from cath_dagster.adapters.envelope import Caller, Launch, perform
from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.history_writer import History
from cath_dagster.adapters.logs import VALUES
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import Outcome, RunResult, Status
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.ports.mail import Content
from cath_dagster.core.run.execution import read_config
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.core.run.summary import summary
from cath_dagster.core.untrusted_text import unmarked
from cath_dagster.orchestration.instance_url import postgres_url
from cath_dagster.orchestration.internals.events import DagsterInvalidPropertyError
from cath_dagster.orchestration.origin import SCHEDULE_TAG, SENSOR_TAG, origin_of
from cath_dagster.orchestration.relaunch import MAX_RUNTIME_TAG, max_runtime, spent_parent

SECONDS_BETWEEN_PROGRESS = 5.0
"""A line now and then shows that a long purge is alive; one a batch would fill the event log."""

TRACE_TAG = "cath_dagster/trace_id"
"""Where telemetry is sent, a run's trace."""

ENDED = "ended"
"""How a run ended that did not end well, beside what it observed: its counts go only as far as it came."""

Metadata = dict[str, Any]


class DagsterReporter:
    """Writes what a run says into Dagster's log."""

    def __init__(self, log: dg.DagsterLogManager) -> None:
        self._log = log
        self._told_at = time.monotonic()

    def info(self, message: str, **values: Scalar) -> None:
        self._log.info(message, extra={VALUES: values})

    def warning(self, message: str) -> None:
        self._log.warning(message)

    def ended(self, result: RunResult) -> None:
        level = logging.INFO if result.status is Status.SUCCESS else logging.ERROR
        self._log.log(level, summary(result))

    def progress(self, target: str, done: int, total: int) -> None:
        if time.monotonic() - self._told_at >= SECONDS_BETWEEN_PROGRESS:
            self._told_at = time.monotonic()
            self._log.info(f"{target}: {done:,} of {total:,}")


def run_job(
    context: dg.OpExecutionContext,
    spec: JobSpec,
    *,
    partition: str | None = None,
    selection: frozenset[str] | None = None,
    step: str | None = None,
) -> RunResult:
    """Run a job with the op's config, and return the result; what is observed of its tables the caller yields."""
    run = run_of(context)
    if run is not None and (reason := spent_parent(context.instance, run)):
        context.log.error(reason)
        raise dg.Failure(description=reason, allow_retries=False)
    run_id = run.run_id if run is not None else str(uuid.uuid4())
    given = context.op_config or {}
    if run is not None:
        _keep_max_runtime(context.instance, run, spec, given)
    return perform(
        Launch(
            spec=spec,
            given=given,
            run_id=run_id,
            partition=partition,
            selection=selection,
            is_scheduled=run is not None and not {SCHEDULE_TAG, SENSOR_TAG}.isdisjoint(run.tags),
            step=step,
            spent_seconds=_spent_seconds(context.instance, run, spec, step),
        ),
        backends=open_backends(spec.location, context.instance),
        environ=MountedEnvironment(),
        reporter=DagsterReporter(context.log),
        caller=_caller(context, run),
    )


def _keep_max_runtime(
    instance: dg.DagsterInstance, run: dg.DagsterRun, spec: JobSpec, given: Mapping[str, Any]
) -> None:
    """Tell Dagster's monitor for how long this very run may go on, where its settings say otherwise than its job.

    What somebody said at the launch, by the tag itself, stays.
    """
    with contextlib.suppress(ConfigurationError):
        settings = read_config(spec, given, environ=MountedEnvironment(), now=datetime.now(UTC)).settings
        allowed = max_runtime(spec.timeout_of(settings))
        if run.tags.get(MAX_RUNTIME_TAG) == max_runtime(spec.timeout) != allowed:
            instance.add_run_tags(run.run_id, {MAX_RUNTIME_TAG: allowed})


def _spent_seconds(instance: dg.DagsterInstance, run: dg.DagsterRun | None, spec: JobSpec, step: str | None) -> float:
    """Return what of a run's time the steps before this one have taken."""
    if run is None or step is None or step == spec.steps[0].name:
        return 0.0
    record = instance.get_run_record_by_id(run.run_id)
    if record is None or record.start_time is None:
        return 0.0
    return max(0.0, datetime.now(UTC).timestamp() - record.start_time)


def run_of(context: dg.OpExecutionContext) -> dg.DagsterRun | None:
    """Return the run, None where a test calls the op by itself."""
    try:
        return context.run
    except DagsterInvalidPropertyError:
        return None


def _caller(context: dg.OpExecutionContext, run: dg.DagsterRun | None) -> Caller:
    """Return what the envelope may ask of Dagster about this run."""

    def note_trace(run_id: str, trace: str) -> None:
        context.instance.add_run_tags(run_id, {TRACE_TAG: trace})

    def every_step_succeeded() -> bool:
        failed = context.instance.get_records_for_run(context.run_id, of_type=dg.DagsterEventType.STEP_FAILURE, limit=1)
        return not failed.records

    return Caller(
        note_trace=partial(note_trace, run.run_id) if run is not None else None,
        prepares=True,
        every_step_succeeded=every_step_succeeded,
        history=_history(context.instance, run),
    )


def _history(instance: dg.DagsterInstance, run: dg.DagsterRun | None) -> History | None:
    url = postgres_url(instance) if run is not None else None
    if url is None or run is None:
        return None
    return History(url=url, origin=origin_of(run), is_watched=True)


def raise_unless_successful(result: RunResult) -> None:
    """Raise `dagster.Failure` for a run that failed or was refused.

    A failed purge is never repeated by Dagster; the next tick goes on where it stopped.
    """
    if result.status is not Status.SUCCESS:
        raise dg.Failure(
            description=f"{result.status.value}: {result.error}", metadata=run_metadata(result), allow_retries=False
        )


def run_metadata(result: RunResult) -> Metadata:
    """Return what the UI shows about a run: a table of its outcomes, and the settings it used."""
    records = [
        dg.TableRecord({"target": outcome.target, **outcome.counts(), "seconds": round(outcome.seconds, 3)})
        for outcome in result.outcomes
    ]
    metadata: Metadata = {
        "status": result.status.value,
        "dry_run": result.dry_run,
        "settings": dg.MetadataValue.json(dict(result.settings)),
        "seconds": round(result.seconds, 3),
    }
    if records:
        metadata["outcomes"] = dg.MetadataValue.table(records)
    if result.as_of is not None:
        metadata["as_of"] = dg.MetadataValue.timestamp(result.as_of)
    if result.would_refuse is not None:
        metadata["would_refuse"] = result.would_refuse
    if result.trace_id is not None:
        metadata["trace_id"] = result.trace_id
    for template, content in result.previews.items():
        metadata[f"preview_{template}"] = dg.MetadataValue.md(preview_markdown(content))
    if result.notes:
        metadata["notes"] = dg.MetadataValue.md("\n".join(f"- {unmarked(note)}" for note in result.notes))
    return metadata


def preview_markdown(content: Content) -> str:
    """Return a message as the UI can show it: its text form, since the UI drops HTML.

    Each line is isolated, so that one in Hebrew runs from right to left whatever stands around it.
    """
    lines = (f"\u2068{line}\u2069" if line else "" for line in (content.subject, "", *content.text.splitlines()))
    return "\n".join(("```text", *lines, "```"))


def observations(spec: JobSpec, result: RunResult) -> Iterable[dg.AssetObservation]:
    """Yield one observation per table a run touched, so that the UI plots them over time.

    They are yielded by the op: what it only logs is lost where it fails then.
    """
    for outcome in result.outcomes:
        if outcome.target in spec.targets:
            yield dg.AssetObservation(
                asset_key=[spec.location.name, outcome.target],
                metadata=outcome_metadata(outcome, result),
                description=f"{spec.name}{', dry run' if result.dry_run else ''}",
            )
    if result.deleted_today and not result.dry_run:
        yield dg.AssetObservation(
            asset_key=ledger_key(spec.location),
            metadata={f"{spec.name}: {rule}": deleted for rule, deleted in result.deleted_today.items()},
            description=f"what the rules of {spec.name} have deleted today (UTC)",
        )


def ledger_key(location: CodeLocation) -> dg.AssetKey:
    """Return the key of the asset whose plots show how much each rule deletes from day to day."""
    return dg.AssetKey([location.name, "purge_ledger"])


def ledger_spec(location: CodeLocation, owner: str) -> dg.AssetSpec:
    """Return the ledger as an asset, of which every run of a clean-up job tells the day's numbers."""
    return dg.AssetSpec(
        ledger_key(location),
        description=(
            "What runs have deleted, day by day and rule by rule: see its plots. Each point is the day's sum so far, over "
            "all runs of the job, those of the command line included. `cath-dagster ledger` prints the same as a table."
        ),
        group_name=location.name,
        kinds={"postgres", "table"},
        owners=[owner],
    )


def outcome_metadata(outcome: Outcome, result: RunResult) -> Metadata:
    """Return an outcome's numbers; those that are 0 and say nothing are left out."""
    metadata: Metadata = {f"rows_{name}": count for name, count in outcome.counts().items() if count}
    metadata |= {"job": result.job, "rows_matched": outcome.matched}
    if result.status is not Status.SUCCESS:
        metadata[ENDED] = result.status.value
    if not result.dry_run:
        metadata["rows_deleted"] = outcome.deleted
        metadata["batches"] = outcome.batches
        metadata["longest_transaction_seconds"] = round(outcome.longest_transaction_seconds, 4)
    if outcome.rows_left is not None:
        metadata["rows_left"] = outcome.rows_left
    if outcome.oldest_at is not None and result.as_of is not None:
        metadata["oldest_age_days"] = round((result.as_of - outcome.oldest_at).total_seconds() / 86_400, 2)
    metadata |= {name: value for name, value in outcome.details.items() if value is not None}
    return metadata
