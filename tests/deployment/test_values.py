"""That the values are what the chart takes, agree with the code, and keep what they promise."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cath_dagster.core.ports.orchestrator import QUEUE_KEY
from cath_dagster.registry import all_specs, locations
from tests.deployment.values import (
    CLUSTER,
    ENVIRONMENTS,
    REPOSITORY,
    Tree,
    deployments,
    differences,
    find,
    launcher,
    load,
    manifests,
    merged,
)

SCHEMAS = REPOSITORY.parent / "shared/data/dagster-helm"
UNLISTED = {"dagster-user-deployments.rbacEnabled", "dagster-user-deployments.serviceAccount"}
"""Values of the subchart, which has a schema of its own, and one that only its templates know."""
LOCK_TIMEOUT_SECONDS = 5
MAIL_TIMEOUT_SECONDS = 30
"""What one request to the mail provider may take; no statement takes as long once it is interrupted."""


def schema(name: str) -> Tree:
    path = SCHEMAS / name
    if not path.exists():
        pytest.skip(f"the chart's schema is not at {path}")
    loaded: Tree = json.loads(path.read_text())
    return loaded


def faults(schema: Tree, values: Tree) -> list[str]:
    """Return what the schema refuses. What is missing outside of lists comes from the chart's own defaults."""
    return [
        f"{error.json_path}: {error.message}"
        for error in jsonschema.Draft202012Validator(schema).iter_errors(values)
        if error.validator != "required" or any(isinstance(step, int) for step in error.absolute_path)
    ]


def unknown_keys(schema: Tree, node: Tree, values: Any, path: str = "") -> Iterator[str]:
    """Yield the keys that the schema does not name, where it names any: the chart would overlook them."""
    node = resolved(schema, node)
    if isinstance(values, list):
        for value in values:
            yield from unknown_keys(schema, node.get("items", {}), value, f"{path}[]")
    elif isinstance(values, dict) and node.get("properties"):
        for key, value in values.items():
            where = f"{path}.{key}".lstrip(".")
            if key in node["properties"]:
                yield from unknown_keys(schema, node["properties"][key], value, where)
            # Of a probe the schema names what Helm adds to it; the rest is Kubernetes'.
            elif where not in UNLISTED and not path.endswith("Probe"):
                yield where


