"""What jobs judge, in Dagster's words: evaluations that a run leaves, and checks that the UI can run by themselves."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

import dagster as dg

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.core.model.check import Check, CheckResult, Severity, Verdict
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.spec import JobSpec

SEVERITIES = {Severity.WARN: dg.AssetCheckSeverity.WARN, Severity.ERROR: dg.AssetCheckSeverity.ERROR}


def check_spec(location: CodeLocation, check: Check[Database]) -> dg.AssetCheckSpec:
    """Return a check as Dagster knows it."""
    return dg.AssetCheckSpec(
        check.name,
        asset=dg.AssetKey([location.name, check.asset]),
        description=check.description,
        blocking=check.is_blocking,
    )


def check_result(location: CodeLocation, result: CheckResult) -> dg.AssetCheckResult:
    """Return how a check came out, for an asset that is being made."""
    return dg.AssetCheckResult(
        passed=result.passed,
        asset_key=dg.AssetKey([location.name, result.asset]),
        check_name=result.check,
        severity=SEVERITIES[result.severity],
        description=result.message or None,
        metadata=result.shown,
    )


def evaluations(spec: JobSpec, result: RunResult) -> Iterator[dg.AssetCheckEvaluation]:
    """Yield how the checks of a job came out that is no asset; nothing of a dry run."""
    if result.dry_run:
        return
    for check in result.checks:
        yield dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey([spec.location.name, check.asset]),
            check_name=check.check,
            passed=check.passed,
            severity=SEVERITIES[check.severity],
            description=check.message or None,
            metadata=check.shown,
        )


def build_checks(specs: Iterable[JobSpec]) -> list[dg.AssetChecksDefinition]:
    """Return a definition for each check that the database alone can answer, but for those made along with an asset."""
    return [_build_check(spec.location, check) for spec in specs for check in spec.checks if check.evaluate is not None]


def _build_check(location: CodeLocation, check: Check[Database]) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name=f"{check.asset}_{check.name}", specs=[check_spec(location, check)])
    def work() -> Iterator[dg.AssetCheckResult]:
        assert check.evaluate is not None  # noqa: S101 - who calls this has seen to it
        with EnvironmentBackends(location.prefix).database(check.name) as database:
            verdict: Verdict = check.evaluate(database, datetime.now(UTC))
        yield check_result(location, CheckResult.of(check, verdict))

    return work
