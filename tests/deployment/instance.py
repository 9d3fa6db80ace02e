"""What the chart makes of the values: the queue's and the launcher's configuration, and a code server's own.

With the chart at hand, `test_chart.py` holds this against what it renders.
"""

from typing import Any

from tests.deployment.values import NAMESPACE, Tree, launcher

RUN_K8S_CONFIG = {
    "containerConfig": "container_config",
    "podSpecConfig": "pod_spec_config",
    "podTemplateSpecMetadata": "pod_template_spec_metadata",
    "jobSpecConfig": "job_spec_config",
}


def run_launcher(values: Tree) -> Tree:
    """Return the configuration of the `K8sRunLauncher` in the instance."""
    given = launcher(values)
    return {
        "load_incluster_config": given["loadInclusterConfig"],
        "job_namespace": NAMESPACE,
        "image_pull_policy": given["imagePullPolicy"],
        "service_account_name": values["serviceAccount"]["name"],
        "dagster_home": values["global"]["dagsterHome"],
        "instance_config_map": f"{NAMESPACE}-instance",
        "postgres_password_secret": values["global"]["postgresqlSecretName"],
        "resources": given["resources"],
        "fail_pod_on_run_failure": given["failPodOnRunFailure"],
        "run_k8s_config": {RUN_K8S_CONFIG[name]: one for name, one in given["runK8sConfig"].items()},
    }


def run_coordinator(values: Tree) -> Tree:
    """Return the configuration of the `QueuedRunCoordinator` in the instance."""
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    return {
        "max_concurrent_runs": queue["maxConcurrentRuns"],
        "tag_concurrency_limits": queue["tagConcurrencyLimits"],
        "dequeue_interval_seconds": queue["dequeueIntervalSeconds"],
        "dequeue_use_threads": queue["dequeueUseThreads"],
        "dequeue_num_workers": queue["dequeueNumWorkers"],
    }


def container_context(values: Tree, deployment: Tree) -> Tree:
    """Return what the pods of a location's runs have beyond the launcher's configuration."""
    context: dict[str, Any] = {
        "image_pull_policy": deployment["image"]["pullPolicy"],
        "env_config_maps": [
            f"{NAMESPACE}-dagster-user-deployments-{deployment['name']}-user-env",
            *(one["name"] for one in deployment["envConfigMaps"]),
        ],
        "env_secrets": [one["name"] for one in deployment["envSecrets"]],
        "volume_mounts": deployment["volumeMounts"],
        "volumes": deployment["volumes"],
        "labels": deployment["labels"],
        "resources": deployment["resources"],
        "namespace": NAMESPACE,
        "service_account_name": values["dagster-user-deployments"]["serviceAccount"]["name"],
        "run_k8s_config": {
            "pod_spec_config": {
                "automount_service_account_token": True,
                "security_context": deployment["podSecurityContext"],
            }
        },
    }
    return {"k8s": context}


def image(deployment: Tree) -> str:
    """Return an image by its full name."""
    return f"{deployment['image']['repository']}:{deployment['image']['tag']}"
