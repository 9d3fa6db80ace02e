"""Refresh OAuth 2 tokens (RFC 6749, section 6), and say honestly why one could not be had.

oauthlib writes the request's body and reads the answer; the exchange over HTTP is ours, because what it must not do
matters more than what it does: no second attempt (a refresh token may be good for one), no redirect, no cookie.
"""

import base64
import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import quote_plus

from oauthlib.oauth2 import InvalidGrantError, OAuth2Error, WebApplicationClient

from cath_dagster.adapters.exchange import Exchange, UnreachableError, is_safe
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.tokens import ClientAuth, Grant, RefreshError
from cath_dagster.core.untrusted_json import parse_json

MAX_ANSWER_BYTES = 1024 * 1024
"""Tokens have a few kilobytes; more is not an answer to our question."""
LONGEST_LIFETIME = timedelta(days=3_650)
"""An answer that promises more does not count in seconds."""


class TokenEndpoint:
    """A provider's token endpoint; several threads may use it at once."""

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: str,
        auth: ClientAuth,
        now: Callable[[], datetime],
        timeout: float,
        connections: int,
    ) -> None:
        """`timeout` is in seconds: to connect, for the answer to begin, and from then on to come to its end."""
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._auth = auth
        self._now = now
        self._exchange = Exchange(timeout=timeout, max_bytes=MAX_ANSWER_BYTES, connections=connections)

    def close(self) -> None:
        self._exchange.close()

    def refresh(self, refresh_token: str) -> Grant:
        """Spend a refresh token and return what came for it; raise `RefreshError` where nothing did.

        Without an answer nobody knows whether it was spent.
        """
        asked_at = self._now()
        status, text = self._post(refresh_token)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise RefreshError(f"the provider answered HTTP {status}", is_outage=True)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            raise RefreshError("the provider asks to slow down (HTTP 429)")
        answer = _read_object(text)
        if answer is None:
            raise RefreshError(f"the provider's answer is no JSON object (HTTP {status})")
        return _read_grant(status, answer, asked_at)

    def _post(self, refresh_token: str) -> tuple[int, str]:
        client = WebApplicationClient(self._client_id)
        secrets = {"client_id": self._client_id, "client_secret": self._client_secret}
        body = client.prepare_refresh_body(
            refresh_token=refresh_token, **(secrets if self._auth is ClientAuth.BODY else {})
        )
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        try:
            answer = self._exchange.ask(
                "POST", self._url, headers={**headers, **self._show_who_we_are()}, body=body.encode()
            )
        except UnreachableError as error:
            raise RefreshError(f"the provider {error}", is_outage=True) from None
        return answer.status, answer.content.decode(errors="replace")

    def _show_who_we_are(self) -> dict[str, str]:
        if self._auth is not ClientAuth.BASIC:
            return {}
        # Section 2.3.1 has both encoded like a form's fields first.
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._client_secret)}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def check_token_url(url: str, variable: str) -> str:
    """Return the URL; raise `ConfigurationError` unless it is https, or leads to this very machine."""
    if not is_safe(url):
        raise ConfigurationError(f"{variable} must be a URL like https://provider.example/token; tokens travel by it")
    return url


def check_client_auth(value: str, variable: str) -> ClientAuth:
    """Return the way of authentication; raise `ConfigurationError` for another word."""
    try:
        return ClientAuth(value)
    except ValueError:
        known = " or ".join(ClientAuth)
        raise ConfigurationError(f"{variable} is {value!r}; it may be {known}") from None


def _read_object(text: str) -> dict[str, Any] | None:
    try:
        answer = parse_json(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _read_grant(status: int, answer: dict[str, Any], asked_at: datetime) -> Grant:
    # Read by ourselves, and leniently: new tokens must not be lost to the odd form of a number beside them.
    lifetime, scope = answer.pop("expires_in", None), answer.pop("scope", None)
    try:
        token = WebApplicationClient("").parse_request_body_response(json.dumps(answer))
    except InvalidGrantError:
        is_refusal = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
        raise RefreshError(f"HTTP {status} invalid_grant", is_revoked=is_refusal) from None
    except OAuth2Error as error:
        code = error.error if re.fullmatch("[a-z_]{1,40}", error.error or "") else "unknown error"
        raise RefreshError(f"the provider refuses (HTTP {status} {code})") from None
    access_token, refresh_token = token.get("access_token"), token.get("refresh_token")
    if status != HTTPStatus.OK or not isinstance(access_token, str) or not access_token:
        raise RefreshError(f"the provider's answer has no access token (HTTP {status})")
    return Grant(
        access_token=access_token,
        refresh_token=refresh_token if isinstance(refresh_token, str) and refresh_token else None,
        expires_at=_expiry(asked_at, lifetime),
        scope=scope if isinstance(scope, str) and scope else None,
    )


def _expiry(asked_at: datetime, lifetime: object) -> datetime | None:
    """Return when a token expires, counted from before it was asked for; None where the answer does not say."""
    with suppress(ValueError, TypeError, OverflowError):
        seconds = timedelta(seconds=float(lifetime))  # type: ignore[arg-type]  # whatever the provider sent
        if timedelta(0) < seconds <= LONGEST_LIFETIME:
            return asked_at + seconds
    return None
