"""Dagster with the launcher of the Helm values, before an API of our own or the one that KUBECONFIG names."""

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import kubernetes
import psycopg
import pytest
import yaml

from cath_dagster.development.simulators.notify import NotifySimulator
from tests.conftest import TEMPLATE
from tests.deployment.instance import container_context, image, run_coordinator, run_launcher
from tests.deployment.values import NAMESPACE, Tree, deployments, merged
from tests.kubernetes.api import KubernetesApi
from tests.kubernetes.cluster import Cluster
from tests.support.service import Service
from tests.support.stack import Dagster, database, pooled_storage, started
from tests.support.warm import KUBERNETES, WarmStack

REPOSITORY = Path(__file__).parents[2]
REAL = ("KUBECONFIG", "TEST_KUBERNETES_IMAGE", "TEST_DATABASE_URL")
"""With all of them set the tests run on that cluster: the image holds this version, its pods reach that database."""
MONITORING_SECONDS = 1
"""Half a minute in the values."""


@dataclass
class Platform(Dagster):
    """The running stack and the cluster that its runs go to; `api` is None on a real one."""

    jobs: kubernetes.client.BatchV1Api
    core: kubernetes.client.CoreV1Api
    namespace: str
    folder: Path
    api: KubernetesApi | None

    @property
    def simulator(self) -> KubernetesApi:
        if self.api is None:
            pytest.skip("a real cluster does not fail on request")
        return self.api

    def job(self, run_id: str) -> kubernetes.client.V1Job | None:
        """Return the Job of a run, None if there is none."""
        found = self.jobs.list_namespaced_job(self.namespace, label_selector=f"dagster/run-id={run_id}").items
        assert len(found) <= 1
        return found[0] if found else None

    def pods(self, run_id: str) -> list[kubernetes.client.V1Pod]:
        pods: list[kubernetes.client.V1Pod] = self.core.list_namespaced_pod(
            self.namespace, label_selector=f"dagster/run-id={run_id}"
        ).items
        return pods

    def condition(self, run_id: str) -> str:
        """Return how the Job of a run ended, with the reason if it failed; nothing while it goes on."""
        job = self.job(run_id)
        conditions = (job.status.conditions or []) if job is not None else []
        return next((f"{one.type} {one.reason or ''}".strip() for one in conditions if one.status == "True"), "")

    def pass_time(self, seconds: float) -> None:
        """Let time pass for the deadlines of Jobs. On a real cluster it passes by itself."""
        if self.api is not None:
            self.api.cluster.pass_time(seconds)

    def job_ended(self, run_id: str) -> str:
        """Wait for the end of a run's Job; return how it ended."""
        self.wait(lambda: self.condition(run_id) != "", f"the Job of {run_id} did not end")
        return self.condition(run_id)

    def asked(self, method: str, run_id: str) -> int:
        """Return how often the API was asked about the Job of a run, or to make it."""
        requests = self.simulator.requests
        return sum(asked.startswith(f"{method} ") and "/jobs" in asked and run_id in asked for asked in requests)

    def kill_pod(self, run_id: str) -> None:
        (pod,) = self.pods(run_id)
        self.core.delete_namespaced_pod(pod.metadata.name, self.namespace, grace_period_seconds=0)

    def waits_for_image(self, run_id: str) -> bool:
        statuses = [status for pod in self.pods(run_id) for status in pod.status.container_statuses or []]
        return any(status.state.waiting and "Image" in status.state.waiting.reason for status in statuses)

    def age_launch(self, run_id: str, seconds: float) -> None:
        """Let a run have been launched so much earlier."""
        aged = self.runs.execute(
            "UPDATE event_logs SET timestamp = timestamp - make_interval(secs => %s)"
            " WHERE run_id = %s AND dagster_event_type = 'PIPELINE_STARTING'",
            [seconds, run_id],
        )
        assert aged.rowcount == 1

    def start_daemon(self) -> None:
        self.stack.start("daemon", ["dagster-daemon", "run", "-w", str(self.folder / "workspace.yaml")])

    def stop_daemon(self) -> None:
        daemon = self.stack.processes.pop("daemon")
        daemon.kill()
        daemon.wait()

    def deleted_by(self, *run_ids: str) -> int:
        """Return how many rows the runs deleted by the ledger."""
        deleted: int = self.service.value(
            "SELECT coalesce(sum(deleted), 0)::int FROM maintenance.purge_ledger WHERE run_id = ANY(%s)", list(run_ids)
        )
        return deleted


