"""Which GitHub repository a project has, by the three places in which the service writes it down."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.ports.github import Repository

_PLACES = "integration_configs (github: owner, repo) or projects.integrations (github.owner and .repo, or githubRepo)"


class UnknownRepositoryError(MaintenanceError):
    """A project has no repository, or more than one."""


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
        if not isinstance(place, Mapping):
            continue
        owner, name = place.get("owner"), place.get("repo")
        # What is not there is no part of a name: somebody may be called None.
        if isinstance(owner, str) and isinstance(name, str):
            yield from _repository(f"{owner}/{name}")
    if isinstance(named := integrations.get("githubRepo"), str):
        yield from _repository(named)


def _repository(text: str) -> Iterator[Repository]:
    """Yield the repository that a text names; nothing for what cannot be one, which counts as not named."""
    with suppress(ValueError):
        yield Repository.parse(text)
