"""The source `mcp`: the tools that a server is configured to have and is described by, and those that it has."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from cath_dagster.cloudmake.drift.comparison import Aspects, compare, digest
from cath_dagster.cloudmake.drift.source import Look, Reading, Source, Surroundings, UnreadableError
from cath_dagster.cloudmake.servers.configuration import VARIABLE, Server, read_servers, read_tools
from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.untrusted_json import parse_json

DESCRIPTORS = "servers"
"""The folder beside the configuration in which each server has one, with a file a tool."""
AT_ONCE = 8
SCHEMA = "input schema"
_OF_NAMES = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""Keywords of JSON Schema whose keys are names, and no keywords."""
_ANNOTATIONS = frozenset({"$schema", "$id", "title", "description", "examples", "$comment"})


def look(surroundings: Surroundings) -> Look:
    """Ask every server for its tools, many at once: one that hangs delays only itself."""
    path = Path(surroundings.variable(VARIABLE))
    servers = read_servers(path, surroundings.environ)
    with ThreadPoolExecutor(min(AT_ONCE, len(servers))) as pool:
        looks = list(pool.map(partial(_look_at, path.parent / DESCRIPTORS), servers))
    return Look(
        readings=tuple(reading for each in looks for reading in each.readings),
        unreadable=tuple(reason for each in looks for reason in each.unreadable),
        notes=tuple(note for each in looks for note in each.notes),
    )


def _look_at(descriptors: Path, server: Server) -> Look:
    try:
        declared = dict(_declared(descriptors / server.name, server))
        if server.tools is None and not declared:
            return Look(notes=(f"of the server {server.name} no tools are declared, so that none are compared",))
        real = {tool.name: {SCHEMA: _schema_digest(tool.input_schema)} for tool in read_tools(server)}
    except MaintenanceError as error:
        return Look(unreadable=(f"server {server.name}: {error}",))
    difference = compare(_as_tools(declared), _as_tools(real))
    return Look(
        readings=(
            Reading(server_name=server.name, source="mcp", difference=difference, declared=len(declared)),
        )
    )  # fmt: skip


def _as_tools(tools: Mapping[str, Aspects]) -> dict[str, Aspects]:
    return {f"tool {name}": aspects for name, aspects in tools.items()}


def _declared(folder: Path, server: Server) -> Iterator[tuple[str, Aspects]]:
    """Yield the tools of the configuration, then those that have a descriptor, with the schema that it states."""
    for name in server.tools or ():
        yield name, {}
    for file in sorted(folder.glob("*.json")):
        described = _load(file)
        if not isinstance(described, dict) or not isinstance(described.get("name"), str):
            raise UnreadableError(f"the descriptor {file.name} has no name")
        schema = described.get("inputSchema")
        yield described["name"], {SCHEMA: _schema_digest(schema)} if schema is not None else {}


def _load(file: Path) -> Any:
    try:
        return parse_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        raise UnreadableError(f"the descriptor {file.name} is no JSON of one document") from None


def _schema_digest(schema: object) -> str:
    """Return a hash of what a schema asks for; what it says to readers is left out."""
    return digest(_asked(schema))


def _asked(schema: object, *, is_names: bool = False) -> object:
    if isinstance(schema, Mapping):
        return {
            key: sorted(value, key=str)
            if key == "required" and isinstance(value, list)
            else _asked(value, is_names=key in _OF_NAMES and not is_names)
            for key, value in schema.items()
            if is_names or key not in _ANNOTATIONS
        }
    return [_asked(each) for each in schema] if isinstance(schema, list | tuple) else schema


SOURCE = Source(name="mcp", look=look, variables=(VARIABLE,))
