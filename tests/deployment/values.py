"""The Helm values and manifests as Helm and Kubernetes would see them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
VALUES = REPOSITORY / "helm-values"
CLUSTER = VALUES / "cluster"
ENVIRONMENTS = ("dev", "staging", "production")
NAMESPACE = "cath-dagster"

Tree = dict[str, Any]


def load(name: str) -> Tree:
    """Return a values file as it stands."""
    loaded: Tree = yaml.safe_load((VALUES / f"{name}.yaml").read_text())
    return loaded


def merged(environment: str) -> Tree:
    """Return the values of an environment: its overlay over the base, by Helm's rules."""
    return merge(load("base"), load(environment))


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Return two trees as one: maps are merged, anything else is replaced, lists as a whole."""
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        both[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


def deployments(values: Mapping[str, Any]) -> dict[str, Tree]:
    """Return the user deployments by name."""
    return {one["name"]: one for one in values["dagster-user-deployments"]["deployments"]}


def launcher(values: Mapping[str, Any]) -> Tree:
    """Return the configuration of the run launcher."""
    found: Tree = values["runLauncher"]["config"]["k8sRunLauncher"]
    return found


def manifests(*places: Path) -> Iterator[Tree]:
    """Yield the Kubernetes objects of files, and of all files of folders."""
    for place in places:
        for path in sorted(place.glob("*.yaml")) if place.is_dir() else [place]:
            for document in yaml.safe_load_all(path.read_text()):
                if document is not None:
                    yield document


def find(objects: Iterator[Tree], kind: str, name: str) -> Tree:
    """Return the object of a kind and name."""
    (found,) = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def differences(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the leaves of a tree, each with its path."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from differences(value, (*path, key))
        else:
            yield (*path, key), value
