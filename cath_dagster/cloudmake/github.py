"""GitHub as CloudMake's environment names it: `CLOUDMAKE_GITHUB_TOKEN`, and `CLOUDMAKE_GITHUB_API_URL` for another than GitHub's own."""

import contextlib
from collections.abc import Callable, Iterator, Mapping

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.core.errors import MissingConfigurationError
from cath_dagster.core.ports.github import GitHub

TOKEN = "GITHUB_TOKEN"  # noqa: S105 - a variable's name
API_URL = "GITHUB_API_URL"


@contextlib.contextmanager
def open_github(environ: Mapping[str, str], *, sleep: Callable[[float], None], retries: int = 3) -> Iterator[GitHub]:
    """Yield a client; `sleep` waits out what GitHub puts off.

    Raises `ConfigurationError` naming the variable that is missing or cannot be used; nothing is asked of GitHub before.
    """
    # The client brings HTTP with it, which few jobs need.
    from cath_dagster.adapters.github import GitHubClient, check_api_url, check_token
    from cath_dagster.adapters.github_limits import Persistence

    prefix = CLOUDMAKE.prefix
    token = environ.get(f"{prefix}_{TOKEN}")
    if not token:
        raise MissingConfigurationError(f"{prefix}_{TOKEN} is not set; it is a token of GitHub's")
    client = GitHubClient(
        check_api_url(environ.get(f"{prefix}_{API_URL}"), f"{prefix}_{API_URL}"),
        check_token(token, f"{prefix}_{TOKEN}"),
        persistence=Persistence(retries=retries, sleep=sleep),
    )
    with contextlib.closing(client):
        yield client
