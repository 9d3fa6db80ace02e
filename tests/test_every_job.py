"""Every job of every location on its sample, on each version of PostgreSQL: it ends well, and leaves nothing due."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.run.spec import load_specs
from cath_dagster.development.sample import Filling
from cath_dagster.development.samples import sample_of
from cath_dagster.development.samples.bon import sample as bon_sample
from cath_dagster.development.samples.cloudmake import sample as cloudmake_sample
from cath_dagster.development.simulators.github import GitHubServer
from tests.bon.bon import Bon
from tests.checktick.checktick import CheckTick
from tests.checktick.conftest import checktick, checktick_template, checktick_url  # noqa: F401
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.conftest import cloudmake, cloudmake_url  # noqa: F401
from tests.hay.conftest import hay  # noqa: F401
from tests.hay.hay import Hay
from tests.operations.instance import open_instance, run_job
from tests.support.databases import Databases
from tests.support.maintained import Maintained
from tests.support.roles import role_in
from tests.support.service import Service

pytestmark = pytest.mark.both_versions

SCALE = 0.01


def fill(maintained: Maintained, folder: Path) -> None:
    with psycopg.connect(maintained.url) as connection:
        sample_of(maintained.location).fill(connection, Filling(maintained.as_of, SCALE, folder, maintained.reporter))


def run_all(maintained: Maintained) -> dict[str, RunResult]:
    return {spec.name: maintained.run(spec.name, allow_large=True) for spec in load_specs(maintained.location)}


def assert_done(maintained: Maintained) -> None:
    first = run_all(maintained)
    again = run_all(maintained)

    assert {name: result.error for name, result in {**first, **again}.items()} == dict.fromkeys(first)
    assert any(outcome.deleted for result in first.values() for outcome in result.outcomes)
    assert [outcome for result in again.values() for outcome in result.outcomes if outcome.deleted] == []


def test_every_job_of_cath(service: Service) -> None:
    fill(service, service.blob_root)

    assert_done(service)


def test_every_job_of_bon(bon: Bon, tmp_path: Path) -> None:
    fill(bon, tmp_path)
    bon.environ["BON_SHAAM_ENCRYPTION_KEY"] = bon_sample.KEY

    assert_done(bon)


def test_every_job_of_checktick(checktick: CheckTick) -> None:  # noqa: F811
    fill(checktick, checktick.media)

    assert_done(checktick)


def test_every_job_of_hay(hay: Hay) -> None:  # noqa: F811
    fill(hay, hay.exports)

    assert_done(hay)


def test_every_job_of_operations(databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home := tmp_path / "home").mkdir()
    with open_instance(home, databases) as instance:
        monkeypatch.setenv("DAGSTER_HOME", str(home))
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", instance.url)
        cleaned = run_job(instance, "clean_instance")
        # Nothing starts that would be worth waiting for.
        checked = run_job(instance, "self_check", wait_seconds=0)

    assert cleaned.error is None
    # No daemon is there to be found well.
    assert checked.began


def test_every_job_of_cloudmake(cloudmake: CloudMake, tmp_path: Path) -> None:  # noqa: F811
    """Of those that need no provider but GitHub: the others have counterparts in tests of their own."""
    fill(cloudmake, tmp_path)
    cloudmake.environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY"] = cloudmake_sample.KEY
    names = ("preview_archival", "jwt_key_rotation", "spec_drift", "github_secrets_sync")

    with GitHubServer() as github:
        for repository in cloudmake_sample.REPOSITORIES:
            github.add_repository(repository, *cloudmake_sample.ENVIRONMENTS)
        cloudmake.environ |= {
            "CLOUDMAKE_GITHUB_API_URL": github.url,
            "CLOUDMAKE_GITHUB_TOKEN": github.token,
            "CLOUDMAKE_GITHUB_SECRETS_SYNC_ENVIRONMENT_NAMES": "production=prod",
            "CLOUDMAKE_GITHUB_SECRETS_SYNC_WRITES_PER_MINUTE": "6000",
        }
        first = {name: cloudmake.run(name) for name in names}
        again = {name: cloudmake.run(name) for name in names}
        production = github.values("example/project-1", "environment:prod")

    assert {name: result.error for name, result in {**first, **again}.items()} == dict.fromkeys(first)
    assert {name for name, result in first.items() if any(outcome.changed for outcome in result.outcomes)} == set(names)
    assert [each.target for result in again.values() for each in result.outcomes if each.changed] == []
    assert production["DATABASE_URL"] == b"made up: DATABASE_URL of project 1 production"


def test_the_benchmark_of_cloudmake_as_the_local_stack_starts_it(cloudmake: CloudMake, tmp_path: Path) -> None:  # noqa: F811
    fill(cloudmake, tmp_path)
    sample = sample_of(cloudmake.location)
    (tables,) = sample.readers.values()
    config: dict[str, Any] = dict(sample.started["admin_query_benchmark"])

    with role_in(cloudmake.url, cloudmake.connection) as role:
        names = map(sql.Identifier, (*tables, role.name))
        grant = sql.SQL("GRANT SELECT ON {} TO {{}}".format(", ".join("{}" for _ in tables)))
        cloudmake.connection.execute(grant.format(*names))
        cloudmake.environ["CLOUDMAKE_BENCHMARK_ROLE"] = role.name
        result = cloudmake.run("admin_query_benchmark", **{**config, "iterations": 20})

    assert result.error is None
    assert cloudmake.rows("SELECT count(*) FROM maintenance.benchmark WHERE measured_as = 'administrator'") == [(6,)]
