"""Read which MCP servers there are from the service's own `mcp/config.json`; what is not understood is refused, not guessed.

`mcpServers` has a server by name: `command`, `args`, `env` and `cwd` for one that is started, in the folder that holds the
service's `mcp` unless `cwd` names another below or beside it; `url` and `headers` for one that is spoken to over HTTP; `tools`, the names that it should have, and `loadTools`, the tools that may be
called to measure it with the arguments to call them with. `${NAME}` in any of the strings stands for the variable
`CLOUDMAKE_NAME`.
"""

import ipaddress
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cath_dagster.adapters import mcp_client
from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.servers.json_files import load_json, mapping, object_of, string, strings
from cath_dagster.core.errors import ConfigurationError, MissingConfigurationError
from cath_dagster.core.ports.mcp import McpAddress, McpEndpoint, McpProcess, McpTool
from cath_dagster.core.run.job_run import JobRun

VARIABLE = "MCP_CONFIG"
LONGEST_NAME = 128
"""What the column takes in databases made by the service's ORM."""
_OF_PROCESS = frozenset({"command", "args", "env", "cwd"})
_OF_ADDRESS = frozenset({"url", "headers"})
_OF_BOTH = frozenset({"type", "tools", "loadTools"})
_TYPES = {"stdio": "command", "http": "url", "streamable-http": "url", "streamableHttp": "url"}
_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server of the configuration."""

    name: str
    endpoint: McpEndpoint
    tools: tuple[str, ...] | None = None
    """The names of the tools that it is configured to have; None where the configuration does not say."""
    load_tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """By name, the tools that may be called to measure it, and the arguments."""

    @property
    def downloads(self) -> bool:
        """Whether its command fetches a package whenever it starts."""
        process = self.endpoint
        return isinstance(process, McpProcess) and Path(process.command).name in ("npx", "uvx", "bunx", "pnpx")


def read_tools(server: Server, *, connect_seconds: float = 30, call_seconds: float = 10) -> tuple[McpTool, ...]:
    """Return the tools that a server has now, sorted by name; raise `McpError` with the reason where it does not tell."""
    return mcp_client.read_tools(server.endpoint, connect_seconds=connect_seconds, call_seconds=call_seconds)


def check_answers(server: Server, *, connect_seconds: float, call_seconds: float) -> None:
    """Ask a server whether it is there; raise `McpError` with the reason where it does not answer."""
    mcp_client.check_answers(server.endpoint, connect_seconds=connect_seconds, call_seconds=call_seconds)


def configured_servers(run: JobRun, chosen: str = "") -> tuple[Server, ...]:
    """Return the servers of the configuration, sorted by name, or those chosen by name with commas between.

    Raises `MissingConfigurationError` naming the variables that are not set, and `ConfigurationError` for what the file
    has that is not understood.
    """
    return read_servers(Path(run.require(VARIABLE)[VARIABLE]), run.environ, chosen)


def read_servers(path: Path, environ: Mapping[str, str], chosen: str = "") -> tuple[Server, ...]:
    """Return the servers of a file; see `configured_servers`."""
    given = object_of(load_json(path, VARIABLE), f"{path}", {"mcpServers", "$schema"})
    entries = mapping(given.get("mcpServers"), f"{path}: mcpServers")
    names = _choose(path, entries, chosen)
    variables = _Variables(environ)
    servers = tuple(_server(name, entries[name], variables, path) for name in names)
    variables.check(path)
    return servers


class _Variables:
    """Puts in variables for `${NAME}`, and keeps count of those that are missing so as to name them all."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._missing: dict[str, str] = {}

    def fill(self, text: str, where: str) -> str:
        filled = _REFERENCE.sub(lambda found: self._value(found[1]), text)
        if "${" in _REFERENCE.sub("", text):
            raise ConfigurationError(f"{where} has a ${{…}} that is no ${{NAME}}; defaults and the like are not read")
        return filled

    def check(self, path: Path) -> None:
        if self._missing:
            named = ", ".join(sorted(self._missing.values()))
            raise MissingConfigurationError(
                f"{', '.join(sorted(self._missing))} not set; set it in the environment of the run: {path} has {named}"
            )

    def _value(self, name: str) -> str:
        variable = name if name.startswith(f"{CLOUDMAKE.prefix}_") else f"{CLOUDMAKE.prefix}_{name}"
        value = self._environ.get(variable)
        if not value:
            self._missing[variable] = f"${{{name}}}"
        return value or ""


