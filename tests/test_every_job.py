"""Every job of every location on its sample, on each version of PostgreSQL: it ends well, and leaves nothing due."""

from pathlib import Path

import psycopg
import pytest

from cath_dagster.core.model.outcome import RunResult
from cath_dagster.core.run.spec import load_specs
from cath_dagster.development.sample import Filling
from cath_dagster.development.samples import sample_of
from cath_dagster.development.samples.bon import sample as bon_sample
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
    """Of those that need no provider: the others have counterparts in tests of their own."""
    fill(cloudmake, tmp_path)
    cloudmake.environ["CLOUDMAKE_MASTER_ENCRYPTION_KEY"] = "5a" * 32

    first = {name: cloudmake.run(name) for name in ("preview_archival", "jwt_key_rotation", "spec_drift")}
    again = {name: cloudmake.run(name) for name in first}

    assert {name: result.error for name, result in {**first, **again}.items()} == dict.fromkeys(first)
    assert any(outcome.updated for outcome in first["preview_archival"].outcomes)
    assert [outcome for outcome in again["preview_archival"].outcomes if outcome.changed] == []
