"""MCP servers as a job sees them: where one is, what tools it has, and why a question to it was not answered."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cath_dagster.core.errors import MaintenanceError


@dataclass(frozen=True, kw_only=True)
class McpProcess:
    """A server that is started for us and spoken to over its standard input and output."""

    command: str
    args: tuple[str, ...] = field(default=(), repr=False)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """All that it sees of ours beside PATH, HOME and the like."""
    cwd: Path | None = None


@dataclass(frozen=True, kw_only=True)
class McpAddress:
    """A server that is spoken to over streamable HTTP."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


McpEndpoint = McpProcess | McpAddress


@dataclass(frozen=True, kw_only=True)
class McpTool:
    """A tool as its server describes it; what it says of itself are hints, and nobody vouches for them."""

    name: str
    description: str | None
    input_schema: Mapping[str, Any]
    is_read_only: bool = False
    is_destructive: bool = False


class McpFault(enum.StrEnum):
    """Why a question was not answered, in words that logs, tables and breakers keep."""

    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    NOT_STARTED = "not_started"
    ENDED = "ended"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    REFUSED = "refused"
    SERVER_ERROR = "server_error"
    NOT_MCP = "not_mcp"
    PROTOCOL_ERROR = "protocol_error"
    TOOL_ERROR = "tool_error"


EXPLAINED = {
    McpFault.TIMEOUT: "it gave no answer in time",
    McpFault.UNREACHABLE: "it cannot be reached",
    McpFault.NOT_STARTED: "its command cannot be started, or ends at once",
    McpFault.ENDED: "it ended the connection",
    McpFault.UNAUTHORIZED: "it does not know our credentials",
    McpFault.FORBIDDEN: "our credentials may not do this",
    McpFault.RATE_LIMITED: "it asks to slow down",
    McpFault.REFUSED: "it refuses the request",
    McpFault.SERVER_ERROR: "it is at fault by its own words",
    McpFault.NOT_MCP: "what answers does not speak MCP",
    McpFault.PROTOCOL_ERROR: "it answers with an error of the protocol",
    McpFault.TOOL_ERROR: "the tool's result is an error",
}
_BY_STATUS: Mapping[int, McpFault] = {
    HTTPStatus.UNAUTHORIZED: McpFault.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN: McpFault.FORBIDDEN,
    HTTPStatus.NOT_FOUND: McpFault.NOT_MCP,
    HTTPStatus.TOO_MANY_REQUESTS: McpFault.RATE_LIMITED,
}
MISCONFIGURED = frozenset({McpFault.UNAUTHORIZED, McpFault.FORBIDDEN})
"""The server is there, and it is our credentials that are not as they should be."""


class McpError(MaintenanceError):
    """A question was not answered. The message holds nothing that the server said."""

    def __init__(self, fault: McpFault, *, status: int | None = None, retry_after: float | None = None) -> None:
        self.fault = fault
        self.status = status
        self.retry_after = retry_after
        """In seconds, how long the server asks us to wait."""
        super().__init__(f"{fault}: {EXPLAINED[fault]}{f' (HTTP {status})' if status else ''}")

    @classmethod
    def of_status(cls, status: int, retry_after: float | None = None) -> "McpError":
        """Return what an HTTP status that is no success says."""
        other = McpFault.SERVER_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else McpFault.REFUSED
        return cls(_BY_STATUS.get(status, other), status=status, retry_after=retry_after)