def resolved(schema: Tree, node: Tree) -> Tree:
    """Return the definition behind references and optional types."""
    for one in node.get("anyOf", ()):
        if one.get("type") not in ("null", "string", "integer"):
            return resolved(schema, one)
    if "$ref" in node:
        return resolved(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    return node


@pytest.fixture(params=ENVIRONMENTS)
def values(request: pytest.FixtureRequest) -> Tree:
    return merged(request.param)


def test_the_chart_takes_the_values(values: Tree) -> None:
    assert faults(schema("values.schema.json"), values) == []


def test_the_subchart_takes_the_values(values: Tree) -> None:
    assert faults(schema("user-deployments.values.schema.json"), values["dagster-user-deployments"]) == []


def test_the_chart_knows_every_key(values: Tree) -> None:
    chart = schema("values.schema.json")

    assert set(unknown_keys(chart, chart, values)) == set()


def test_a_misspelt_key_is_noticed() -> None:
    chart = schema("values.schema.json")
    values = {"dagsterDaemon": {"runRetries": {"maxRetrys": 1}}}

    assert list(unknown_keys(chart, chart, values)) == ["dagsterDaemon.runRetries.maxRetrys"]


def test_a_value_of_the_wrong_type_is_noticed() -> None:
    values = {"dagsterDaemon": {"runRetries": {"maxRetries": "one"}}}

    assert len(faults(schema("values.schema.json"), values)) == 1


def test_every_location_of_the_code_is_deployed_and_no_other(values: Tree) -> None:
    arguments = {name: one["dagsterApiGrpcArgs"] for name, one in deployments(values).items()}

    assert arguments == {
        one.name: ["--module-name", f"{one.package}.definitions", "--location-name", one.name] for one in locations()
    }


def test_every_location_of_the_workspace_is_deployed_and_no_other(values: Tree) -> None:
    workspace = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"]

    assert {one["python_module"]["location_name"] for one in workspace} == set(deployments(values))


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("location", locations(), ids=lambda one: one.name)
def test_every_location_is_configured_in_every_environment(environment: str, location: Any) -> None:
    data = find(manifests(CLUSTER / environment), "ConfigMap", f"cath-dagster-{location.name}")["data"]

    assert data
    assert {name for name in data if not name.startswith(f"{location.prefix}_")} == set()


@pytest.mark.parametrize("word", ["running", "standby"])
def test_each_cluster_says_of_every_location_whether_its_schedules_run(word: str) -> None:
    (config,) = manifests(CLUSTER / f"schedules-{word}.yaml")

    assert config["metadata"]["name"] == "cath-dagster-schedules"
    assert config["data"] == {f"{location.prefix}_SCHEDULES": word for location in locations()}


def test_no_pod_starts_without_knowing_whether_its_schedules_run(values: Tree) -> None:
    for one in deployments(values).values():
        assert {"name": "cath-dagster-schedules"} in one["envConfigMaps"]
        assert not any("optional" in source for source in [*one["envConfigMaps"], *one["envSecrets"]])


def test_no_location_is_given_the_configuration_of_another(values: Tree) -> None:
    for name, one in deployments(values).items():
        assert one["envSecrets"] == [{"name": f"cath-dagster-{name}"}]
        assert one["envConfigMaps"] == [{"name": "cath-dagster-schedules"}, {"name": f"cath-dagster-{name}"}]
        assert one["includeConfigInLaunchedRuns"] == {"enabled": True}
        assert not one.get("env")


def test_the_launcher_gives_every_pod_no_configuration_of_its_own(values: Tree) -> None:
    config = launcher(values)

    assert [config[name] for name in ("envConfigMaps", "envSecrets", "envVars")] == [[], [], []]


def test_code_servers_and_runs_have_no_right_on_the_cluster(values: Tree) -> None:
    subchart = values["dagster-user-deployments"]

    assert subchart["rbacEnabled"] is False
    assert subchart["serviceAccount"]["name"] != values["serviceAccount"]["name"]
    # This one would take the place of both.
    assert values["global"]["serviceAccountName"] == ""


def test_kubernetes_never_repeats_a_run(values: Tree) -> None:
    assert launcher(values)["runK8sConfig"]["jobSpecConfig"]["backoffLimit"] == 0


def test_a_failed_run_is_a_failed_job(values: Tree) -> None:
    assert launcher(values)["failPodOnRunFailure"] is True


def test_a_finished_job_can_be_looked_at_over_a_weekend(values: Tree) -> None:
    assert launcher(values)["runK8sConfig"]["jobSpecConfig"]["ttlSecondsAfterFinished"] >= 3 * 86_400


def test_kubernetes_ends_a_run_only_after_dagster_should_have(values: Tree) -> None:
    longest = max(spec.timeout.total_seconds() for spec in all_specs())
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    dagster = longest + monitoring["startTimeoutSeconds"] + 2 * monitoring["pollIntervalSeconds"]

    assert launcher(values)["runK8sConfig"]["jobSpecConfig"]["activeDeadlineSeconds"] > dagster


def test_a_pod_that_is_asked_to_end_may_end_its_batch(values: Tree) -> None:
    grace = launcher(values)["runK8sConfig"]["podSpecConfig"]["terminationGracePeriodSeconds"]

    assert grace > 2 * (LOCK_TIMEOUT_SECONDS + MAIL_TIMEOUT_SECONDS)
    assert values["dagsterDaemon"]["runMonitoring"]["cancelTimeoutSeconds"] > grace


def test_dagsters_own_database_is_reached_by_tls_and_verified(values: Tree) -> None:
    postgresql = values["postgresql"]

    assert postgresql["enabled"] is False
    assert postgresql["postgresqlParams"]["sslmode"] == "verify-full"
    assert Path(postgresql["postgresqlParams"]["sslrootcert"]).is_absolute()
    assert postgresql["postgresqlHost"]


def test_no_secret_stands_in_the_values(values: Tree) -> None:
    named = {path: value for path, value in differences(values) if "password" in path[-1].lower()}

    assert {path[-1]: value for path, value in named.items()} == {
        "generatePostgresqlPasswordSecret": False,
        "postgresqlPassword": "",
    }


def test_the_logs_of_a_run_outlive_its_pod(values: Tree) -> None:
    assert values["computeLogManager"]["type"] == "AzureBlobComputeLogManager"
    assert values["computeLogManager"]["config"]["azureBlobComputeLogManager"]["storageAccount"]


def test_the_image_is_of_this_version(values: Tree) -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    images = [values["dagsterDaemon"]["image"], values["dagsterWebserver"]["image"]]
    images += [one["image"] for one in deployments(values).values()]

    assert {image["tag"] for image in images} == {version}
    assert len({image["repository"] for image in images}) == 1


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_overlay_says_only_what_is_different(environment: str) -> None:
    base = dict(differences(load("base")))

    assert [path for path, value in differences(load(environment)) if base.get(path) == value] == []


def test_the_policy_of_dagster_yaml_and_of_the_values_is_one(values: Tree) -> None:
    here = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    coordinator = here["run_coordinator"]["config"]
    daemon = values["dagsterDaemon"]
    queue = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]

    assert QUEUE_KEY in [limit["key"] for limit in coordinator["tag_concurrency_limits"]]
    assert {name: queue[camel(name)] for name in coordinator} == coordinator
    assert {name: daemon["runMonitoring"][camel(name)] for name in here["run_monitoring"]} == here["run_monitoring"]
    assert {name: daemon["runRetries"][camel(name)] for name in here["run_retries"]} == here["run_retries"]
    assert values["telemetry"] == here["telemetry"]
    assert {name: values["additionalInstanceConfig"][name] for name in ("freshness", "nux")} == {
        name: here[name] for name in ("freshness", "nux")
    }
    ticks = {name: days(one["purgeAfterDays"]) for name, one in values["retention"].items() if name != "enabled"}
    assert ticks == {name: {one["purge_after_days"]} for name, one in here["retention"].items()}


def days(given: int | Mapping[str, int]) -> set[int]:
    """Return for how many days ticks are kept, of whichever kind."""
    return {given} if isinstance(given, int) else set(given.values())


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
