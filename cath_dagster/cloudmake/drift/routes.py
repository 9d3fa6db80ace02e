"""The source `routes`: the routes that the specifications declare, and those of the document that the service serves."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cath_dagster.cloudmake.drift.comparison import Aspects, compare
from cath_dagster.cloudmake.drift.openapi import read_routes
from cath_dagster.cloudmake.drift.source import Look, Source, Surroundings, UnreadableError, whole
from cath_dagster.core.untrusted_json import parse_json

ROOT, URL = "SPEC_ROOT", "OPENAPI_URL"
PATTERNS = ("specs/*/contracts/openapi.yaml", "specs/*/contracts/openapi.yml", "specs/*/contracts/openapi.json")
TIMEOUT_SECONDS = 15


def look(surroundings: Surroundings) -> Look:
    """Compare them; all specifications are one declaration, since one service serves them all."""
    variable = f"{surroundings.prefix}_{ROOT}"
    declared, notes = _merged(list(_declared(Path(surroundings.variable(ROOT)), variable)))
    real = _served(surroundings.variable(URL), f"{surroundings.prefix}_{URL}")
    found = whole("routes", compare(declared, real), declared=len(declared))
    return Look(readings=found.readings, notes=tuple(notes))


def _declared(root: Path, variable: str) -> Iterator[tuple[str, dict[str, Aspects]]]:
    files = sorted(file for pattern in PATTERNS for file in root.glob(pattern))
    if not files:
        raise UnreadableError(f"{variable}: {root} has no specs/*/contracts/openapi.yaml")
    for file in files:
        name = str(file.relative_to(root))
        yield name, read_routes(_load(file, name), name)


def _load(file: Path, name: str) -> Any:
    # A parser that only this source needs.
    import yaml

    try:
        content = file.read_text(encoding="utf-8-sig")
        return parse_json(content) if file.suffix == ".json" else yaml.load(content, Loader=_loader())  # noqa: S506 - the safe one
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        raise UnreadableError(f"{name} cannot be read as {'JSON' if file.suffix == '.json' else 'YAML'}") from None


def _loader() -> Any:
    """Return the safe loader, by libyaml where it is there."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _merged(documents: list[tuple[str, dict[str, Aspects]]]) -> tuple[dict[str, Aspects], list[str]]:
    """Return the routes of all, of one that several declare those of the last; and where they disagree."""
    merged: dict[str, Aspects] = {}
    notes = []
    for name, routes in documents:
        notes += [
            f"{route} is declared otherwise in {name} than before; the last one counts"
            for route in sorted(merged.keys() & routes.keys())
            if merged[route] != routes[route]
        ]
        merged |= routes
    return merged, notes


def _served(url: str, variable: str) -> dict[str, Aspects]:
    from cath_dagster.adapters.documents import DocumentError, fetch_json

    name = f"the document of {variable}"
    try:
        return read_routes(fetch_json(url, variable, timeout=TIMEOUT_SECONDS), name)
    except DocumentError as error:
        raise UnreadableError(f"{name} {error}") from None


SOURCE = Source(name="routes", look=look, variables=(ROOT, URL))
