"""Jobs from specifications: one op each, or the assets that a service's own module defines."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (  # define_asset_job's type has no public name
    UnresolvedAssetJobDefinition,
)

from cath_dagster.core.spec import JobSpec
from cath_dagster.orchestration.config import config_mapping, config_schema
from cath_dagster.orchestration.partitioned import FlatPartitionedAssetJob
from cath_dagster.orchestration.runs import raise_unless_successful, run_job, run_metadata

QUEUE_KEY = "cath_dagster/job"
"""The tag by whose values the run queue limits runs to one at a time."""

Job = dg.JobDefinition | UnresolvedAssetJobDefinition

# A second interpreter for the only step costs two seconds and gains nothing.
EXECUTOR = dg.in_process_executor


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
    def work(context: dg.OpExecutionContext) -> None:
        result = run_job(context, spec)
        raise_unless_successful(result)
        context.add_output_metadata(run_metadata(result))

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


def build_asset_job(spec: JobSpec, *assets: dg.AssetsDefinition) -> UnresolvedAssetJobDefinition:
    """Return the job of a specification whose work is to materialise assets."""
    mapping = config_mapping(spec, tuple(asset.op.name for asset in assets))
    job = dg.define_asset_job(
        spec.name,
        selection=dg.AssetSelection.assets(*assets),
        description=spec.description,
        tags=run_tags(spec),
        config=None if spec.partitioned else mapping,
        executor_def=EXECUTOR,
    )
    return FlatPartitionedAssetJob.of(job, mapping) if spec.partitioned else job


def run_tags(spec: JobSpec) -> dict[str, str]:
    """Return the tags of a job's runs: what the queue, the monitor and the alerts go by."""
    return {
        QUEUE_KEY: spec.key,
        "owner": spec.owner,
        "dagster/max_runtime": str(int(spec.max_runtime.total_seconds())),
    }
