"""No date that the service may hold, however far off, stops a job or the doctor."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from cath_dagster.cloudmake.benchmark.queries import TABLES
from cath_dagster.cloudmake.tables import METADATA, EitherInstant
from cath_dagster.core.model.outcome import RunResult
from cath_dagster.development.sample import Filling
from cath_dagster.development.samples.cloudmake import sample
from cath_dagster.development.simulators.github import GitHubServer
from tests.cloudmake.asking import ask
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import add_signing_key
from tests.support.extremes import EXTREMES, date_columns, put_extremes
from tests.support.roles import role_in

EITHER = [
    f"{table.name}.{column.name}"
    for table in METADATA.sorted_tables
    for column in table.c
    if isinstance(column.type, EitherInstant)
]
WRITTEN_BY_US = (
    "secret_audit.",
    "secret_sync_events.",
    "github_api_quotas.",
    "mcp_server_metrics.",
    "mcp_tool_invocations.",
)
"""Tables that the jobs add to and read no date of."""
JOBS: dict[str, dict[str, Any]] = {
    "preview_archival": {},
    "jwt_key_rotation": {},
    "spec_drift": {},
    "github_secrets_sync": {},
    "admin_query_benchmark": {"confirm": True, "gate": False, "iterations": 20},
    "master_key_rotation": {"confirm": True},
}


def columns() -> list[str]:
    found = [column.removeprefix("public.") for column in (*date_columns(METADATA), *EITHER)]
    return [column for column in found if not column.startswith(WRITTEN_BY_US)]


def run_all(cloudmake: CloudMake) -> dict[tuple[str, bool], RunResult]:
    return {
        (name, dry_run): cloudmake.run(name, dry_run=dry_run, **config)
        for name, config in JOBS.items()
        for dry_run in (True, False)
    }


def test_every_job_and_the_doctor_do_their_work_beside_dates_that_cannot_be(
    cloudmake: CloudMake, tmp_path: Path
) -> None:
    with psycopg.connect(cloudmake.url) as connection:
        sample.fill(connection, Filling(cloudmake.as_of, 0.01, tmp_path, cloudmake.reporter))
    for days in range(len(EXTREMES)):
        add_signing_key(cloudmake, days=100, retired_days=days, key=sample.KEY)
    for column in columns():
        assert put_extremes(cloudmake, column)

    with GitHubServer() as github, role_in(cloudmake.url, cloudmake.connection) as role:
        cloudmake.connection.execute(f'GRANT SELECT ON {", ".join(TABLES)} TO "{role.name}"')
        for repository in sample.REPOSITORIES:
            github.add_repository(repository, *sample.ENVIRONMENTS)
        cloudmake.environ |= {
            "CLOUDMAKE_BENCHMARK_ROLE": role.name,
            "CLOUDMAKE_GITHUB_API_URL": github.url,
            "CLOUDMAKE_GITHUB_TOKEN": github.token,
            "CLOUDMAKE_GITHUB_SECRETS_SYNC_ENVIRONMENT_NAMES": "production=prod",
            "CLOUDMAKE_GITHUB_SECRETS_SYNC_WRITES_PER_MINUTE": "6000",
            "CLOUDMAKE_MASTER_ENCRYPTION_KEY": "new " * 16,
            "CLOUDMAKE_MASTER_ENCRYPTION_KEY_OLD": sample.KEY,
        }
        results = run_all(cloudmake)

    assert {name: result.error for name, result in results.items() if result.error} == {}
    assert [each.message for each in ask(cloudmake) if each.message.startswith("cannot be told")] == []


def test_a_key_of_the_future_is_no_young_one(cloudmake: CloudMake) -> None:
    cloudmake.environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY"] = sample.KEY
    active = add_signing_key(cloudmake, days=1, key=sample.KEY, created_at=datetime(9999, 12, 31, tzinfo=UTC))
    retired = add_signing_key(cloudmake, days=9, retired_days=1, key=sample.KEY)
    cloudmake.connection.execute("UPDATE jwt_keys SET rotated_at = 'infinity' WHERE kid = %s", [retired])

    result = cloudmake.run("jwt_key_rotation")

    (check,) = [each for each in result.checks if each.check == "sc_011_key_rotation"]
    assert not check.passed
    assert f"{active} says that it was made after this" in check.message
    assert f"{retired} says that it was retired after this" in check.message
