"""The rotations in Dagster: what they make, observe and judge."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from cath_dagster.cloudmake.definitions import defs
from tests.cloudmake.cloudmake import CloudMake
from tests.cloudmake.keys import OTHER_KEY, add_metadata, add_signing_key, set_keys

ALONE = {"one_master_key", "master_key_age", "sc_011_key_rotation"}


def execute(
    cloudmake: CloudMake, monkeypatch: pytest.MonkeyPatch, job: str, **config: Any
) -> dg.ExecuteInProcessResult:
    for name, value in cloudmake.environ.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def(job).execute_in_process(config, instance=instance, raise_on_error=False)


def judged(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], bool]:
    return {(each.asset_key.path[-1], each.check_name): each.passed for each in result.get_asset_check_evaluations()}


def test_a_rotation_of_signing_keys_makes_both_assets_and_judges_them(
    cloudmake: CloudMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The check is a step of its own beside the job's, and is judged as of now.
    cloudmake.as_of = datetime.now(UTC)
    set_keys(cloudmake, old=None)
    add_signing_key(cloudmake, days=90)

    result = execute(cloudmake, monkeypatch, "jwt_key_rotation")

    made = {
        event.asset_key.path[-1]: event.materialization
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }
    assert result.success
    assert list(made) == ["jwt_keys", "jwks"]
    assert made["jwt_keys"].metadata["active_key_age_days"].value == 0
    assert judged(result) == {("jwt_keys", "sc_011_key_rotation"): True, ("jwks", "jwks_holds_no_secret"): True}


def test_a_rotation_of_the_master_key_is_judged_by_its_last_step(
    cloudmake: CloudMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_keys(cloudmake)
    add_metadata(cloudmake)

    result = execute(cloudmake, monkeypatch, "master_key_rotation", confirm=True)

    assert result.success
    assert judged(result) == {
        ("secrets_metadata", "one_master_key"): True,
        ("secrets_metadata", "master_key_age"): True,
    }


def test_after_a_refusal_no_step_follows(cloudmake: CloudMake, monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(cloudmake)
    add_metadata(cloudmake, OTHER_KEY)

    result = execute(cloudmake, monkeypatch, "master_key_rotation", confirm=True)

    begun = [event.step_key for event in result.all_events if event.is_step_start]
    assert (result.success, begun, judged(result)) == (False, ["check_keys"], {})


def test_whether_all_is_under_one_key_is_asked_without_a_run(
    cloudmake: CloudMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_keys(cloudmake)
    add_metadata(cloudmake)
    for name, value in cloudmake.environ.items():
        monkeypatch.setenv(name, value)
    checks = [
        each
        for each in defs.asset_checks or []
        if isinstance(each, dg.AssetChecksDefinition) and ALONE & {key.name for key in each.check_keys}
    ]
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.Definitions(asset_checks=checks).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance)

    found = {each.check_name: each.passed for each in result.get_asset_check_evaluations()}
    assert found == {"one_master_key": False, "master_key_age": True, "sc_011_key_rotation": False}
