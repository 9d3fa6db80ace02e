"""The synchronisation as Dagster shows it: the asset with its numbers, and SC-005 with a run and by itself."""

from collections.abc import Iterator

import dagster as dg
import pytest

from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.secrets import JOB, Secrets

ASSET = dg.AssetKey(["cloudmake", "secret_mappings"])
CHECK = dg.AssetCheckKey(ASSET, "sc_005_secrets_valid")


@pytest.fixture
def secrets(cloudmake: CloudMake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secrets]:
    with Secrets.open(cloudmake) as opened:
        for name, value in cloudmake.environ.items():
            monkeypatch.setenv(name, value)
        yield opened


def judged(result: dg.ExecuteInProcessResult) -> set[tuple[bool, str]]:
    """Return how SC-005 came out and for which projects not, told by the run and by the check itself."""
    return {
        (each.passed, str(each.metadata["subjects"].value) if "subjects" in each.metadata else "")
        for each in result.get_asset_check_evaluations()
    }


def test_a_run_makes_the_asset_and_judges_it_and_the_check_says_the_same_by_itself(secrets: Secrets) -> None:
    from cath_dagster.cloudmake.definitions import defs

    shop = secrets.add_project("shop")
    secrets.add(shop, "API_KEY", "planted", "actions", "codespaces")
    secrets.add(shop, "BY_HAND", "planted")
    secrets.github.plant("acme/shop", "actions", "BY_HAND", b"by hand")
    job = defs.resolve_job_def(JOB)
    config = {"as_of": "2026-11-18T01:00:00Z", "writes_per_minute": 6_000}

    done = job.execute_in_process(run_config=config)

    (made,) = [each for each in done.get_asset_materialization_events() if each.asset_key == ASSET]
    metadata = {name: value.value for name, value in made.step_materialization_data.materialization.metadata.items()}
    assert {name: metadata[name] for name in ("synced", "skipped", "conflict", "left")} == {
        "synced": 2,
        "skipped": 0,
        "conflict": 1,
        "left": 0,
    }
    assert metadata["quota_left"] == secrets.github.remaining
    assert judged(done) == {(False, "['shop']")}

    alone = dg.define_asset_job("alone", selection=dg.AssetSelection.checks(CHECK))
    checks = dg.Definitions(assets=defs.assets, asset_checks=defs.asset_checks, jobs=[alone])
    assert judged(checks.resolve_job_def("alone").execute_in_process()) == {(False, "['shop']")}
    del secrets.github.keeper("acme/shop").secrets["BY_HAND"]
    assert judged(job.execute_in_process(run_config=config)) == {(True, "")}
