"""What the official chart makes of the values: rendered offline, checked by Kubernetes' schemas, loaded by Dagster.

The chart is no part of this repository. `DAGSTER_CHART` names its unpacked folder:
`helm pull dagster --repo https://dagster-io.github.io/helm --version 1.13.27 --untar`.
"""

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster_k8s import K8sRunLauncher

from tests.deployment.instance import container_context, run_coordinator, run_launcher
from tests.deployment.values import CLUSTER, ENVIRONMENTS, NAMESPACE, Tree, deployments, manifests, merged
from tests.support.chart import of, render
from tests.support.dagster_internals import QueuedRunCoordinator
from tests.support.manifests import KUBERNETES, check_restricted

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "none",
    "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
    "users": [{"name": "none", "user": {}}],
}
"""Of a cluster that is never asked."""


@pytest.fixture(params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def rendered(environment: str) -> list[Tree]:
    return render(environment)


def instance(rendered: list[Tree]) -> Tree:
    loaded: Tree = yaml.safe_load(of(rendered, "ConfigMap")[f"{NAMESPACE}-instance"]["data"]["dagster.yaml"])
    return loaded


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_all_that_the_chart_renders(rendered: list[Tree], version: str) -> None:
    for one in rendered:
        kubernetes_validate.validate(one, version, strict=True)


def test_every_container_is_restricted(rendered: list[Tree]) -> None:
    pods = [one["spec"]["template"]["spec"] for one in of(rendered, "Deployment").values()]

    assert len(pods) == 3 + len(deployments(merged("dev")))
    for pod in pods:
        check_restricted(pod)
        for container in pod.get("initContainers", ()):
            assert container["securityContext"] == pod["containers"][0]["securityContext"]


def test_the_manifests_beside_the_chart_select_its_pods_and_services(rendered: list[Tree]) -> None:
    labels = {one["spec"]["template"]["metadata"]["labels"]["component"] for one in of(rendered, "Deployment").values()}
    upstreams = {
        argument.partition("http://")[2].partition(":")[0]
        for one in manifests(CLUSTER / "common")
        if one["kind"] == "Deployment"
        for argument in one["spec"]["template"]["spec"]["containers"][0]["args"]
        if argument.startswith("--upstream=")
    }

    assert labels == {"dagster-daemon", "dagster-webserver", "dagster-webserver-read-only", "user-deployments"}
    assert upstreams <= set(of(rendered, "Service"))


def test_the_reading_ui_cannot_write(rendered: list[Tree]) -> None:
    (container,) = of(rendered, "Deployment")[f"{NAMESPACE}-webserver-read-only"]["spec"]["template"]["spec"][
        "containers"
    ]

    assert "--read-only" in container["command"][-1]


def test_only_the_daemon_and_the_uis_may_make_jobs(rendered: list[Tree]) -> None:
    bound = {subject["name"] for one in of(rendered, "RoleBinding").values() for subject in one["subjects"]}

    assert bound == {"cath-dagster"}
    assert set(of(rendered, "ServiceAccount")) == {"cath-dagster", "cath-dagster-runs"}
    for name, one in of(rendered, "Deployment").items():
        location = one["spec"]["template"]["metadata"]["labels"]["component"] == "user-deployments"
        account = one["spec"]["template"]["spec"]["serviceAccountName"]
        assert account == ("cath-dagster-runs" if location else "cath-dagster"), name


def test_the_workspace_has_every_location(rendered: list[Tree]) -> None:
    config = of(rendered, "ConfigMap")[f"{NAMESPACE}-workspace-yaml"]["data"]["workspace.yaml"]
    servers = [one["grpc_server"] for one in yaml.safe_load(config)["load_from"]]

    assert {one["location_name"] for one in servers} == set(deployments(merged("dev")))
    assert {one["host"] for one in servers} <= set(of(rendered, "Service"))


def test_the_chart_says_what_the_tests_on_the_simulated_cluster_take_it_to_say(
    environment: str, rendered: list[Tree]
) -> None:
    values = merged(environment)

    assert instance(rendered)["run_launcher"]["config"] == run_launcher(values)
    assert instance(rendered)["run_coordinator"]["config"] == run_coordinator(values)
    for name, deployment in deployments(values).items():
        (server,) = [
            one["spec"]["template"]["spec"]["containers"][0]
            for one in of(rendered, "Deployment").values()
            if one["metadata"]["labels"].get("deployment") == name
        ]
        told = {one["name"]: one.get("value") for one in server["env"]}
        assert json.loads(told["DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT"]) == container_context(values, deployment)


def test_dagster_loads_the_instance(
    rendered: list[Tree], empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = instance(rendered)
    kubeconfig = tmp_path / "kubeconfig.yaml"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
    config["run_launcher"]["config"] |= {"load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    for storage in ("run_storage", "event_log_storage", "schedule_storage"):
        assert config[storage]["config"]["postgres_db"]["params"]["sslmode"] == "verify-full"
        config[storage]["config"]["postgres_db"] = here(empty_database, config[storage]["config"]["postgres_db"])
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "not asked for")

    with dg.DagsterInstance.from_config(str(tmp_path)) as loaded:
        # Launcher and coordinator are made, and their configuration checked, by asking for them.
        assert isinstance(loaded.run_launcher, K8sRunLauncher)
        assert loaded.run_launcher.fail_pod_on_run_failure
        assert isinstance(loaded.run_coordinator, QueuedRunCoordinator)
        assert loaded.run_monitoring_enabled
        assert loaded.run_monitoring_poll_interval_seconds == 30
        assert loaded.run_retries_max_retries == 1
        assert not loaded.run_retries_retry_on_asset_or_op_failure
        assert not loaded.telemetry_enabled
        assert loaded.get_runs() == []


def here(url: str, given: Tree) -> dict[str, Any]:
    """Return a database's configuration that leads to the suite's server, in the form that the chart has it."""
    parts = urlsplit(url)
    params = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return {
        **given,
        "username": parts.username,
        "hostname": parts.hostname or "localhost",
        "port": parts.port or 5432,
        "db_name": parts.path.removeprefix("/"),
        "params": params,
    }
