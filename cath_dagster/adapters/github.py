"""A client of some ten of GitHub's endpoints: secrets of four scopes, comments, environments, quotas.

Ours, because what it must not do matters more than what it does: follow a redirect with the token, wait longer than a run
has, or take a part of a list for the whole.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urljoin

from requests.utils import parse_header_links

from cath_dagster.adapters.exchange import Answer, Exchange, check_url, segment
from cath_dagster.adapters.github_limits import Persistence, read_quota
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.github import (
    Comment,
    GitHubError,
    Place,
    Quota,
    RemoteSecret,
    Repository,
    Scope,
    SealingKey,
)

PUBLIC_API: Final = "https://api.github.com"
API_VERSION: Final = "2026-03-10"
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""A page of a hundred comments, each as long as GitHub lets it be, has some 7 MB."""
PAGE: Final = 100
MAX_PAGES: Final = 100
KEY_BYTES: Final = 32
REASONS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "does not take the token",
    HTTPStatus.FORBIDDEN: "does not let the token do this",
    HTTPStatus.NOT_FOUND: "has no such thing, or does not show it to this token",
    HTTPStatus.UNPROCESSABLE_ENTITY: "does not take what was sent",
}
MOVED: Final = frozenset(
    {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT}
)


class GitHubClient:
    """GitHub by its REST API; several threads may use it at once. See `core.ports.github.GitHub`."""

    def __init__(self, url: str, token: str, *, persistence: Persistence | None = None, timeout: float = 10) -> None:
        """`url` and `token` as `check_api_url` and `check_token` return them; `timeout` in seconds, for each attempt."""
        self._url: Final = url
        self._token: Final = token
        self._persistence = persistence or Persistence()
        self._exchange = Exchange(timeout=timeout, max_bytes=MAX_ANSWER_BYTES)
        self._quotas: dict[str, Quota] = {}

    def __repr__(self) -> str:
        return f"GitHubClient({self._url})"

    def close(self) -> None:
        self._exchange.close()

    @property
    def quotas(self) -> Mapping[str, Quota]:
        return dict(self._quotas)

    def rate_limit(self) -> Mapping[str, Quota]:
        answer = self._ask("GET", f"{self._url}/rate_limit", allow=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))
        if answer.status == HTTPStatus.NOT_FOUND:
            # So an installation of one's own says that it counts nothing.
            return {}
        resources = _member(_object(answer), "resources", dict)
        found = {name: _read_resource(name, each) for name, each in resources.items()}
        self._quotas.update(found)
        return found

    def public_key(self, repository: Repository, place: Place) -> SealingKey:
        body = _object(self._ask("GET", f"{self._secrets(repository, place)}/public-key"))
        key = SealingKey(key_id=_member(body, "key_id", str), key=_member(body, "key", str))
        with suppress(ValueError):
            if len(base64.b64decode(key.key, validate=True)) == KEY_BYTES:
                return key
        raise GitHubError(f"GitHub's public key for {place} is none")

    def secrets(self, repository: Repository, place: Place) -> list[RemoteSecret]:
        url = f"{self._secrets(repository, place)}?per_page={PAGE}"
        pages = self._pages(url, lambda answer: _member(_object(answer), "secrets", list))
        return [_read_secret(each) for each in pages]

    def secret(self, repository: Repository, place: Place, name: str) -> RemoteSecret | None:
        url = f"{self._secrets(repository, place)}/{_segment(name)}"
        answer = self._ask("GET", url, allow=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))
        body = _object(answer)
        return None if answer.status == HTTPStatus.NOT_FOUND else _read_secret(body)

    def put_secret(self, repository: Repository, place: Place, name: str, value: bytes, key: SealingKey) -> bool:
        url = f"{self._secrets(repository, place)}/{_segment(name)}"
        body = {"encrypted_value": seal(value, key), "key_id": key.key_id}
        answer = self._ask("PUT", url, body, allow=(HTTPStatus.CREATED, HTTPStatus.NO_CONTENT))
        return answer.status == HTTPStatus.CREATED

    def delete_secret(self, repository: Repository, place: Place, name: str) -> bool:
        return self._delete(f"{self._secrets(repository, place)}/{_segment(name)}")

    def comments(self, repository: Repository, issue: int) -> list[Comment]:
        url = f"{self._repository(repository)}/issues/{issue}/comments?per_page={PAGE}"
        return [_read_comment(each) for each in self._pages(url, _list)]

    def create_comment(self, repository: Repository, issue: int, body: str) -> Comment:
        url = f"{self._repository(repository)}/issues/{issue}/comments"
        return _read_comment(_object(self._ask("POST", url, {"body": body}, allow=(HTTPStatus.CREATED,))))

    def edit_comment(self, repository: Repository, comment_id: int, body: str) -> Comment:
        url = f"{self._repository(repository)}/issues/comments/{comment_id}"
        return _read_comment(_object(self._ask("PATCH", url, {"body": body})))

    def delete_environment(self, repository: Repository, name: str) -> bool:
        environments = f"{self._repository(repository)}/environments"
        if self._delete(f"{environments}/{_segment(name)}"):
            return True
        # The repository itself may be what is not shown to this token: then nothing is known of the environment.
        self._ask("GET", f"{environments}?per_page=1")
        return False

    def _repository(self, repository: Repository) -> str:
        return f"{self._url}/repos/{repository.owner}/{repository.name}"

    def _secrets(self, repository: Repository, place: Place) -> str:
        folder = str(place.scope)
        if place.scope is Scope.ENVIRONMENT:
            folder = f"environments/{_segment(place.environment)}"
        return f"{self._repository(repository)}/{folder}/secrets"

    def _delete(self, url: str) -> bool:
        answer = self._ask("DELETE", url, allow=(HTTPStatus.NO_CONTENT, HTTPStatus.NOT_FOUND))
        if answer.status == HTTPStatus.NO_CONTENT:
            return True
        # A proxy's page is not GitHub's word that there is none.
        _object(answer)
        return False

    def _pages(self, url: str, read: Callable[[Answer], list[Any]]) -> Iterator[Any]:
        """Yield what is on every page; raise where a page leads nowhere, or away."""
        for _ in range(MAX_PAGES):
            answer = self._ask("GET", url)
            yield from read(answer)
            following = _next_page(answer)
            if following is None:
                return
            url = urljoin(url, following)
            if not url.startswith(f"{self._url}/"):
                raise GitHubError("GitHub's next page is at another address than this one; the token does not go there")
        raise GitHubError(f"GitHub's list has no end after {MAX_PAGES} pages")

    def _ask(
        self, method: str, url: str, body: Mapping[str, str] | None = None, *, allow: tuple[int, ...] = (HTTPStatus.OK,)
    ) -> Answer:
        answer = self._persistence.ask(partial(self._once, method, url, body), is_repeatable=method != "POST")
        if answer.status not in allow:
            raise self._refusal(answer)
        return answer

    def _once(self, method: str, url: str, body: Mapping[str, str] | None) -> Answer:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self._token}",
            "User-Agent": "cath-dagster",
            "X-GitHub-Api-Version": API_VERSION,
            **({} if body is None else {"Content-Type": "application/json"}),
        }
        content = None if body is None else json.dumps(body).encode()
        answer = self._exchange.ask(method, url, headers=headers, body=content)
        quota = read_quota(answer.headers)
        if quota is not None:
            self._quotas[quota.resource] = quota
        return answer

    def _refusal(self, answer: Answer) -> GitHubError:
        status = answer.status
        if status in MOVED:
            return GitHubError(f"GitHub has it elsewhere (HTTP {status}); was the repository renamed?", status=status)
        reason = REASONS.get(status, "gives another answer than it should")
        return GitHubError(f"GitHub {reason} (HTTP {status}{self._explanation(answer)})", status=status)

    def _explanation(self, answer: Answer) -> str:
        """Return GitHub's own words, where they are a plain sentence without anything of ours."""
        body = answer.json()
        message = body.get("message") if isinstance(body, dict) else None
        is_plain = isinstance(message, str) and re.fullmatch(r"(?:[A-Za-z,.'()-]{1,20} ?){1,20}", message)
        return f": {message}" if is_plain and self._token not in str(message) else ""


