"""What the GitHub on loopback keeps: repositories with secrets in sealed boxes, environments and comments, and its answers."""

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from cath_dagster.core.ports.github import Place, Scope

JSON, HTML = "application/json; charset=utf-8", "text/html"
MOST_SECRETS = 100


@dataclass(frozen=True)
class Request:
    """One request as it came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(frozen=True)
class Answer:
    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = JSON

    @property
    def content(self) -> bytes:
        if self.body is None:
            return b""
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


@dataclass
class StoredSecret:
    sealed: bytes
    created_at: datetime
    updated_at: datetime


class Keeper:
    """The secrets of one place, and the key pair that they are sealed for."""

    def __init__(self, key_id: str) -> None:
        from nacl.public import PrivateKey

        self.key_id = key_id
        self.secrets: dict[str, StoredSecret] = {}
        self._private = PrivateKey.generate()

    @property
    def public_key(self) -> str:
        return base64.b64encode(bytes(self._private.public_key)).decode()

    @property
    def private_key(self) -> str:
        """In base64, for another program that should open what is here."""
        return base64.b64encode(bytes(self._private)).decode()

    def seal(self, value: bytes) -> bytes:
        from nacl.public import SealedBox

        return SealedBox(self._private.public_key).encrypt(value)

    def open(self, sealed: bytes) -> bytes:
        """Return what was sealed; raise `nacl.exceptions.CryptoError` if it was for another place."""
        from nacl.public import SealedBox

        return SealedBox(self._private).decrypt(sealed)


class Repo:
    def __init__(self, name: str, environments: tuple[str, ...]) -> None:
        self.name = name
        self.keepers = {Place(scope): Keeper(f"{name} {scope}") for scope in Scope if scope is not Scope.ENVIRONMENT}
        self.comments: dict[int, dict[int, str]] = {}
        for environment in environments:
            self.add_environment(environment)

    def add_environment(self, name: str) -> None:
        self.keepers[Place(Scope.ENVIRONMENT, name)] = Keeper(f"{self.name} environment {name}")

    @property
    def environments(self) -> list[str]:
        return [place.environment for place in self.keepers if place.environment]


class Repositories:
    """All repositories by `owner/name`, and what GitHub answers about them. One request at a time."""

    def __init__(self, *, now: Callable[[], datetime], url: Callable[[], str]) -> None:
        """`url` tells where this is served, once it is."""
        self.now = now
        self.url = url
        self.login = "cloudmake"
        """Who writes comments."""
        self.found: dict[str, Repo] = {}
        self._comment_id = 1_000

    def add_comment(self, repository: Repo, issue: int, body: str) -> int:
        self._comment_id += 1
        repository.comments.setdefault(issue, {})[self._comment_id] = body
        return self._comment_id

    def answer(self, request: Request) -> Answer:
        """Return what GitHub answers to whom the token lets in."""
        found = re.fullmatch("/repos/([^/]+/[^/]+)/(.+)", request.path)
        repository = self._find(found[1]) if found else None
        if found is None or repository is None:
            return refusal(404, "Not Found")
        routes: dict[str, Callable[..., Answer]] = {
            "(actions|codespaces|dependabot)/secrets(?:/([^/]+))?": self._scope_secrets,
            "environments/([^/]+)/secrets(?:/([^/]+))?": self._environment_secrets,
            "environments(?:/([^/]+))?": self._environments,
            "issues/([0-9]+)/comments": self._comments,
            "issues/comments/([0-9]+)": self._comment,
        }
        for pattern, work in routes.items():
            if parts := re.fullmatch(pattern, found[2]):
                return work(request, repository, *(part and unquote(part) for part in parts.groups()))
        return refusal(404, "Not Found")

    def _find(self, name: str) -> Repo | None:
        """Return the repository of a name, in whatever case."""
        return next((each for known, each in self.found.items() if known.lower() == name.lower()), None)

    def _scope_secrets(self, request: Request, repository: Repo, scope: str, name: str | None) -> Answer:
        return self._secrets(request, repository.keepers[Place(Scope(scope))], name)

    def _environment_secrets(self, request: Request, repository: Repo, environment: str, name: str | None) -> Answer:
        keeper = repository.keepers.get(Place(Scope.ENVIRONMENT, environment))
        return refusal(404, "Not Found") if keeper is None else self._secrets(request, keeper, name)

    def _secrets(self, request: Request, keeper: Keeper, name: str | None) -> Answer:
        if name is None:
            shown = [_show_secret(each, secret) for each, secret in sorted(keeper.secrets.items())]
            return self._page(request, shown, "secrets")
        if name == "public-key":
            return Answer(200, {"key_id": keeper.key_id, "key": keeper.public_key})
        name = name.upper()
        if request.method == "PUT":
            return self._put(keeper, name, request.body)
        secret = keeper.secrets.get(name)
        if secret is None:
            return refusal(404, "Not Found")
        if request.method == "DELETE":
            del keeper.secrets[name]
            return Answer(204)
        return Answer(200, _show_secret(name, secret))

    def _put(self, keeper: Keeper, name: str, body: Mapping[str, Any]) -> Answer:
        is_name = re.fullmatch("[A-Z_][A-Z0-9_]*", name) and not name.startswith("GITHUB_")
        is_new = name not in keeper.secrets
        if not is_name or body.get("key_id") != keeper.key_id or (is_new and len(keeper.secrets) >= MOST_SECRETS):
            return refusal(422, "Validation Failed")
        self.store(keeper, name, base64.b64decode(body["encrypted_value"]))
        return Answer(201, {}) if is_new else Answer(204)

    def store(self, keeper: Keeper, name: str, sealed: bytes) -> None:
        # GitHub shows whole seconds.
        now = (self.now()).replace(microsecond=0)
        before = keeper.secrets.get(name)
        keeper.secrets[name] = StoredSecret(sealed, now if before is None else before.created_at, now)

    def _environments(self, request: Request, repository: Repo, name: str | None) -> Answer:
        if name is None:
            shown = [{"id": number, "name": each} for number, each in enumerate(repository.environments, start=1)]
            return self._page(request, shown, "environments")
        place = Place(Scope.ENVIRONMENT, name)
        if place not in repository.keepers:
            return refusal(404, "Not Found")
        if request.method == "DELETE":
            del repository.keepers[place]
            return Answer(204)
        return Answer(200, {"name": name})

    def _comments(self, request: Request, repository: Repo, issue: str) -> Answer:
        if request.method == "POST":
            comment_id = self.add_comment(repository, int(issue), request.body["body"])
            return Answer(201, self._show_comment(comment_id, request.body["body"]))
        comments = repository.comments.get(int(issue), {})
        return self._page(request, [self._show_comment(*each) for each in comments.items()])

    def _comment(self, request: Request, repository: Repo, comment_id: str) -> Answer:
        number = int(comment_id)
        for comments in repository.comments.values():
            if number in comments:
                if request.method == "PATCH":
                    comments[number] = request.body["body"]
                return Answer(200, self._show_comment(number, comments[number]))
        return refusal(404, "Not Found")

    def _show_comment(self, comment_id: int, body: str) -> dict[str, object]:
        return {"id": comment_id, "body": body, "user": {"login": self.login}}

    def _page(self, request: Request, items: list[dict[str, object]], name: str | None = None) -> Answer:
        """Return the page that was asked for, and where the next one is."""
        size, page = min(int(request.query.get("per_page", 30)), 100), int(request.query.get("page", 1))
        some = items[(page - 1) * size : page * size]
        links = {}
        if page * size < len(items):
            here = f"{self.url()}{request.path}?per_page={size}&page="
            links = {"Link": f'<{here}{page + 1}>; rel="next", <{here}{-(-len(items) // size)}>; rel="last"'}
        return Answer(200, some if name is None else {"total_count": len(items), name: some}, links)


def refusal(status: int, message: str) -> Answer:
    return Answer(status, {"message": message, "documentation_url": "https://docs.github.com/rest"})


def _show_secret(name: str, secret: StoredSecret) -> dict[str, object]:
    return {"name": name, "created_at": _show(secret.created_at), "updated_at": _show(secret.updated_at)}


def _show(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")
