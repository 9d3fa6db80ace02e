"""That the workspace, the code's own list of locations and the generated documentation agree."""

from pathlib import Path

import yaml

from cath_dagster.development.documentation import render_all
from cath_dagster.registry import locations

REPOSITORY = Path(__file__).parents[1]


def test_the_workspace_names_every_location_and_no_other() -> None:
    entries = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"]
    named = {entry["python_module"]["location_name"]: entry["python_module"]["module_name"] for entry in entries}

    assert named == {location.name: f"{location.package}.definitions" for location in locations()}


def test_the_documentation_is_current() -> None:
    stale = [path.name for path, text in render_all().items() if path.read_text() != text]

    assert stale == [], "run: make docs"
