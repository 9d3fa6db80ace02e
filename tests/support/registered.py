"""A code location of a test's own: its package is written into a folder and put in the registry, and is gone afterwards."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

from cath_dagster import registry
from cath_dagster.core.model.location import CodeLocation

INIT = """
from cath_dagster.core.model.location import CodeLocation

{constant} = CodeLocation(name="{name}", package="{name}")
"""


@contextlib.contextmanager
def registered(folder: Path, name: str, jobs: Mapping[str, str]) -> Iterator[CodeLocation]:
    """Yield a location whose jobs have these texts, by name."""
    package = folder / name
    (package / "jobs").mkdir(parents=True)
    (package / "__init__.py").write_text(INIT.format(constant=name.upper(), name=name))
    (package / "jobs" / "__init__.py").write_text("")
    for job, text in jobs.items():
        (package / "jobs" / f"{job}.py").write_text(text)
    try:
        with (
            patch.object(sys, "path", [str(folder), *sys.path]),
            patch.object(registry, "PACKAGES", (*registry.PACKAGES, name)),
        ):
            yield registry.find_location(name)
    finally:
        registry._specs_of.cache_clear()
        for module in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
            del sys.modules[module]