@pytest.fixture(scope="module")
def running_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("kubernetes")
    with ExitStack() as opened:
        real = all(os.environ.get(name) for name in REAL)
        # A cluster's pods do not reach a pooler on this machine.
        storage = opened.enter_context(database("template1") if real else pooled_storage())
        cath = opened.enter_context(database(os.environ[TEMPLATE]))
        notify = opened.enter_context(NotifySimulator())
        service = opened.enter_context(Service.open(cath, notify, folder, as_of=datetime.now(UTC)))
        values = merged("production")
        api = None if real else opened.enter_context(simulated(folder, values))
        kubeconfig = Path(os.environ["KUBECONFIG"]) if api is None else api.kubeconfig
        client = kubernetes.config.new_client_from_config(str(kubeconfig))
        opened.callback(client.close)
        core = kubernetes.client.CoreV1Api(client)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("CATH_", "DAGSTER_"))}
        seen = plain | service.environ | environ(folder, values, storage, kubeconfig, real)
        stack = WarmStack(seen, folder / "logs", modules=KUBERNETES)
        for made in configuration(service, storage, values):
            opened.callback(lay_down(core, made))
        with started(stack, folder) as port, psycopg.connect(storage, autocommit=True) as runs:
            yield Platform(
                stack, port, service, runs, kubernetes.client.BatchV1Api(client), core, NAMESPACE, folder, api
            )


@pytest.fixture
def platform(running_platform: Platform) -> Iterator[Platform]:
    """Yield the platform with no rows in the log that its tests purge."""
    running_platform.let_go()
    running_platform.service.connection.execute("TRUNCATE ingestion_log")
    yield running_platform
    running_platform.let_go()
    if "daemon" not in running_platform.stack.processes:
        running_platform.start_daemon()
    running_platform.wait(lambda: running_platform.active() == 0, "a run did not end")
    running_platform.wait(lambda: running_platform.sessions() == 0, "a query did not end")
    if running_platform.api is not None:
        running_platform.api.faults.clear()


def simulated(folder: Path, values: Tree) -> KubernetesApi:
    """Return a Kubernetes API of our own, whose image is this checkout."""
    tools = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    brought = {"PATH": tools, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    cluster = Cluster(folder / "pods", brought, {image(deployments(values)["cath"])})
    return KubernetesApi(cluster, folder / "kubeconfig.yaml")


def environ(folder: Path, values: Tree, storage: str, kubeconfig: Path, real: bool) -> dict[str, str]:
    """Return what daemon, code server and UI see, and write the instance that they share."""
    deployment = deployments(values)["cath"]
    launcher = {**run_launcher(values), "load_incluster_config": False, "kubeconfig_file": str(kubeconfig)}
    instance = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    instance["run_coordinator"]["config"] = run_coordinator(values)
    instance["run_launcher"] = {"module": "dagster_k8s", "class": "K8sRunLauncher", "config": launcher}
    instance["run_monitoring"]["poll_interval_seconds"] = MONITORING_SECONDS
    home = folder / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump(instance))
    context = container_context(values, deployment)
    if real:
        context["k8s"]["service_account_name"] = "default"
    return {
        "DAGSTER_HOME": str(home),
        "DAGSTER_POSTGRES_URL": storage,
        "CATH_SCHEDULES": "stopped",
        "DAGSTER_CURRENT_IMAGE": os.environ["TEST_KUBERNETES_IMAGE"] if real else image(deployment),
        "DAGSTER_CLI_API_GRPC_CONTAINER_CONTEXT": json.dumps(context),
    }


def configuration(service: Service, storage: str, values: Tree) -> Iterator[Tree]:
    """Yield the Secrets and ConfigMaps that the values refer to."""
    deployment = deployments(values)["cath"]
    own, *named = container_context(values, deployment)["k8s"]["env_config_maps"]
    secret = {"CATH_DATABASE_URL", "CATH_NOTIFY_API_KEY"}
    yield config_map(own, {"DAGSTER_POSTGRES_URL": storage})
    for name in named:
        told = {"CATH_SCHEDULES": "stopped"} if name.endswith("schedules") else service.environ
        yield config_map(name, {key: value for key, value in told.items() if key not in secret})
    for one in deployment["envSecrets"]:
        yield secret_of(one["name"], {key: service.environ[key] for key in secret})
    yield secret_of(values["global"]["postgresqlSecretName"], {"postgresql-password": "not used by a URL"})


def config_map(name: str, data: dict[str, str]) -> Tree:
    return {"kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret_of(name: str, data: dict[str, str]) -> Tree:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": encoded}


def lay_down(core: kubernetes.client.CoreV1Api, made: Tree) -> Callable[[], object]:
    """Create an object; return what removes it."""
    name = made["metadata"]["name"]
    if made["kind"] == "Secret":
        core.create_namespaced_secret(NAMESPACE, made)
        return lambda: core.delete_namespaced_secret(name, NAMESPACE)
    core.create_namespaced_config_map(NAMESPACE, made)
    return lambda: core.delete_namespaced_config_map(name, NAMESPACE)
