"""Cloudflare, Neon and Postman on loopback, as far as removing a preview's resources goes.

They know the resources that they were given, delete them once, and answer what the real ones answer to everything else. A
fault can be planted for the next requests.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import cast

from cath_dagster.development.simulators.loopback import Loopback, LoopbackServer

HANG_UP = 0
"""A planted status: the connection is closed without an answer."""
SILENCE = -1
"""A planted status: no answer comes before the server is stopped."""


@dataclass
class PreviewProviders(Loopback):
    """All three behind one address; `token` is what each of them takes, in its own header."""

    token: str = "made-up-token"  # noqa: S105 - worth nothing
    deployments: set[tuple[str, str, str]] = field(default_factory=set)
    """Account, Pages project, deployment."""
    branches: set[tuple[str, str]] = field(default_factory=set)
    """Project, branch."""
    environments: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    """Projects at Neon and Cloudflare that are not there, or not shown to this token; all others are."""
    removed: list[str] = field(default_factory=list)
    """The paths of the resources that were deleted, in order."""
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    faults: list[int] = field(default_factory=list)
    """Statuses that the next requests get, whatever they ask."""

    def __post_init__(self) -> None:
        super().__init__()

    def _listen(self, port: int) -> LoopbackServer:
        return _Server(self, port)

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def environment(self) -> dict[str, str]:
        """Return the variables by which the job finds them."""
        return {
            "CLOUDMAKE_CLOUDFLARE_API_URL": f"{self.url}/cloudflare",
            "CLOUDMAKE_CLOUDFLARE_API_TOKEN": self.token,
            "CLOUDMAKE_CLOUDFLARE_ACCOUNT_ID": "account-1",
            "CLOUDMAKE_NEON_API_URL": f"{self.url}/neon",
            "CLOUDMAKE_NEON_API_KEY": self.token,
            "CLOUDMAKE_POSTMAN_API_URL": f"{self.url}/postman",
            "CLOUDMAKE_POSTMAN_API_KEY": self.token,
        }

    def delete(self, path: str, credential: str) -> tuple[int, object]:
        """Return status and body of a DELETE."""
        if credential != self.token:
            return HTTPStatus.UNAUTHORIZED, {
                "success": False,
                "errors": [{"code": 10000, "message": "planted message"}],
            }
        place = path.partition("?")[0].strip("/").split("/")
        if not self._discard(place, path):
            return HTTPStatus.NOT_FOUND, {"success": False, "errors": [{"code": 8000009}]}
        self.removed.append("/" + "/".join(place))
        return HTTPStatus.OK, {"success": True, "result": None}

    def show(self, path: str, credential: str) -> tuple[int, object]:
        """Return status and body of a GET of a project."""
        if credential != self.token:
            return HTTPStatus.UNAUTHORIZED, {"success": False}
        name = path.rstrip("/").rpartition("/")[2]
        return (HTTPStatus.NOT_FOUND, {"success": False}) if name in self.hidden else (HTTPStatus.OK, {"success": True})

    def _discard(self, place: list[str], path: str) -> bool:
        """Forget a resource; return whether there was one."""
        match place:
            case [*_, "projects", project, _, _] if project in self.hidden:
                return False
            case ["cloudflare", "accounts", account, "pages", "projects", project, "deployments", deployment]:
                # The newest deployment of a branch has an alias, and is refused without force.
                return path.endswith("?force=true") and _discard(self.deployments, (account, project, deployment))
            case ["neon", "projects", project, "branches", branch]:
                return _discard(self.branches, (project, branch))
            case ["postman", "environments", environment]:
                return _discard(self.environments, environment)
        return False


def _discard(known: set[object] | Iterable[object], resource: object) -> bool:
    resources = cast("set[object]", known)
    was_there = resource in resources
    resources.discard(resource)
    return was_there


class _Server(LoopbackServer):
    def __init__(self, providers: PreviewProviders, port: int) -> None:
        self.providers = providers
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet, or the client waits for the second.
    wbufsize = -1

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_DELETE(self) -> None:
        self._serve(cast("_Server", self.server).providers.delete)

    def do_GET(self) -> None:
        self._serve(cast("_Server", self.server).providers.show)

    def _serve(self, work: Callable[[str, str], tuple[int, object]]) -> None:
        providers = cast("_Server", self.server).providers
        providers.asked.append(f"{self.command} {self.path}")
        fault = providers.faults.pop(0) if providers.faults else None
        if fault == SILENCE:
            providers.stopping.wait()
        if fault in {HANG_UP, SILENCE}:
            self.close_connection = True
            return
        credential = self.headers.get("X-Api-Key") or (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        status, body = (fault, {"message": "planted message"}) if fault else work(self.path, credential)
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
