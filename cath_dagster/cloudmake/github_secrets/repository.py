"""One repository at GitHub during a run: its places are listed once, and one that does not answer is asked no more."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from cath_dagster.cloudmake.github_secrets.budget import Budget
from cath_dagster.cloudmake.github_secrets.targets import CLOCKS_APART
from cath_dagster.core.ports.github import GitHub, GitHubError, Place, RemoteSecret, Repository, SealingKey

T = TypeVar("T")
PAUSES = (1.0, 2.0, 4.0)
"""Seconds after which GitHub is asked again what it says of a write that it does not show yet."""
MOST_SECRETS = 100
"""GitHub's limit for a repository's scope, and for an environment."""


class LeftError(Exception):
    """Nothing more may be asked: the rest is left to the next run."""


class RepositoryWork:
    """What is asked of one repository; methods raise `GitHubError`, or `LeftError` once the budget is used up."""

    def __init__(self, github: GitHub, repository: Repository, budget: Budget) -> None:
        self._github = github
        self._repository = repository
        self._budget = budget
        self._listed: dict[Place, dict[str, RemoteSecret] | GitHubError] = {}
        self._keys: dict[Place, SealingKey] = {}
        self._down: dict[Place, GitHubError] = {}

    def find(self, place: Place, name: str) -> RemoteSecret | None:
        """Return what is at GitHub now, None if nothing is."""
        return self._list(place).get(name)

    def key(self, place: Place) -> SealingKey:
        if place not in self._keys:
            self._keys[place] = self._ask(place, lambda: self._github.public_key(self._repository, place))
        return self._keys[place]

    def requests_to_write(self, places: list[Place]) -> int:
        """Return how many requests it takes to write a secret into each of these places."""
        return sum(2 + (place not in self._keys) for place in places)

    def has_room_at(self, place: Place, name: str) -> bool:
        listed = self._list(place)
        return name in listed or len(listed) < MOST_SECRETS

    def put(self, place: Place, name: str, value: bytes, *, sent_at: datetime) -> tuple[bool, RemoteSecret]:
        """Write a secret; return whether it is new, and what GitHub says of it since."""
        key, before = self.key(place), self.find(place, name)
        is_new = self._ask(place, lambda: self._github.put_secret(self._repository, place, name, value, key))
        remote = self._find_written(place, name, before, sent_at)
        self._list(place)[name] = remote
        return is_new, remote

    def delete(self, place: Place, name: str) -> None:
        self._ask(place, lambda: self._github.delete_secret(self._repository, place, name))
        self._list(place).pop(name, None)

    def _find_written(self, place: Place, name: str, before: RemoteSecret | None, sent_at: datetime) -> RemoteSecret:
        """Return what GitHub says of a secret that was just written, once it says anything else than before.

        What it says of an earlier write would make a conflict of this one. Written twice within a second it says the same.
        """
        for pause in (*PAUSES, None):
            remote = self._ask(place, lambda: self._github.secret(self._repository, place, name))
            if remote is not None and remote != before:
                return remote
            if pause is not None:
                self._budget.sleep(pause)
        if remote is not None and remote.updated_at >= sent_at - CLOCKS_APART:
            return remote
        raise GitHubError("it was written, and GitHub does not show that yet")

    def _list(self, place: Place) -> dict[str, RemoteSecret]:
        if place not in self._listed:
            if not self._budget.has_room(requests=1, writes=0):
                raise LeftError
            try:
                found = self._ask(place, lambda: self._github.secrets(self._repository, place))
                self._listed[place] = {each.name: each for each in found}
            except GitHubError as error:
                self._listed[place] = error
        listed = self._listed[place]
        if isinstance(listed, GitHubError):
            raise listed
        return listed

    def _ask(self, place: Place, question: Callable[[], T]) -> T:
        """Ask GitHub; a limit ends the run's writing, an outage the work at this place, several in a row the run's."""
        if place in self._down:
            raise self._down[place]
        breaker = self._budget.breaker
        if breaker.is_open:
            raise GitHubError("GitHub does not answer, and is asked no more in this run", is_outage=True)
        try:
            answer = question()
        except GitHubError as error:
            if error.is_limit:
                self._budget.ended = error.says
                raise LeftError from None
            if error.is_outage:
                self._down[place] = error
            breaker.record(is_outage=error.is_outage)
            raise
        breaker.record(is_outage=False)
        return answer
