"""The official chart, rendered with our values."""

import os

import pytest
import yaml

from tests.conftest import CHART
from tests.deployment.values import NAMESPACE, Tree, merged


def render(environment: str) -> list[Tree]:
    """Return the objects that the chart makes of an environment's values."""
    if not os.environ.get(CHART):
        pytest.skip(f"{CHART} does not name the folder of the official chart")
    import helm_python

    chart = helm_python.Chart.load(os.environ[CHART])
    files = chart.render(merged(environment), name=NAMESPACE, namespace=NAMESPACE)
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one is not None]


def of(rendered: list[Tree], kind: str) -> dict[str, Tree]:
    return {one["metadata"]["name"]: one for one in rendered if one["kind"] == kind}
