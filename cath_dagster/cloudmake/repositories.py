"""Which GitHub repository a project has, by the three places in which the service writes it down."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cath_dagster.core.errors import MaintenanceError

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_PLACES = "integration_configs (github: owner, repo) or projects.integrations (github.owner and .repo, or githubRepo)"


class UnknownRepositoryError(MaintenanceError):
    """A project has no repository, or more than one."""


@dataclass(frozen=True)
class Repository:
    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


def find_repository(integrations: Mapping[str, object], configs: Sequence[Mapping[str, object]]) -> Repository:
    """Return the one repository that a project's integrations and its GitHub configurations name.

    Raises `UnknownRepositoryError` where none does, and where two differ: a secret in the wrong repository is worse than
    one in none.
    """
    # GitHub's names differ in more than upper and lower case.
    found = {str(each).lower(): each for each in _named(integrations, configs)}
    if len(found) > 1:
        names = ", ".join(sorted(map(str, found.values())))
        raise UnknownRepositoryError(f"has several repositories, {names}; leave one of them in {_PLACES}")
    if not found:
        raise UnknownRepositoryError(f"has no GitHub repository; name it in {_PLACES}")
    return next(iter(found.values()))


def _named(integrations: Mapping[str, object], configs: Sequence[Mapping[str, object]]) -> Iterator[Repository]:
    for place in (*configs, integrations.get("github")):
        if isinstance(place, Mapping):
            yield from _repository(place.get("owner"), place.get("repo"))
    if isinstance(named := integrations.get("githubRepo"), str):
        owner, _, name = named.partition("/")
        yield from _repository(owner, name)


def _repository(owner: object, name: object) -> Iterator[Repository]:
    if isinstance(owner, str) and isinstance(name, str) and _NAME.fullmatch(owner) and _NAME.fullmatch(name):
        yield Repository(owner, name)
