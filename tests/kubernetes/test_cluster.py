"""That the simulated cluster does what the launcher's tests rely on, seen through Kubernetes' own client."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException

from tests.kubernetes.api import NAMESPACE, Fault, KubernetesApi
from tests.kubernetes.cluster import Cluster

pytestmark = pytest.mark.stack

IMAGE = "registry.example.org/tools:1"
IGNORES_SIGTERM = "trap '' TERM; echo ready; while :; do sleep 0.1; done"


@dataclass
class Client:
    api: KubernetesApi
    batch: kubernetes.client.BatchV1Api
    core: kubernetes.client.CoreV1Api

    def run(
        self, name: str, script: str, *, image: str = IMAGE, container: Any = None, pod: Any = None, **spec: Any
    ) -> None:
        """Create a Job that runs a shell script."""
        one = {"name": "main", "image": image, "args": ["/bin/sh", "-c", script], **(container or {})}
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"restartPolicy": "Never", "containers": [one], **(pod or {})},
        }
        body = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, **spec, "template": template}}
        self.batch.create_namespaced_job(NAMESPACE, body)

    def pods(self, name: str) -> Sequence[Any]:
        pods: Sequence[Any] = self.core.list_namespaced_pod(NAMESPACE, label_selector=f"job-name={name}").items
        return pods

    def ended(self, name: str) -> tuple[str, str]:
        """Wait for a Job's end; return its condition and the reason."""
        wait(lambda: bool(self.batch.read_namespaced_job_status(name, NAMESPACE).status.conditions))
        (end,) = self.batch.read_namespaced_job_status(name, NAMESPACE).status.conditions
        return end.type, end.reason

    def says(self, name: str, words: str) -> None:
        """Wait until the only pod of a Job has said something."""
        wait(
            lambda: any(
                words in self.core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE) for pod in self.pods(name)
            )
        )


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    cluster = Cluster(tmp_path / "pods", {"PATH": "/usr/bin:/bin"}, {IMAGE})
    with KubernetesApi(cluster, tmp_path / "kubeconfig.yaml") as api:
        made = kubernetes.config.new_client_from_config(str(api.kubeconfig))
        yield Client(api, kubernetes.client.BatchV1Api(made), kubernetes.client.CoreV1Api(made))
        made.close()


def test_a_job_that_fails_is_repeated_as_often_as_it_says(client: Client) -> None:
    client.run("thrice", "exit 3", backoffLimit=2)

    assert client.ended("thrice") == ("Failed", "BackoffLimitExceeded")
    pods = client.pods("thrice")
    assert [pod.status.container_statuses[0].state.terminated.exit_code for pod in pods] == [3, 3, 3]


def test_a_job_that_succeeds_is_complete(client: Client) -> None:
    client.run("fine", "echo done")

    assert client.ended("fine") == ("Complete", "")
    client.says("fine", "done")


def test_selectors_take_the_pods_of_one_job_alone(client: Client) -> None:
    client.run("one", "exit 0")
    client.run("other", "exit 0")
    client.ended("one")
    client.ended("other")

    assert [pod.metadata.labels["app"] for pod in client.pods("one")] == ["one"]
    everything = client.core.list_namespaced_pod(NAMESPACE).items
    assert sorted(pod.metadata.labels["app"] for pod in everything) == ["one", "other"]


def test_a_pod_that_heeds_no_signal_is_killed_after_its_grace(client: Client) -> None:
    client.run("stubborn", IGNORES_SIGTERM, pod={"terminationGracePeriodSeconds": 1})
    client.says("stubborn", "ready")
    (pod,) = client.pods("stubborn")

    client.core.delete_namespaced_pod(pod.metadata.name, NAMESPACE)

    assert client.ended("stubborn") == ("Failed", "BackoffLimitExceeded")
    assert client.pods("stubborn") == []


def test_a_deleted_job_leaves_its_pods_as_it_does_by_default(client: Client) -> None:
    client.run("left", IGNORES_SIGTERM)
    client.says("left", "ready")

    client.batch.delete_namespaced_job("left", NAMESPACE)

    (pod,) = client.pods("left")
    assert pod.status.phase == "Running"


def test_a_job_beyond_its_deadline_is_ended(client: Client) -> None:
    client.run("slow", "sleep 60", activeDeadlineSeconds=1)

    assert client.ended("slow") == ("Failed", "DeadlineExceeded")


def test_a_deadline_is_reached_as_soon_as_so_much_time_was_let_pass(client: Client) -> None:
    client.run("slow", "echo ready; sleep 60", activeDeadlineSeconds=3_600)
    client.says("slow", "ready")

    client.api.cluster.pass_time(3_600)

    assert client.ended("slow") == ("Failed", "DeadlineExceeded")


def test_a_pod_waits_for_its_image_and_its_secret_and_says_so(client: Client) -> None:
    secret = {"envFrom": [{"secretRef": {"name": "word"}}]}
    client.run("waits", 'echo "the word is $WORD"', image="missing", container=secret)
    wait(lambda: bool(client.pods("waits")) and waiting_for(client, "waits") == "ImagePullBackOff")
    client.api.cluster.images.add("missing")
    wait(lambda: waiting_for(client, "waits") == "CreateContainerConfigError")
    (pod,) = client.pods("waits")
    events = client.core.list_namespaced_event(NAMESPACE, field_selector=f"involvedObject.name={pod.metadata.name}")
    assert "missing" in events.items[0].message

    client.core.create_namespaced_secret(
        NAMESPACE, {"metadata": {"name": "word"}, "data": {"WORD": "b3BlbiBzZXNhbWU="}}
    )

    assert client.ended("waits") == ("Complete", "")
    client.says("waits", "the word is open sesame")


def waiting_for(client: Client, name: str) -> str | None:
    (pod,) = client.pods(name)
    statuses = pod.status.container_statuses
    reason: str | None = statuses[0].state.waiting.reason if statuses and statuses[0].state.waiting else None
    return reason


def test_what_kubernetes_would_not_take_is_refused(client: Client) -> None:
    with pytest.raises(ApiException) as refused:
        client.run("wrong", "exit 0", parallelism="many")

    assert refused.value.status == 422


def test_a_name_is_taken_once(client: Client) -> None:
    client.run("once", "exit 0")

    with pytest.raises(ApiException) as refused:
        client.run("once", "exit 0")

    assert refused.value.status == 409


def test_a_stranger_is_turned_away(client: Client) -> None:
    client.core.api_client.configuration.api_key = {}

    with pytest.raises(ApiException) as refused:
        client.core.list_namespaced_pod(NAMESPACE)

    assert refused.value.status == 401


def test_a_fault_comes_as_often_as_it_was_asked_for(client: Client) -> None:
    client.api.faults.append(Fault("GET", "pods", 500, "", times=2))

    for _ in range(2):
        with pytest.raises(ApiException):
            client.core.list_namespaced_pod(NAMESPACE)
    assert client.core.list_namespaced_pod(NAMESPACE).items == []