def _choose(path: Path, entries: Mapping[str, Any], chosen: str) -> list[str]:
    if not entries:
        raise ConfigurationError(f"{path} configures no server under mcpServers")
    wanted = {name.strip() for name in chosen.split(",") if name.strip()}
    unknown = sorted(wanted - set(entries))
    if unknown:
        raise ConfigurationError(f"{path} has no server {', '.join(unknown)}; it has {', '.join(sorted(entries))}")
    return sorted(wanted or entries)


def _server(name: str, given: Any, variables: _Variables, path: Path) -> Server:
    where = f"{path}: {name}"
    if not name.strip() or len(name) > LONGEST_NAME:
        raise ConfigurationError(f"{where} is no name of a server; it may have 1 to {LONGEST_NAME} characters")
    entry = object_of(given, where, _OF_PROCESS | _OF_ADDRESS | _OF_BOTH)
    kind = _kind(entry, where)
    endpoint: McpEndpoint = (
        _process(entry, where, variables, _root(path)) if kind == "command" else _address(entry, where, variables)
    )
    return Server(
        name=name,
        endpoint=endpoint,
        tools=None if entry.get("tools") is None else tuple(strings(entry["tools"], f"{where}: tools")),
        load_tools=load_tools_of(entry.get("loadTools") or {}, f"{where}: loadTools"),
    )


def _kind(entry: Mapping[str, Any], where: str) -> str:
    """Return `command` or `url`, whichever says where the server is."""
    kinds = [kind for kind in ("command", "url") if kind in entry]
    if len(kinds) != 1:
        raise ConfigurationError(f"{where} needs either a command or a url")
    stray = sorted(set(entry) & (_OF_ADDRESS if kinds == ["command"] else _OF_PROCESS))
    if stray:
        raise ConfigurationError(f"{where} has a {kinds[0]}, of which {', '.join(stray)} can be no part")
    declared = entry.get("type")
    if declared is not None and _TYPES.get(str(declared)) != kinds[0]:
        raise ConfigurationError(
            f"{where} is of type {declared!r} and has a {kinds[0]}; known types: {', '.join(_TYPES)}"
        )
    return kinds[0]


def _process(entry: Mapping[str, Any], where: str, variables: _Variables, folder: Path) -> McpProcess:
    args = strings(entry.get("args") or [], f"{where}: args")
    cwd = string(entry.get("cwd", "."), f"{where}: cwd")
    return McpProcess(
        command=variables.fill(string(entry["command"], f"{where}: command"), f"{where}: command"),
        args=tuple(variables.fill(each, f"{where}: args") for each in args),
        env=_filled(entry.get("env") or {}, f"{where}: env", variables),
        cwd=folder / variables.fill(cwd, f"{where}: cwd"),
    )


def _root(path: Path) -> Path:
    """Return the folder from which the service's commands are meant: its root, where the file is its `mcp/config.json`."""
    folder = path.absolute().parent
    return folder.parent if folder.name == "mcp" else folder


def _address(entry: Mapping[str, Any], where: str, variables: _Variables) -> McpAddress:
    url = variables.fill(string(entry["url"], f"{where}: url"), f"{where}: url")
    headers = _filled(entry.get("headers") or {}, f"{where}: headers", variables)
    parts = urlsplit(url)
    # Not shown: a variable may have put a key into it.
    if parts.scheme not in ("https", "http") or not parts.hostname or not _is_whole(url):
        raise ConfigurationError(f"{where}: url must be like https://server.example/mcp")
    if headers and parts.scheme == "http" and not _is_local(parts.hostname):
        raise ConfigurationError(f"{where}: url must be https, or of this machine; headers travel by it")
    return McpAddress(url=url, headers=headers)


def _is_whole(url: str) -> bool:
    """Return whether a URL has no blanks or control characters, and a port that can be one, if any."""
    try:
        return urlsplit(url).port != 0 and not re.search(r"[\x00-\x20\x7f]", url)
    except ValueError:
        return False


def _is_local(host: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def load_tools_of(given: Any, where: str) -> Mapping[str, Mapping[str, Any]]:
    return {name: mapping(arguments, f"{where}: {name}") for name, arguments in mapping(given, where).items()}


def _filled(given: Any, where: str, variables: _Variables) -> dict[str, str]:
    return {
        name: variables.fill(string(value, f"{where}: {name}"), f"{where}: {name}")
        for name, value in mapping(given, where).items()
    }
