"""Which tools may be called to measure a server: those that are named for it, and of these the ones that only read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cath_dagster.core.ports.mcp import McpTool

NOT_THERE = "the server has no such tool"
MAY_WRITE = "the server does not say that it only reads"
MAY_DESTROY = "the server says that it may destroy"
UNKNOWN = "the server's list of tools could not be read"


@dataclass(frozen=True, kw_only=True)
class Permission:
    """What may be called, with which arguments, and what is refused, why."""

    allowed: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    refused: Mapping[str, str] = field(default_factory=dict)


def permit(named: Mapping[str, Mapping[str, Any]], tools: Iterable[McpTool] | None, *, read_only: bool) -> Permission:
    """Hold the tools that the configuration names against what the server says of them; None: it says nothing.

    What a server says is a hint: a tool that nobody named is called by no hint whatever.
    """
    known = None if tools is None else {tool.name: tool for tool in tools}
    refused = {name: why for name in named if (why := _refusal(name, known, read_only=read_only))}
    return Permission(
        allowed={name: arguments for name, arguments in named.items() if name not in refused}, refused=refused
    )


def _refusal(name: str, known: Mapping[str, McpTool] | None, *, read_only: bool) -> str | None:
    if known is None:
        return UNKNOWN
    tool = known.get(name)
    if tool is None:
        return NOT_THERE
    if not read_only:
        return None
    if tool.is_destructive:
        return MAY_DESTROY
    return None if tool.is_read_only else MAY_WRITE
