"""That the manifests beside the chart are valid, and let nobody in who has no business there."""

import re
from collections.abc import Iterator
from pathlib import Path

import kubernetes_validate
import pytest

from cath_dagster.web.settings import DEFAULT_PORT
from tests.deployment.values import CLUSTER, ENVIRONMENTS, NAMESPACE, Tree, find, manifests, merged
from tests.support.manifests import KUBERNETES, check_restricted

FILES = sorted(CLUSTER.rglob("*.yaml"))
KINDS = {
    "dagster-daemon", "dagster-webserver", "dagster-webserver-read-only", "user-deployments", "ui-proxy",
    "ui-proxy-read-only", "console",
}  # fmt: skip
"""What carries the label `component`: the chart's pods and our own."""


def common() -> Iterator[Tree]:
    return manifests(CLUSTER / "common")


def policies() -> dict[str, Tree]:
    return {one["metadata"]["name"]: one["spec"] for one in common() if one["kind"] == "NetworkPolicy"}


def components(selector: Tree) -> set[str]:
    """Return which kinds of pods a selector takes, by the label `component`."""
    # A run pod has a label of its code location instead.
    labels = selector.get("matchLabels") or {}
    named = {labels.get("component") or f"runs of {labels['dagster/code-location']}"} if labels else set()
    return named.union(*(one["values"] for one in selector.get("matchExpressions", ())))


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CLUSTER).as_posix())
def test_kubernetes_takes_the_manifest(path: Path, version: str) -> None:
    for one in manifests(path):
        kubernetes_validate.validate(one, version, strict=True)


def test_kubernetes_would_refuse_a_misspelt_field() -> None:
    (config,) = manifests(CLUSTER / "schedules-running.yaml")

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**config, "dta": {}}, KUBERNETES[0], strict=True)


def test_everything_is_in_the_platforms_namespace() -> None:
    for path in FILES:
        for one in manifests(path):
            assert NAMESPACE in (one["metadata"].get("namespace"), one["metadata"]["name"])


def test_the_namespace_holds_its_pods_to_the_strictest_standard() -> None:
    labels = find(common(), "Namespace", NAMESPACE)["metadata"]["labels"]

    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nothing_may_speak_to_anything_unless_a_policy_says_so() -> None:
    assert policies()["nothing-by-default"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(
    ("target", "port", "allowed"),
    [
        (
            "user-deployments",
            3030,
            {"dagster-daemon", "dagster-webserver", "dagster-webserver-read-only", "runs of operations"},
        ),
        ("dagster-webserver", 3000, {"ui-proxy", "console"}),
        ("dagster-webserver-read-only", 3000, {"ui-proxy-read-only"}),
    ],
)
def test_only_these_reach(target: str, port: int, allowed: set[str]) -> None:
    callers: set[str] = set()
    for spec in policies().values():
        if target in components(spec["podSelector"]):
            for rule in spec.get("ingress", ()):
                assert [one["port"] for one in rule["ports"]] == [port]
                for peer in rule["from"]:
                    assert set(peer) == {"podSelector"}
                    callers |= components(peer["podSelector"])

    assert callers == allowed


def test_the_daemon_and_run_pods_are_reached_by_nobody() -> None:
    for spec in policies().values():
        if spec.get("ingress"):
            assert "dagster-daemon" not in components(spec["podSelector"])
            # A run pod has no such label, so that only a policy for all pods could take it.
            assert components(spec["podSelector"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_ports_are_those_of_the_values(environment: str) -> None:
    values = merged(environment)

    assert {one["port"] for one in values["dagster-user-deployments"]["deployments"]} == {3030}
    assert values["dagsterWebserver"]["service"]["port"] == 3000


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_ingress_leads_to_the_proxies_alone(environment: str) -> None:
    ingress = find(manifests(CLUSTER / environment), "Ingress", "ui")["spec"]
    backends = {
        rule["host"]: path["backend"]["service"]["name"] for rule in ingress["rules"] for path in rule["http"]["paths"]
    }

    assert set(backends.values()) == {"ui-proxy", "ui-proxy-read-only", "console"}
    assert sorted(backends) == sorted(host for one in ingress["tls"] for host in one["hosts"])
    assert merged(environment)["ingress"]["enabled"] is False


@pytest.mark.parametrize("name", ["ui-proxy", "ui-proxy-read-only", "console"])
def test_a_proxy_is_as_restricted_as_every_other_pod(name: str) -> None:
    pod = find(common(), "Deployment", name)["spec"]["template"]["spec"]

    check_restricted(pod)


@pytest.mark.parametrize(
    ("name", "upstream"),
    [("ui-proxy", "cath-dagster-webserver"), ("ui-proxy-read-only", "cath-dagster-webserver-read-only")],
)
def test_each_ui_has_its_own_proxy_with_its_own_group(name: str, upstream: str) -> None:
    (proxy,) = find(common(), "Deployment", name)["spec"]["template"]["spec"]["containers"]

    assert f"--upstream=http://{upstream}:3000/" in proxy["args"]
    assert proxy["envFrom"] == [{"secretRef": {"name": name}}]
    assert not any("skip-auth" in argument for argument in proxy["args"])


def test_the_probe_is_as_restricted_as_every_other_pod_and_of_this_version() -> None:
    probe = find(common(), "CronJob", "health")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    image = merged("production")["dagsterDaemon"]["image"]

    check_restricted(probe)
    assert [one["image"] for one in probe["containers"]] == [f"{image['repository']}:{image['tag']}"]


def test_every_kind_of_pod_that_serves_has_a_disruption_budget() -> None:
    budgets = [one["spec"] for one in common() if one["kind"] == "PodDisruptionBudget"]

    assert {one["selector"]["matchLabels"]["component"] for one in budgets} == KINDS
    # A budget that allows none would stop every upgrade of a node.
    assert {one["maxUnavailable"] for one in budgets} == {1}


def test_the_values_hold_every_pod_of_the_chart_to_the_standard() -> None:
    values = merged("production")
    pods = [values["dagsterDaemon"], values["dagsterWebserver"], *values["dagster-user-deployments"]["deployments"]]

    for one in pods:
        check_restricted(
            {
                "securityContext": one["podSecurityContext"],
                "containers": [{"securityContext": one["securityContext"], "resources": one["resources"]}],
            }
        )


def test_the_console_is_of_this_version_believes_its_own_pod_alone_and_has_no_service_s_secret() -> None:
    console, proxy = find(common(), "Deployment", "console")["spec"]["template"]["spec"]["containers"]
    image = merged("production")["dagsterDaemon"]["image"]
    environ = {one["name"]: one["value"] for one in console["env"]}

    assert console["image"] == f"{image['repository']}:{image['tag']}"
    assert environ["CONSOLE_HOST"] == environ["CONSOLE_TRUSTED_PROXIES"] == "127.0.0.1"
    assert [one["secretRef"]["name"] for one in console["envFrom"] if "secretRef" in one] == ["console"]
    assert "ports" not in console
    assert f"--upstream=http://127.0.0.1:{DEFAULT_PORT}/" in proxy["args"]
    # What passes the sign-in asks for a token itself, or is open to all, and has no word on who somebody is.
    (passed,) = (one.partition("=")[2] for one in proxy["args"] if one.startswith("--skip-auth-route="))
    assert [path for path in ("/api/v1/jobs", "/healthz", "/readyz", "/metrics") if not re.search(passed, path)] == []
    assert [
        path for path in ("/", "/jobs/x", "/audit", "/tokens", "/healthz/", "/x/api/v1/") if re.search(passed, path)
    ] == []
    assert "--skip-auth-strip-headers=true" in proxy["args"]
