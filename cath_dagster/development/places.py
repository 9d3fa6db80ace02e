"""Where a code location has to be named besides the registry, and which of them it lacks or no location has."""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cath_dagster.core.model.location import CodeLocation, package_folder
from cath_dagster.development.local import REPOSITORY
from cath_dagster.registry import locations

PARTS = ("definitions.py", "tables.py", "jobs/__init__.py")
"""What every location's package has."""
SAMPLES = "cath_dagster/development/samples"
SHARED_BY_ALL = "cath-dagster-schedules"
_PREFIX = "cath-dagster-"
_ROW = re.compile(r"[^|\s]+")


@dataclass(frozen=True)
class Place:
    """Where every location is named, or every one that is `wanted`; `entry` is what names one, with `{}` for its name."""

    path: str
    entry: str
    named: frozenset[str]
    wanted: frozenset[str]

    def gaps(self) -> Iterator[str]:
        """Yield what is missing here and what is here for nobody."""
        for name in sorted(self.wanted - self.named):
            yield f"{self.path} lacks {self.entry.format(name)}"
        for name in sorted(self.named - self.wanted):
            yield f"{self.path} has {self.entry.format(name)}, and cath_dagster/registry.py names no such location"


def find_gaps(root: Path = REPOSITORY) -> list[str]:
    """Return every place that does not agree with the registry, and in what."""
    there = locations()
    return [gap for place in find_places(root, there) for gap in place.gaps()]


def find_places(root: Path, there: Iterable[CodeLocation]) -> Iterator[Place]:
    """Yield every place in the repository at which locations are named by hand."""
    by_name = {location.name: location for location in there}
    every = frozenset(by_name)
    services = frozenset(name for name, each in by_name.items() if not each.is_of_the_orchestrator)
    for part in PARTS:
        found = {name for name, each in by_name.items() if (package_folder(each.package) / part).exists()}
        if part == PARTS[0]:
            found |= {path.parent.name for path in (root / "cath_dagster").glob(f"*/{part}")}
        yield Place("cath_dagster", f"{{}}/{part}", frozenset(found), every)
    sampled = frozenset(path.parent.name for path in (root / SAMPLES).glob("*/sample.py"))
    yield Place(SAMPLES, "{}/sample.py", sampled, services)
    yield Place("pyproject.toml", "the package of {} beside the others in the layers contract", _layers(root), every)
    tables = frozenset(re.findall(r"<!-- jobs: (\w+) -->", (root / "README.md").read_text()))
    yield Place("README.md", "the table <!-- jobs: {} -->", tables, every)
    runs = frozenset(re.findall(r"def test_every_job_of_(\w+)\(", (root / "tests/test_every_job.py").read_text()))
    yield Place("tests/test_every_job.py", "test_every_job_of_{}", runs, every)
    yield from _in_the_cluster(root / "helm-values", every)


def _layers(root: Path) -> frozenset[str]:
    """Return the names of the packages in that row of the layers contract which has the services."""
    contracts: Any = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    rows = [_ROW.findall(row) for contract in contracts for row in contract.get("layers", ())]
    found = next((row for row in rows if "cath_dagster.operations" in row), [])
    return frozenset(package.rpartition(".")[2] for package in found)


def _in_the_cluster(values: Path, every: frozenset[str]) -> Iterator[Place]:
    base = yaml.safe_load((values / "base.yaml").read_text())
    deployed = frozenset(each["name"] for each in base["dagster-user-deployments"]["deployments"])
    yield Place("helm-values/base.yaml", "the deployment {}", deployed, every)
    for folder in sorted(path for path in (values / "cluster").iterdir() if path.is_dir() and path.name != "common"):
        names = {
            document["metadata"]["name"]
            for path in sorted(folder.glob("*.yaml"))
            for document in yaml.safe_load_all(path.read_text())
            if document and document["kind"] == "ConfigMap"
        }
        configured = frozenset(name.removeprefix(_PREFIX) for name in names - {SHARED_BY_ALL})
        yield Place(f"helm-values/cluster/{folder.name}", f"the ConfigMap {_PREFIX}{{}}", configured, every)