def check_api_url(url: str | None, variable: str) -> str:
    """Return where GitHub's API is, GitHub's own unless told otherwise; raise `ConfigurationError` for what is no such URL."""
    return check_url(url or PUBLIC_API, variable, PUBLIC_API)


def check_token(token: str, variable: str) -> str:
    """Return the token; raise `ConfigurationError` for what cannot stand in a header, whose own error would show it."""
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise ConfigurationError(f"{variable} has a blank, a line's end or another sign that no token has")
    return token


def seal(value: bytes, key: SealingKey) -> str:
    """Return the value in a box that only the owner of the key can open, in base64."""
    # The library brings libsodium with it, which nothing else needs.
    from nacl.public import PublicKey, SealedBox

    return base64.b64encode(SealedBox(PublicKey(base64.b64decode(key.key))).encrypt(value)).decode()


def _segment(name: str) -> str:
    """Return a name as a part of a path; raise for one that would lead to another, such as the repository itself."""
    try:
        return segment(name)
    except ValueError:
        raise GitHubError(f"{name!r} is no name that GitHub has") from None


def _next_page(answer: Answer) -> str | None:
    links = parse_header_links(answer.headers.get("link", ""))
    return next((link["url"] for link in links if link.get("rel") == "next"), None)


def _object(answer: Answer) -> dict[str, Any]:
    body = answer.json()
    if not isinstance(body, dict):
        raise GitHubError(f"GitHub's answer is no JSON object (HTTP {answer.status})", status=answer.status)
    return body


def _list(answer: Answer) -> list[Any]:
    body = answer.json()
    if not isinstance(body, list):
        raise GitHubError(f"GitHub's answer is no JSON list (HTTP {answer.status})", status=answer.status)
    return body


def _member(body: object, name: str, kind: type[Any]) -> Any:
    found = body.get(name) if isinstance(body, dict) else None
    if not isinstance(found, kind):
        raise GitHubError(f"GitHub's answer has no {name}")
    return found


def _read_secret(body: object) -> RemoteSecret:
    return RemoteSecret(
        name=_member(body, "name", str),
        created_at=_instant(body, "created_at"),
        updated_at=_instant(body, "updated_at"),
    )


def _read_comment(body: object) -> Comment:
    user = body.get("user") if isinstance(body, dict) else None
    # Whose account is deleted is null.
    author = user.get("login", "") if isinstance(user, dict) else ""
    text = body.get("body") if isinstance(body, dict) else None
    return Comment(comment_id=_member(body, "id", int), body=text if isinstance(text, str) else "", author=author)


def _read_resource(name: str, body: object) -> Quota:
    with suppress(ValueError, OverflowError, OSError):
        return Quota(
            resource=name,
            limit=_member(body, "limit", int),
            remaining=_member(body, "remaining", int),
            reset_at=datetime.fromtimestamp(_member(body, "reset", int), UTC),
        )
    raise GitHubError("GitHub's answer has no time at which its limit ends")


def _instant(body: object, name: str) -> datetime:
    with suppress(ValueError):
        found = datetime.fromisoformat(_member(body, name, str))
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    raise GitHubError(f"GitHub's answer has no instant as {name}")
