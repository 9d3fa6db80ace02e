"""What a job judges, as Dagster shows it: checks made with an asset, evaluations of an op, and what a gate makes of them."""

from typing import Any

import dagster as dg
import pytest

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.settings import GatedSettings
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.orchestration.jobs import build_op_job
from cath_dagster.orchestration.measured import build_measured_assets, build_measured_job

MEASURED = dg.AssetKey(["cloudmake", "measured"])
QUICK = Check[Any](name="quick_enough", asset="measured", description="It is quick enough.", severity=Severity.WARN)
ELSEWHERE = Check[Any](
    name="of_another", asset="other", description="Something else is well.", evaluate=lambda *_: Verdict(passed=True)
)


def measure(run: JobRun, settings: GatedSettings) -> None:
    run.record(Outcome(target="measured", details={"p95_ms": 700}))
    run.judge(
        QUICK,
        Verdict(passed=False, message="700 ms is more than 500 ms", details={"p95_ms": 700}, subjects=("neon",)),
        gates=settings.gate,
    )
    run.judge(ELSEWHERE, Verdict(passed=True))


SPEC = JobSpec(
    location=CLOUDMAKE,
    name="measure",
    owner=OWNER,
    summary="Measures.",
    description="Measures and judges.",
    settings=GatedSettings,
    run=measure,
    is_asset=True,
    checks=(QUICK, ELSEWHERE),
)


def run(**config: Any) -> dg.ExecuteInProcessResult:
    assets = build_measured_assets(SPEC, [dg.AssetSpec(MEASURED)])
    other = dg.AssetSpec(dg.AssetKey(["cloudmake", "other"]))
    check = dg.AssetCheckSpec(ELSEWHERE.name, asset=other.key)

    @dg.multi_asset_check(specs=[check])
    def elsewhere() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    job = build_measured_job(SPEC, assets)
    defs = dg.Definitions(assets=[assets, other], asset_checks=[elsewhere], jobs=[job])
    return defs.resolve_job_def("measure").execute_in_process(run_config=config, raise_on_error=False)


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {each.check_name: each for each in result.get_asset_check_evaluations()}


def test_a_broken_limit_is_a_result_and_the_run_succeeds() -> None:
    result = run()

    found = evaluations(result)
    assert result.success
    assert [each.asset_key for each in result.asset_materializations_for_node("measure_assets")] == [MEASURED]
    assert {name: each.passed for name, each in found.items()} == {"quick_enough": False, "of_another": True}
    quick = found["quick_enough"]
    assert (quick.severity, quick.description) == (dg.AssetCheckSeverity.WARN, "700 ms is more than 500 ms")
    assert {name: value.value for name, value in quick.metadata.items()} == {"p95_ms": 700, "subjects": ["neon"]}


def test_with_a_gate_the_same_run_fails_and_tells_the_same() -> None:
    result = run(gate=True)

    assert not result.success
    assert evaluations(result)["quick_enough"].passed is False
    assert len(result.asset_materializations_for_node("measure_assets")) == 1


def test_a_dry_run_makes_and_judges_nothing() -> None:
    result = run(dry_run=True)

    assert result.success
    assert evaluations(result) == {}
    assert result.asset_materializations_for_node("measure_assets") == []


@pytest.mark.parametrize("gate", [True, False])
def test_an_op_leaves_evaluations_whether_it_fails_or_not(gate: bool) -> None:
    result = build_op_job(SPEC).execute_in_process(run_config={"gate": gate}, raise_on_error=False)

    assert result.success is not gate
    assert {each.check_name for each in result.get_asset_check_evaluations()} == {"quick_enough", "of_another"}
