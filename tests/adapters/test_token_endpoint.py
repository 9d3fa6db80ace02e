"""Refreshing tokens against a provider that listens, and misbehaves in every way there is."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cath_dagster.adapters.oauth import TokenEndpoint, check_client_auth, check_token_url
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.ports.tokens import ClientAuth, Grant, RefreshError
from cath_dagster.development.simulators.oauth import OAuthProvider

NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


@pytest.fixture
def provider() -> Iterator[OAuthProvider]:
    with OAuthProvider(client=("our id", "s+e/c=r&t")) as started:
        yield started


@pytest.fixture
def endpoint(provider: OAuthProvider) -> Iterator[TokenEndpoint]:
    with closing(open_endpoint(provider)) as opened:
        yield opened


def open_endpoint(provider: OAuthProvider, auth: ClientAuth = ClientAuth.BASIC, timeout: float = 5) -> TokenEndpoint:
    return TokenEndpoint(
        provider.token_url,
        client_id=provider.client[0],
        client_secret=provider.client[1],
        auth=auth,
        now=lambda: NOW,
        timeout=timeout,
        connections=4,
    )


def refusal(endpoint: TokenEndpoint, token: str = "planted-token") -> RefreshError:
    with pytest.raises(RefreshError) as caught:
        endpoint.refresh(token)
    assert "planted" not in f"{caught.value!r} {caught.value.says} {caught.value.__cause__!r}"
    return caught.value


@pytest.mark.parametrize("auth", list(ClientAuth))
def test_returns_new_tokens_and_when_they_expire(provider: OAuthProvider, auth: ClientAuth) -> None:
    provider.extra["scope"] = "invoices read"
    with closing(open_endpoint(provider, auth)) as endpoint:
        grant = endpoint.refresh("r&1 +")

    assert grant == Grant(
        access_token="access-1-r&1 +",
        refresh_token="next-1-r&1 +",
        expires_at=NOW + timedelta(hours=1),
        scope="invoices read",
    )
    (request,) = provider.requests
    assert request.is_basic is (auth is ClientAuth.BASIC)
    assert request.form["grant_type"] == "refresh_token"
    assert ("client_secret" in request.form) is (auth is ClientAuth.BODY)


def test_what_the_answer_leaves_out_is_none(provider: OAuthProvider, endpoint: TokenEndpoint) -> None:
    provider.rotates, provider.lifetime = False, None

    grant = endpoint.refresh("r")

    assert (grant.refresh_token, grant.expires_at, grant.scope) == (None, None, None)


@pytest.mark.parametrize(
    ("lifetime", "expires"), [("600", True), (600.5, True), (0, False), (-5, False), ("soon", False)]
)
def test_no_token_is_lost_to_an_odd_lifetime(
    provider: OAuthProvider, endpoint: TokenEndpoint, lifetime: object, expires: bool
) -> None:
    provider.lifetime = lifetime  # type: ignore[assignment]

    grant = endpoint.refresh("r")

    assert grant.refresh_token == "next-1-r"
    assert (grant.expires_at is not None) is expires


def test_tokens_are_not_shown(endpoint: TokenEndpoint) -> None:
    assert "planted" not in repr(endpoint.refresh("planted"))


def test_invalid_grant_says_that_the_token_is_good_for_nothing(
    provider: OAuthProvider, endpoint: TokenEndpoint
) -> None:
    provider.revoke("planted-token")

    error = refusal(endpoint)

    assert (error.is_revoked, error.is_outage) == (True, False)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (400, "invalid_request", "HTTP 400 invalid_request"),
        (400, "unauthorized_client", "HTTP 400 unauthorized_client"),
        (401, "invalid_client", "HTTP 401 invalid_client"),
        (400, "planted error", "HTTP 400 unknown error"),
        (400, None, "no JSON object (HTTP 400)"),
        (401, None, "no JSON object (HTTP 401)"),
        (403, None, "no JSON object (HTTP 403)"),
        (404, None, "no JSON object (HTTP 404)"),
        (429, None, "slow down"),
        (429, "invalid_grant", "slow down"),
        (302, None, "no JSON object (HTTP 302)"),
        (200, None, "no JSON object (HTTP 200)"),
    ],
)
def test_another_refusal_does_not_say_so(
    provider: OAuthProvider, endpoint: TokenEndpoint, status: int, code: str | None, says: str
) -> None:
    provider.fail_next(status, code)

    error = refusal(endpoint)

    assert (error.is_revoked, error.is_outage) == (False, False)
    assert says in error.says


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("code", [None, "invalid_grant"])
def test_a_fault_of_the_provider_s_is_an_outage_whatever_it_says(
    provider: OAuthProvider, endpoint: TokenEndpoint, status: int, code: str | None
) -> None:
    provider.fail_next(status, code)

    error = refusal(endpoint)

    assert (error.is_revoked, error.is_outage) == (False, True)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        '"planted"',
        "{}",
        '{"access_token": ""}',
        '{"access_token": 7}',
        '{"refresh_token": "planted"}',
    ],
)
def test_an_answer_without_a_token_is_none(provider: OAuthProvider, endpoint: TokenEndpoint, body: str) -> None:
    provider.answer_next(200, body)

    assert not refusal(endpoint).is_revoked


def test_a_success_that_says_invalid_grant_flags_nobody(provider: OAuthProvider, endpoint: TokenEndpoint) -> None:
    provider.answer_next(200, json.dumps({"error": "invalid_grant"}))

    assert not refusal(endpoint).is_revoked


@pytest.mark.parametrize("spends", [True, False])
def test_a_connection_that_ends_without_an_answer_is_an_outage_and_not_tried_again(
    provider: OAuthProvider, endpoint: TokenEndpoint, spends: bool
) -> None:
    provider.close_next(spends=spends)

    assert refusal(endpoint).is_outage
    assert len(provider.requests) == 1


def test_does_not_wait_for_ever(provider: OAuthProvider) -> None:
    provider.hang_for("planted-token", 60)
    with closing(open_endpoint(provider, timeout=0.2)) as endpoint:
        error = refusal(endpoint)

    assert error.is_outage
    assert "within 0.2 s" in error.says


def test_a_provider_that_does_not_listen_is_an_outage(provider: OAuthProvider) -> None:
    with closing(open_endpoint(provider)) as endpoint:
        provider.stop()

        assert refusal(endpoint).is_outage


def test_asks_no_netrc_file_for_another_login(
    provider: OAuthProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password planted\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with closing(open_endpoint(provider, ClientAuth.BODY)) as endpoint:
        endpoint.refresh("r")

    assert not provider.requests[0].is_basic


@pytest.mark.parametrize("url", ["https://shaam.example/token", "http://127.0.0.1:8080/token", "http://localhost/t"])
def test_takes_a_url_by_which_tokens_may_travel(url: str) -> None:
    assert check_token_url(url, "BON_SHAAM_TOKEN_URL") == url


@pytest.mark.parametrize(
    "url", ["", "http://shaam.example/token", "ftp://shaam.example", "shaam.example/token", "https://"]
)
def test_refuses_a_url_by_which_tokens_may_not_travel(url: str) -> None:
    with pytest.raises(ConfigurationError, match="BON_SHAAM_TOKEN_URL"):
        check_token_url(url, "BON_SHAAM_TOKEN_URL")


def test_refuses_an_unknown_way_of_authentication() -> None:
    with pytest.raises(ConfigurationError, match="basic or body"):
        check_client_auth("digest", "BON_SHAAM_CLIENT_AUTH")


def test_an_answer_that_drips_is_not_waited_for_to_its_end() -> None:
    """Each part comes within the timeout, and the whole never would."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        endpoint = TokenEndpoint(
            f"http://127.0.0.1:{listener.getsockname()[1]}/token",
            client_id="id",
            client_secret="secret",
            auth=ClientAuth.BASIC,
            now=lambda: NOW,
            timeout=0.3,
            connections=1,
        )
        with closing(endpoint):
            refused = refusal(endpoint)

    assert refused.is_outage
    assert "no answer within 0.3 s" in refused.says


def drip(listener: socket.socket) -> None:
    """Answer one request by a byte now and then, for as long as anybody listens."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
        while True:
            connection.sendall(b" ")
            time.sleep(0.05)
