"""Who removes what a preview leaves at which provider: where credentials are set, and where its project is known there."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http import HTTPStatus

from cath_dagster.cloudmake.github import open_github
from cath_dagster.cloudmake.leftovers import Leftover, Provider
from cath_dagster.cloudmake.repositories import UnknownRepositoryError, find_repository
from cath_dagster.core.ports.github import GitHub, GitHubError
from cath_dagster.core.ports.resources import ResourceError
from cath_dagster.core.run.job_run import JobRun

Remove = Callable[[Leftover], bool]
"""Removes a resource and returns whether there was one; raises `ResourceError` where it may still be there."""

CREDENTIALS: Mapping[Provider, tuple[str, ...]] = {
    Provider.CLOUDFLARE: ("CLOUDFLARE_API_TOKEN", "CLOUDFLARE_ACCOUNT_ID"),
    Provider.GITHUB: ("GITHUB_TOKEN",),
    Provider.NEON: ("NEON_API_KEY",),
    Provider.POSTMAN: ("POSTMAN_API_KEY",),
}
"""What has to be set before anything is removed at a provider."""
_PAGES = re.compile(r"(?:^|\.)([^./]+)\.pages\.dev$")


def missing_variables(run: JobRun, provider: Provider) -> list[str]:
    """Return the variables that are not set and without which nothing is removed at a provider."""
    return [f"CLOUDMAKE_{name}" for name in CREDENTIALS[provider] if not run.optional(name)]


@contextmanager
def open_remover(run: JobRun, provider: Provider) -> Iterator[Remove]:
    """Yield what removes a provider's resources; raise `ConfigurationError` for an address that cannot be one."""
    with ExitStack() as stack:
        yield _OPEN[provider](run, stack)


def _open_cloudflare(run: JobRun, stack: ExitStack) -> Remove:
    from cath_dagster.adapters.preview_providers import CloudflarePages

    given = run.require(*CREDENTIALS[Provider.CLOUDFLARE])
    client = CloudflarePages(
        given["CLOUDFLARE_API_TOKEN"],
        account=given["CLOUDFLARE_ACCOUNT_ID"],
        url=_address(run, "CLOUDFLARE_API_URL", CloudflarePages.URL),
    )
    stack.callback(client.close)
    return lambda leftover: client.delete_deployment(_pages_project(leftover), leftover.resource_id)


def _open_neon(run: JobRun, stack: ExitStack) -> Remove:
    from cath_dagster.adapters.preview_providers import Neon

    client = Neon(run.require("NEON_API_KEY")["NEON_API_KEY"], url=_address(run, "NEON_API_URL", Neon.URL))
    stack.callback(client.close)
    return lambda leftover: client.delete_branch(_neon_project(leftover), leftover.resource_id)


def _open_postman(run: JobRun, stack: ExitStack) -> Remove:
    from cath_dagster.adapters.preview_providers import Postman

    client = Postman(
        run.require("POSTMAN_API_KEY")["POSTMAN_API_KEY"], url=_address(run, "POSTMAN_API_URL", Postman.URL)
    )
    stack.callback(client.close)
    return lambda leftover: client.delete_environment(leftover.resource_id)


def _open_github(run: JobRun, stack: ExitStack) -> Remove:
    # What GitHub puts off the next run does: nobody waits for an environment to go.
    client = stack.enter_context(open_github(run.environ, sleep=time.sleep, retries=0))
    return lambda leftover: _delete_environment(client, leftover)


def _delete_environment(client: GitHub, leftover: Leftover) -> bool:
    try:
        repository = find_repository(leftover.integrations, leftover.configs)
        return client.delete_environment(repository, leftover.resource_id)
    except UnknownRepositoryError as error:
        raise ResourceError(f"project {leftover.project_id} {error}") from None
    except GitHubError as error:
        is_refused = error.status == HTTPStatus.UNAUTHORIZED
        raise ResourceError(str(error), ends_all=error.is_limit or is_refused, is_outage=error.is_outage) from None


def _address(run: JobRun, variable: str, usual: str) -> str:
    from cath_dagster.adapters.exchange import check_url

    return check_url(run.optional(variable) or usual, f"CLOUDMAKE_{variable}", usual)


def _pages_project(leftover: Leftover) -> str:
    """Return the Pages project: as configured, else the last label of the preview's own address."""
    configured = _one(leftover, names=("pagesProject", "projectName"))
    host = re.sub(r"^https?://", "", leftover.cloudflare_url or "").partition("/")[0]
    by_address = _PAGES.search(host)
    if configured is None and by_address is None:
        raise ResourceError(
            f"project {leftover.project_id} names no Pages project in its integrations (cloudflare.pagesProject), and the "
            "preview has no address below pages.dev"
        )
    return configured or by_address[1]  # type: ignore[index]  # one of the two is there


def _neon_project(leftover: Leftover) -> str:
    """Return the project at Neon, as configured."""
    found = _one(leftover, names=("projectId", "neonProjectId"))
    if found is None:
        raise ResourceError(
            f"project {leftover.project_id} names no project at Neon in its integrations (neonProjectId)"
        )
    return found


def _one(leftover: Leftover, *, names: tuple[str, ...]) -> str | None:
    """Return the one value that the provider's configurations have under any of the names, None where there is none.

    Raises `ResourceError` where two differ: what is removed must be the preview's own.
    """
    places = (*leftover.configs, leftover.integrations.get(leftover.provider), leftover.integrations)
    found = (place.get(name) for place in places if isinstance(place, Mapping) for name in names)
    # What the service writes there is text; anything else names nothing.
    values = {value for value in found if value and isinstance(value, str)}
    if len(values) > 1:
        raise ResourceError(f"project {leftover.project_id} has several values for {names[0]} of {leftover.provider}")
    return next(iter(values), None)


_OPEN: Mapping[Provider, Callable[[JobRun, ExitStack], Remove]] = {
    Provider.CLOUDFLARE: _open_cloudflare,
    Provider.GITHUB: _open_github,
    Provider.NEON: _open_neon,
    Provider.POSTMAN: _open_postman,
}
