"""Remove what previews leave at Cloudflare, Neon and Postman, and say honestly what could not be removed.

Each removal is one DELETE. That there is no such resource is as good, where the project that it would be in is shown to us: it
was removed before, or by somebody else.
"""

from collections.abc import Mapping, Sequence
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
        answer = self._ask("DELETE", *segments, query=query)
        # A proxy's page is not the provider's word that there is none.
        if answer.status in _GONE and isinstance(answer.json(), dict):
            return False
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise refusal(answer)
        return True

    def _delete_in(self, *project: str, rest: Sequence[str], query: str = "") -> bool:
        """Delete what is in a project; that there is none is believed where the project itself is shown to us.

        What is not ours to see is answered like what is not there: a wrong name of the project, another account's key.
        """
        if self._delete(*project, *rest, query=query):
            return True
        answer = self._ask("GET", *project)
        if answer.status in _GONE:
            raise ResourceError(
                f"it shows us no project {project[-1]}, so that nobody can tell whether it is still there"
            )
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise refusal(answer)
        return False

    def _ask(self, method: str, *segments: str, query: str = "") -> Answer:
        try:
            path = "".join(f"/{segment(each)}" for each in segments)
            return self._exchange.ask(method, f"{self._url}{path}{query}", headers=self._headers)
        except ValueError as error:
            raise ResourceError(str(error)) from None
        except UnreachableError as error:
            raise ResourceError(f"it {error}", is_outage=True) from None


class CloudflarePages(_Removing):
    """Deployments of Cloudflare Pages."""

    URL = "https://api.cloudflare.com/client/v4"

    def __init__(self, token: str, *, account: str, url: str) -> None:
        super().__init__(url, headers={"Authorization": f"Bearer {token}"})
        self._account = account

    def delete_deployment(self, project: str, deployment_id: str) -> bool:
        """Delete a deployment, one with an alias too; return whether there was one."""
        # Without it the deployment that a branch's alias leads to is refused, which a preview's newest always is.
        place = ("accounts", self._account, "pages", "projects", project)
        return self._delete_in(*place, rest=("deployments", deployment_id), query="?force=true")


class Neon(_Removing):
    """Branches of Neon's databases."""

    URL = "https://console.neon.tech/api/v2"

    def __init__(self, key: str, *, url: str) -> None:
        super().__init__(url, headers={"Authorization": f"Bearer {key}"})

    def delete_branch(self, project: str, branch_id: str) -> bool:
        """Delete a branch with its compute endpoints; return whether there was one."""
        return self._delete_in("projects", project, rest=("branches", branch_id))


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
