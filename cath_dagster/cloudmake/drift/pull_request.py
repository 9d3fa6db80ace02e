"""The one comment of a pull request: found by its marker, edited in place, and never a second one."""

import time
from collections.abc import Mapping

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.cloudmake.drift.report import MARKER, comment
from cath_dagster.cloudmake.drift.sources import Looked
from cath_dagster.cloudmake.github import open_github
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.github import GitHub, GitHubError, Repository

VARIABLE = "GITHUB_REPOSITORY"


def read_repository(environ: Mapping[str, str]) -> Repository:
    """Return where the pull request is; raise `ConfigurationError` naming the variable."""
    name = f"{CLOUDMAKE.prefix}_{VARIABLE}"
    given = environ.get(name) or ""
    try:
        return Repository.parse(given)
    except ValueError:
        raise ConfigurationError(f"{name} is {given!r}; write it as owner/name") from None


def tell(looked: Looked, environ: Mapping[str, str], repository: Repository, number: int) -> str:
    """Bring the comment up to date; return in words what became of it, also where the token may not comment."""
    try:
        with open_github(environ, sleep=time.sleep) as github:
            return _write(github, repository, number, looked)
    except (ConfigurationError, GitHubError) as error:
        return f"not commented on {repository}#{number}: {error}"


def _write(github: GitHub, repository: Repository, number: int, looked: Looked) -> str:
    body = comment(looked)
    found = [each for each in github.comments(repository, number) if each.body.startswith(MARKER)]
    if found:
        # GitHub keeps a comment's line ends as browsers send them.
        if found[0].body.replace("\r\n", "\n") == body:
            return "the comment says so already"
        github.edit_comment(repository, found[0].comment_id, body)
        return "comment edited"
    if not looked.drifted and not looked.unreadable:
        return "no comment needed"
    github.create_comment(repository, number, body)
    return "comment written"
