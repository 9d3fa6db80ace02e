"""Jobs whose work is to measure: one run makes their assets and judges them."""

from collections.abc import Iterator, Sequence

import dagster as dg

from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.checks import check_result, check_spec, evaluations
from cath_dagster.orchestration.config import config_schema
from cath_dagster.orchestration.internals.jobs import UnresolvedAssetJobDefinition
from cath_dagster.orchestration.jobs import build_asset_job
from cath_dagster.orchestration.runs import Metadata, outcome_metadata, raise_unless_successful, run_job, run_metadata

Event = dg.MaterializeResult[None] | dg.AssetObservation | dg.AssetCheckResult | dg.AssetCheckEvaluation


def build_measured_assets(spec: JobSpec, assets: Sequence[dg.AssetSpec]) -> dg.AssetsDefinition:
    """Return the assets that a run of the job makes, in their order, with those of its checks that only a run can answer.

    A dry run leaves observations and makes nothing. A run that failed makes what it has an outcome of, and then fails.
    """
    keys = {asset.key for asset in assets}
    judged = [
        check
        for check in spec.checks
        if check.evaluate is None and dg.AssetKey([spec.location.name, check.asset]) in keys
    ]

    @dg.multi_asset(
        name=f"{spec.name}_assets",
        specs=[asset.replace_attributes(skippable=True) for asset in assets],
        check_specs=[check_spec(spec.location, check) for check in judged],
        # What may be left out: a dry run, and one that came to no result, make nothing and judge nothing.
        can_subset=True,
        config_schema=config_schema(spec),
        op_tags={"owner": spec.owner},
    )
    def work(context: dg.AssetExecutionContext) -> Iterator[Event]:
        result = run_job(context.op_execution_context, spec)
        for asset in assets:
            metadata = _metadata(asset.key.path[-1], result)
            if metadata is None or asset.key not in context.selected_asset_keys:
                continue
            if result.dry_run:
                yield dg.AssetObservation(asset.key, metadata=metadata)
            else:
                yield dg.MaterializeResult(asset.key, metadata=metadata)
        yield from _checks(context, spec, result)
        raise_unless_successful(result)

    return work


def build_measured_job(spec: JobSpec, assets: dg.AssetsDefinition) -> UnresolvedAssetJobDefinition:
    """Return the job that makes and judges them; what the database alone can answer the run has judged already."""
    own = dg.AssetSelection.checks(*assets.check_keys)
    return build_asset_job(spec, assets, selection=dg.AssetSelection.assets(*assets.keys).without_checks() | own)


def _metadata(name: str, result: RunResult) -> Metadata | None:
    """Return what is known of an asset; None where the run has nothing to say of it."""
    for outcome in result.outcomes:
        if outcome.target == name:
            return {**run_metadata(result), **outcome_metadata(outcome, result)}
    return None


def _checks(context: dg.AssetExecutionContext, spec: JobSpec, result: RunResult) -> Iterator[Event]:
    """Yield those that this definition declares as its own, and the others, which have definitions, as evaluations."""
    declared = {key.name for key in context.selected_asset_check_keys}
    for check, evaluation in zip(result.checks, evaluations(spec, result), strict=False):
        yield check_result(spec.location, check) if check.check in declared else evaluation
