"""A cluster of one node for tests: keeps objects, and does for Jobs what Kubernetes' own controllers do."""

import base64
import contextlib
import copy
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.kubernetes.kubelet import Container, MissingConfigurationError

Tree = dict[str, Any]

POLL_SECONDS = 0.05
BACKOFF_SECONDS = 0.2
"""Between two pods of a Job; ten seconds and more on a real cluster."""
DEFAULT_BACKOFF_LIMIT = 6
DEFAULT_GRACE_SECONDS = 30


class ConflictError(Exception):
    """There is an object of that name."""


class NotFoundError(Exception):
    """There is no object of that name."""


@dataclass
class Cluster:
    """Objects by resource, namespace and name; pods are processes on this machine.

    `environ` is what the image brings with it. Pods of an image that is not in `images` wait for it.
    """

    folder: Path
    environ: Mapping[str, str]
    images: set[str]
    objects: dict[tuple[str, str, str], Tree] = field(default_factory=dict)
    containers: dict[tuple[str, str], Container] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _passed_seconds: float = 0.0

    def create(self, resource: str, namespace: str, body: Tree) -> Tree:
        """Keep a new object; a Job starts to run. Raises `ConflictError` if there is one of that name."""
        made = copy.deepcopy(body)
        name = made["metadata"]["name"]
        with self.lock:
            if (resource, namespace, name) in self.objects:
                raise ConflictError(f'{resource} "{name}" already exists')
            made["metadata"] |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now()}
            self.objects[resource, namespace, name] = made
        if resource == "jobs":
            made["status"] = {"startTime": now(), "active": 1}
            self._start(lambda: self._control(namespace, name))
        return copy.deepcopy(made)

    def read(self, resource: str, namespace: str, name: str) -> Tree:
        """Return a copy of an object; raise `NotFoundError` if there is none."""
        with self.lock:
            if (resource, namespace, name) not in self.objects:
                raise NotFoundError(f'{resource} "{name}" not found')
            return copy.deepcopy(self.objects[resource, namespace, name])

    def list(self, resource: str, namespace: str, labels: Mapping[str, str], fields: Mapping[str, str]) -> list[Tree]:
        """Return copies of the objects that a selector takes."""
        with self.lock:
            return [
                copy.deepcopy(one)
                for (kind, where, _), one in self.objects.items()
                if (kind, where) == (resource, namespace) and selects(one, labels, fields)
            ]

    def delete(self, resource: str, namespace: str, name: str, *, grace_seconds: float | None = None) -> Tree:
        """Remove an object. A pod is asked to end first; the pods of a Job stay, as they do by default."""
        removed = self.read(resource, namespace, name)
        if resource == "pods":
            self._end_pod(namespace, name, grace_seconds)
        else:
            with self.lock:
                del self.objects[resource, namespace, name]
        return removed

    def log(self, namespace: str, name: str) -> str:
        self.read("pods", namespace, name)
        path = self._pod_folder(name) / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def pass_time(self, seconds: float) -> None:
        """Let the deadlines of Jobs come nearer at once, so that no test depends on how fast a pod is before."""
        self._passed_seconds += seconds

    def stop(self) -> None:
        """Kill every pod and wait for all that runs on their behalf."""
        self._stopping.set()
        for container in list(self.containers.values()):
            container.kill()
        for thread in self._threads:
            thread.join(timeout=10)

    def _clock(self) -> float:
        return time.monotonic() + self._passed_seconds

    # What the Job controller does.

    def _control(self, namespace: str, name: str) -> None:
        job = self.read("jobs", namespace, name)
        spec = job["spec"]
        limit = spec.get("backoffLimit", DEFAULT_BACKOFF_LIMIT)
        deadline = self._clock() + spec.get("activeDeadlineSeconds", float("inf"))
        for attempt in range(limit + 1):
            exit_code = self._run_pod(job, deadline)
            if exit_code == 0:
                self._finish(namespace, name, {"succeeded": 1}, "Complete", "")
                return
            overdue = self._clock() >= deadline
            if overdue or attempt == limit:
                reason = "DeadlineExceeded" if overdue else "BackoffLimitExceeded"
                self._finish(namespace, name, {"failed": attempt + 1}, "Failed", reason)
                return
            if not self._exists("jobs", namespace, name) or self._stopping.wait(BACKOFF_SECONDS):
                return

    def _finish(self, namespace: str, name: str, counts: Mapping[str, int], condition: str, reason: str) -> None:
        with self.lock:
            job = self.objects.get(("jobs", namespace, name))
            if job is not None:
                end = {"type": condition, "status": "True", "reason": reason, "lastTransitionTime": now()}
                job["status"] = {"startTime": job["status"]["startTime"], **counts, "conditions": [end]}
        if condition == "Failed":
            self._warn(namespace, "Job", name, reason, f"Job has failed: {reason}")

    # What the kubelet does.

    def _run_pod(self, job: Tree, deadline: float) -> int | None:
        """Run one pod of a Job to its end; return its exit code, None if it never started."""
        namespace, pod = job["metadata"]["namespace"], pod_of(job)
        name = pod["metadata"]["name"]
        pod = self.create("pods", namespace, pod)
        container = self._prepare(namespace, pod, deadline)
        if container is None:
            return None
        self._report(namespace, name, "Running", {"running": {"startedAt": now()}})
        while container.exit_code() is None:
            if self._clock() >= deadline and not container.asked:
                container.ask(grace_seconds(pod))
            container.keep_time()
            time.sleep(POLL_SECONDS)
        code = container.exit_code()
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "finishedAt": now()}
        self._report(namespace, name, "Failed" if code else "Succeeded", {"terminated": ended})
        with self.lock:
            if container.asked:
                self.objects.pop(("pods", namespace, name), None)
            del self.containers[namespace, name]
        return code

    def _prepare(self, namespace: str, pod: Tree, deadline: float) -> Container | None:
        """Return the started container of a pod once there is all it needs; None if the pod is gone before."""
        (spec,) = pod["spec"]["containers"]
        name = pod["metadata"]["name"]
        while self._exists("pods", namespace, name) and self._clock() < deadline and not self._stopping.is_set():
            if spec["image"] not in self.images:
                waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{spec["image"]}"'}
            else:
                try:
                    environ = self._environ(namespace, spec)
                except MissingConfigurationError as missing:
                    waiting = {"reason": "CreateContainerConfigError", "message": str(missing)}
                else:
                    folder = self._pod_folder(name)
                    with self.lock:
                        if not self._exists("pods", namespace, name):
                            return None
                        started = Container.start(spec["args"], environ, folder)
                        self.containers[namespace, name] = started
                    return started
            self._report(namespace, name, "Pending", {"waiting": waiting})
            self._warn(namespace, "Pod", name, "Failed", waiting["message"])
            time.sleep(POLL_SECONDS)
        with self.lock:
            self.objects.pop(("pods", namespace, name), None)
        return None

    def _environ(self, namespace: str, container: Tree) -> dict[str, str]:
        """Return what a container's process sees; raise `MissingConfigurationError` for a source that is not there."""
        environ = dict(self.environ)
        for source in container.get("envFrom", ()):
            for key, resource in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
                if key in source:
                    environ |= self._data(resource, namespace, source[key]["name"])
        for entry in container.get("env", ()):
            if "value" in entry:
                environ[entry["name"]] = entry["value"]
            else:
                chosen = entry["valueFrom"]["secretKeyRef"]
                environ[entry["name"]] = self._data("secrets", namespace, chosen["name"])[chosen["key"]]
        return environ

    def _data(self, resource: str, namespace: str, name: str) -> dict[str, str]:
        try:
            found = self.read(resource, namespace, name)
        except NotFoundError as error:
            raise MissingConfigurationError(str(error)) from None
        data: dict[str, str] = found.get("data", {})
        return {key: base64.b64decode(one).decode() for key, one in data.items()} if resource == "secrets" else data

    def _end_pod(self, namespace: str, name: str, grace: float | None) -> None:
        with self.lock:
            pod = self.objects["pods", namespace, name]
            container = self.containers.get((namespace, name))
            if container is None:
                del self.objects["pods", namespace, name]
            else:
                pod["metadata"]["deletionTimestamp"] = now()
                container.ask(grace_seconds(pod) if grace is None else grace)

    def _report(self, namespace: str, name: str, phase: str, state: Tree) -> None:
        with self.lock:
            pod = self.objects.get(("pods", namespace, name))
            if pod is not None:
                (spec,) = pod["spec"]["containers"]
                pod["status"] = {
                    "phase": phase,
                    "containerStatuses": [
                        {
                            "name": spec["name"],
                            "image": spec["image"],
                            "imageID": "",
                            "ready": "running" in state,
                            "restartCount": 0,
                            "state": state,
                            "lastState": {},
                        }
                    ],
                }

    def _warn(self, namespace: str, kind: str, name: str, reason: str, message: str) -> None:
        """Keep a warning event, one for each object and reason."""
        event = {
            "metadata": {"name": f"{name}.{reason.lower()}"},
            "involvedObject": {"kind": kind, "name": name, "namespace": namespace},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "count": 1,
        }
        with contextlib.suppress(ConflictError):
            self.create("events", namespace, event)

    def _exists(self, resource: str, namespace: str, name: str) -> bool:
        with self.lock:
            return (resource, namespace, name) in self.objects

    def _pod_folder(self, name: str) -> Path:
        return self.folder / name

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()


def pod_of(job: Tree) -> Tree:
    """Return a new pod from a Job's template, labelled as its own."""
    name, template = job["metadata"]["name"], copy.deepcopy(job["spec"]["template"])
    labels = {**template["metadata"].get("labels", {}), "job-name": name, "batch.kubernetes.io/job-name": name}
    metadata = {**template["metadata"], "name": f"{name}-{uuid.uuid4().hex[:5]}", "labels": labels}
    return {"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}}


def grace_seconds(pod: Tree) -> float:
    return float(pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS))


def selects(one: Tree, labels: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    """Return whether an object has the labels, and the fields by their dotted paths."""
    own = one["metadata"].get("labels", {})
    if any(own.get(key) != value for key, value in labels.items()):
        return False
    return all(value == at(one, path.split(".")) for path, value in fields.items())


def at(tree: Any, path: Sequence[str]) -> Any:
    for step in path:
        tree = tree.get(step, {})
    return tree


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
