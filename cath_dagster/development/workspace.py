"""The files that list the code locations and say no more of them: written from the registry by `make docs`."""

from collections.abc import Sequence
from pathlib import Path

from cath_dagster.core.model.location import CodeLocation

WORKSPACE = """\
# The code locations, one per service. The name is part of every job's queue key. `make docs` writes this file.
load_from:
"""
MODULE = """\
  - python_module:
      module_name: {package}.definitions
      location_name: {name}
"""
SCHEDULES = {
    "running": """\
# For the one cluster that runs the schedules. Every other has schedules-standby.yaml in its place: the two make the same
# ConfigMap, so that a cluster has one of them. `make docs` writes this file.
""",
    "standby": """\
# For every cluster but the one that runs the schedules: no schedule runs here, not even one that somebody starts by hand.
# Jobs can be launched. `make docs` writes this file.
""",
}
CONFIG_MAP = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: cath-dagster-schedules
  namespace: cath-dagster
data:
"""


def render_lists(root: Path, locations: Sequence[CodeLocation]) -> dict[Path, str]:
    """Return each file that lists the locations with the text it should have."""
    modules = (MODULE.format(package=each.package, name=each.name) for each in locations)
    return {
        root / "workspace.yaml": WORKSPACE + "".join(modules),
        **{
            root / f"helm-values/cluster/schedules-{word}.yaml": head
            + CONFIG_MAP
            + "".join(f"  {each.prefix}_SCHEDULES: {word}\n" for each in locations)
            for word, head in SCHEDULES.items()
        },
    }
