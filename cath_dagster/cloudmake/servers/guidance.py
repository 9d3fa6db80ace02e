"""What people do while an MCP server is out, and where its provider says how it is."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """What stands in for a server, with whose credentials, and where its provider tells of outages."""

    instead: str
    credentials: str
    status_page: str


_BY_SERVER = {
    "github": Guidance(
        instead="use the REST API at https://api.github.com, or gh; secrets are synchronised by the next run",
        credentials="CLOUDMAKE_GITHUB_TOKEN",
        status_page="https://www.githubstatus.com",
    ),
    "cloudflare": Guidance(
        instead="deploy by wrangler, or look at the dashboard https://dash.cloudflare.com",
        credentials="CLOUDMAKE_CLOUDFLARE_API_TOKEN",
        status_page="https://www.cloudflarestatus.com",
    ),
    "neon": Guidance(
        instead="make and delete branches at https://console.neon.tech; databases answer by their own addresses",
        credentials="CLOUDMAKE_NEON_API_KEY",
        status_page="https://neonstatus.com",
    ),
    "postman": Guidance(
        instead="synchronise collections by https://api.getpostman.com, or leave them for later",
        credentials="CLOUDMAKE_POSTMAN_API_KEY",
        status_page="https://status.postman.com",
    ),
    "polar": Guidance(
        instead="read subscriptions from polar_customers; webhooks come again by themselves",
        credentials="the billing service's own key",
        status_page="https://status.polar.sh",
    ),
    "better-auth": Guidance(
        instead="sessions that are there stay valid; sign-ins go by the API without the server",
        credentials="the auth service's own secret",
        status_page="none: the service is our own, look at its deployment",
    ),
    "mapbox": Guidance(
        instead="show addresses without a map, and geocode later",
        credentials="the service's own token",
        status_page="https://status.mapbox.com",
    ),
    "onesignal": Guidance(
        instead="keep notifications and send them later, or send mail",
        credentials="the service's own key",
        status_page="https://status.onesignal.com",
    ),
    "posthog": Guidance(
        instead="take feature flags by their defaults; events are kept by the client",
        credentials="the service's own key",
        status_page="https://status.posthog.com",
    ),
}
_BY_SERVER |= {"billing": _BY_SERVER["polar"], "auth": _BY_SERVER["better-auth"]}
_OTHERS = Guidance(
    instead="do by hand what the server does, or leave it for later",
    credentials="those that the MCP configuration names",
    status_page="look at the server's own deployment",
)


def guidance(server: str) -> str:
    """Return what to do while a server is out, in one line."""
    known = _BY_SERVER.get(server, _OTHERS)
    return (
        f"Meanwhile: {known.instead}. Credentials: {known.credentials}. Status: {known.status_page}. "
        "Recovery: the breaker lets one caller at a time try again, and closes by itself after some successes."
    )
