"""Remove what previews leave at Cloudflare, Neon and Postman, and say honestly what could not be removed.

Each removal is one DELETE. That there is no such resource is as good: it was removed before, or by somebody else.
"""

from collections.abc import Mapping
from http import HTTPStatus

from cath_dagster.adapters.exchange import Answer, Exchange, UnreachableError, segment
from cath_dagster.core.ports.resources import ResourceError

TIMEOUT_SECONDS = 10.0
MAX_ANSWER_BYTES = 1024 * 1024
"""What answers a DELETE has a few kilobytes."""
_GONE = {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}
_REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}


class _Removing:
    """Deletes by path."""

    def __init__(self, url: str, *, headers: Mapping[str, str]) -> None:
        self._url = url
        self._headers = headers
        self._exchange = Exchange(timeout=TIMEOUT_SECONDS, max_bytes=MAX_ANSWER_BYTES)

    def close(self) -> None:
        self._exchange.close()

    def _delete(self, *segments: str, query: str = "") -> bool:
        """Return whether there was one; raise `ResourceError` where it may still be there."""
        try:
            path = "".join(f"/{segment(each)}" for each in segments)
            answer = self._exchange.ask("DELETE", f"{self._url}{path}{query}", headers=self._headers)
        except ValueError as error:
            raise ResourceError(str(error)) from None
        except UnreachableError as error:
            raise ResourceError(f"it {error}", is_outage=True) from None
        # A proxy's page is not the provider's word that there is none.
        if answer.status in _GONE and isinstance(answer.json(), dict):
            return False
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise refusal(answer)
        return True


class CloudflarePages(_Removing):
    """Deployments of Cloudflare Pages."""

    URL = "https://api.cloudflare.com/client/v4"

    def __init__(self, token: str, *, account: str, url: str) -> None:
        super().__init__(url, headers={"Authorization": f"Bearer {token}"})
        self._account = account

    def delete_deployment(self, project: str, deployment_id: str) -> bool:
        """Delete a deployment, one with an alias too; return whether there was one."""
        # Without it the deployment that a branch's alias leads to is refused, which a preview's newest always is.
        return self._delete(
            "accounts", self._account, "pages", "projects", project, "deployments", deployment_id, query="?force=true"
        )


class Neon(_Removing):
    """Branches of Neon's databases."""

    URL = "https://console.neon.tech/api/v2"

    def __init__(self, key: str, *, url: str) -> None:
        super().__init__(url, headers={"Authorization": f"Bearer {key}"})

    def delete_branch(self, project: str, branch_id: str) -> bool:
        """Delete a branch with its compute endpoints; return whether there was one."""
        return self._delete("projects", project, "branches", branch_id)


class Postman(_Removing):
    """Environments in Postman."""

    URL = "https://api.getpostman.com"

    def __init__(self, key: str, *, url: str) -> None:
        super().__init__(url, headers={"X-Api-Key": key})

    def delete_environment(self, environment_id: str) -> bool:
        """Delete an environment; return whether there was one."""
        return self._delete("environments", environment_id)


def refusal(answer: Answer) -> ResourceError:
    """Return what an answer that is no success means for this resource and for the others."""
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return ResourceError("it asks to slow down (HTTP 429)", ends_all=True)
    if answer.status in _REFUSED:
        return ResourceError(f"it refuses our credentials (HTTP {answer.status})", ends_all=True)
    is_outage = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return ResourceError(f"it answered HTTP {answer.status}", is_outage=is_outage)
