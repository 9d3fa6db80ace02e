"""Jobs from specifications: one op each, an op for each step, or the assets that a service's own module defines."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dagster as dg

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.core.run.job_parts import Step
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.checks import evaluations
from cath_dagster.orchestration.config import config_mapping, config_schema
from cath_dagster.orchestration.internals.jobs import FlatPartitionedAssetJob, UnresolvedAssetJobDefinition
from cath_dagster.orchestration.relaunch import MAX_RUNTIME_TAG, max_runtime
from cath_dagster.orchestration.runs import observations, raise_unless_successful, run_job, run_metadata, run_of

Job = dg.JobDefinition | UnresolvedAssetJobDefinition

# A second interpreter for the only step costs two seconds and gains nothing.
EXECUTOR = dg.in_process_executor
# A step waits for what the one before it puts out, which comes also from one that failed, and not for its success.
STEP_EXECUTOR = dg.in_process_executor.configured(
    {"step_dependency_config": {"require_upstream_step_success": False}}, name="in_process"
)

Event = dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation
Afterwards = Callable[[RunResult], Iterable[Event]]
"""What a job has to say of assets when it has done its work."""


def build_op_job(spec: JobSpec) -> dg.JobDefinition:
    """Return the job of a specification: one op that does the work."""

    # An op and a job of one name do not load together.
    @dg.op(
        name=f"{spec.name}_op",
        description=spec.description,
        config_schema=config_schema(spec),
        out=dg.Out(dg.Nothing),
        tags={"owner": spec.owner},
    )
    def work(context: dg.OpExecutionContext) -> Any:
        result = run_job(context, spec)
        if run_of(context) is None:
            # Nobody who calls the op by itself reads what it yields.
            raise_unless_successful(result)
        return _told(spec, result)

    @dg.job(
        name=spec.name,
        description=spec.description,
        tags=run_tags(spec),
        config=config_mapping(spec, (work.name,)),
        executor_def=EXECUTOR,
    )
    def job() -> None:
        work()

    return job


def _told(spec: JobSpec, result: RunResult) -> Iterator[dg.Output[None] | Event]:
    """Yield what was seen, then how the run ended."""
    yield from _seen(spec, result)
    raise_unless_successful(result)
    yield dg.Output(None, metadata=run_metadata(result))


def _seen(spec: JobSpec, result: RunResult) -> Iterator[dg.AssetObservation | dg.AssetCheckEvaluation]:
    """Yield what a run observed and how its checks came out, which comes before a failure is raised."""
    yield from observations(spec, result)
    yield from evaluations(spec, result)


def build_step_job(spec: JobSpec, *, afterwards: Afterwards | None = None) -> dg.JobDefinition:
    """Return the job of a specification with steps: an op for each, one after the other, all with the same config.

    One that failed is shown so, and the next does its work all the same; after one that was refused there is none.
    The last tells what comes `afterwards`, however it ended.
    """
    ops = [_build_step(spec, step, afterwards if step is spec.steps[-1] else None) for step in spec.steps]

    @dg.job(
        name=spec.name,
        description=spec.description,
        tags=run_tags(spec),
        config=config_mapping(spec, tuple(op.name for op in ops)),
        executor_def=STEP_EXECUTOR,
    )
    def job() -> None:
        done = None
        for op in ops:
            done = op() if done is None else op(done)

    return job


def _build_step(spec: JobSpec, step: Step, afterwards: Afterwards | None) -> dg.OpDefinition:
    @dg.op(
        name=step.name,
        description=step.summary,
        config_schema=config_schema(spec),
        ins={"after": dg.In(dg.Nothing)} if step is not spec.steps[0] else None,
        out=dg.Out(dg.Nothing),
        tags={"owner": spec.owner},
    )
    def work(context: dg.OpExecutionContext) -> Iterator[dg.Output[None] | Event]:
        result, untold = run_job(context, spec, step=step.name), ""
        yield from _seen(spec, result)
        try:
            if afterwards is not None and result.began:
                yield from afterwards(result)
        except MaintenanceError as error:
            untold = str(error)
        if result.began:
            yield dg.Output(None, metadata=run_metadata(result))
        raise_unless_successful(result)
        if untold:
            raise dg.Failure(f"the work is done, and could not be reported on: {untold}", allow_retries=False)

    return work


def build_asset_job(
    spec: JobSpec, *assets: dg.AssetsDefinition, selection: dg.AssetSelection | None = None
) -> UnresolvedAssetJobDefinition:
    """Return the job of a specification whose work is to materialise assets, with all their checks unless told."""
    mapping = config_mapping(spec, tuple(asset.op.name for asset in assets))
    job = dg.define_asset_job(
        spec.name,
        selection=selection or dg.AssetSelection.assets(*assets),
        description=spec.description,
        tags=run_tags(spec),
        config=mapping if spec.partitions is None else None,
        executor_def=EXECUTOR,
    )
    return job if spec.partitions is None else FlatPartitionedAssetJob.of(job, mapping)


def run_tags(spec: JobSpec) -> dict[str, str]:
    """Return the tags of a job's runs: what the queue, the monitor and the alerts go by."""
    return {
        QUEUE_KEY: spec.key,
        "owner": spec.owner,
        MAX_RUNTIME_TAG: max_runtime(spec.timeout),
    }
