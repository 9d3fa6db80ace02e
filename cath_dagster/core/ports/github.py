"""What a job asks of GitHub, and what it answers."""

import enum
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Scope(enum.StrEnum):
    """Who of GitHub reads a secret; each has secrets and a public key of its own."""

    ACTIONS = "actions"
    CODESPACES = "codespaces"
    DEPENDABOT = "dependabot"
    ENVIRONMENT = "environment"
    """Jobs of Actions that name the environment; each environment has its own key."""


@dataclass(frozen=True)
class Repository:
    """A repository; raises ValueError for what cannot be one, and might lead elsewhere in a URL."""

    owner: str
    name: str

    def __post_init__(self) -> None:
        for part in (self.owner, self.name):
            if not _NAME.fullmatch(part) or part in {".", ".."}:
                raise ValueError(f"{self} is no repository; write it as owner/name")

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> "Repository":
        """Read `owner/name`; raise ValueError for anything else."""
        owner, _, name = text.partition("/")
        return cls(owner, name)


@dataclass(frozen=True, order=True)
class Place:
    """Where in a repository secrets are kept: one of its scopes, or one of its environments."""

    scope: Scope
    environment: str = ""

    def __str__(self) -> str:
        return f"{self.scope}:{self.environment}" if self.environment else str(self.scope)

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read what `str` writes; raise ValueError for anything else."""
        scope, _, environment = text.partition(":")
        return cls(Scope(scope), environment)


@dataclass(frozen=True)
class RemoteSecret:
    """A secret as GitHub shows it: never its value."""

    name: str
    created_at: datetime
    updated_at: datetime
    """To the second: two writes within one cannot be told apart by it."""


@dataclass(frozen=True)
class SealingKey:
    """The public key of a place."""

    key_id: str
    key: str
    """32 bytes in base64."""


@dataclass(frozen=True)
class Quota:
    """What is left of one of GitHub's limits; `resource` is GitHub's word for it, such as `core`."""

    resource: str
    limit: int
    remaining: int
    reset_at: datetime


@dataclass(frozen=True)
class Comment:
    """A comment of an issue or of a pull request."""

    comment_id: int
    body: str = field(repr=False)
    author: str


class GitHubError(Exception):
    """GitHub did not do what was asked. The message holds neither the token nor anything that was sent."""

    def __init__(
        self,
        says: str,
        *,
        status: int | None = None,
        is_outage: bool = False,
        is_limit: bool = False,
        after: float | None = None,
    ) -> None:
        """`is_outage`: no proper answer came; `is_limit`: too much was asked, and GitHub says to come back `after` seconds."""
        super().__init__(says)
        self.says = says
        self.status = status
        self.is_outage = is_outage
        self.is_limit = is_limit
        self.after = after


class GitHub(Protocol):
    """What jobs ask of GitHub; every method raises `GitHubError`."""

    @property
    def quotas(self) -> Mapping[str, Quota]:
        """By resource, what the newest answer said is left."""
        ...

    def rate_limit(self) -> Mapping[str, Quota]:
        """Return what is left of every limit; asking costs nothing. Empty where GitHub counts nothing."""
        ...

    def public_key(self, repository: Repository, place: Place) -> SealingKey: ...

    def secrets(self, repository: Repository, place: Place) -> Sequence[RemoteSecret]:
        """Return all of them, or raise: a part is never taken for the whole."""
        ...

    def secret(self, repository: Repository, place: Place, name: str) -> RemoteSecret | None: ...

    def put_secret(self, repository: Repository, place: Place, name: str, value: bytes, key: SealingKey) -> bool:
        """Seal the value for its place and write it; return whether it is new there."""
        ...

    def delete_secret(self, repository: Repository, place: Place, name: str) -> bool:
        """Return whether there was one."""
        ...

    def comments(self, repository: Repository, issue: int) -> Sequence[Comment]: ...

    def create_comment(self, repository: Repository, issue: int, body: str) -> Comment:
        """Never asked twice: without an answer it may be there all the same."""
        ...

    def edit_comment(self, repository: Repository, comment_id: int, body: str) -> Comment: ...

    def delete_environment(self, repository: Repository, name: str) -> bool:
        """Return whether there was one; its secrets go with it."""
        ...
