"""One exchange with a provider over HTTP, with nothing that a client does by itself: no redirect, no cookie, no second try.

The answer is read within its time and up to a bound, whatever the other side sends. Nothing of a request is in an error.
"""

import ipaddress
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from cath_dagster.core.errors import ConfigurationError

MAX_ANSWER_BYTES = 4 * 1024 * 1024
"""The longest answer that any question of ours has; more is something else."""


class NoAnswerError(Exception):
    """Nothing came, or broke off: nobody knows whether the request was carried out. Free of what was sent."""


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the body's value, None where it is no JSON: a proxy's page, or half of an answer."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None


class Exchange:
    """A provider's interface below one address; several threads may use it at once."""

    def __init__(self, url: str, *, variable: str, headers: Mapping[str, str], timeout: float) -> None:
        """`headers` show who we are; `timeout` is in seconds, to connect, and for the whole answer from then on.

        Raises `ConfigurationError`, naming the variable, for an address by which they should not travel.
        """
        self._url = check_url(url, variable).rstrip("/")
        self._headers = dict(headers)
        self._timeout = timeout
        self._session = requests.Session()
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        # A function, so that no .netrc file is asked for credentials of its own.
        self._session.auth = lambda request: request

    def close(self) -> None:
        self._session.close()

    def request(self, method: str, path: str, *, body: object = None) -> Answer:
        """Send one request and return what came; raise `NoAnswerError` where nothing did."""
        try:
            with self._session.request(
                method,
                f"{self._url}{path}",
                json=body,
                headers=self._headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                return Answer(response.status_code, dict(response.headers), self._read(response))
        except requests.ConnectTimeout:
            raise NoAnswerError("it cannot be reached") from None
        except requests.Timeout:
            raise NoAnswerError(f"no answer within {self._timeout:g} s") from None
        except (requests.RequestException, HTTPError, OSError):
            raise NoAnswerError("it cannot be reached, or broke off") from None

    def _read(self, response: requests.Response) -> bytes:
        """Return the body, all of it within the timeout: one that drips would hold up a run for hours."""
        until, content = time.monotonic() + self._timeout, b""
        while len(content) < MAX_ANSWER_BYTES and (part := response.raw.read1(MAX_ANSWER_BYTES, decode_content=True)):
            content += part
            if time.monotonic() > until:
                raise requests.Timeout
        return content[:MAX_ANSWER_BYTES]


def check_url(url: str, variable: str) -> str:
    """Return the URL; raise `ConfigurationError` unless it is https, or leads to this very machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_local = host == "localhost"
    with suppress(ValueError):
        is_local = is_local or ipaddress.ip_address(host).is_loopback
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_local)):
        raise ConfigurationError(
            f"{variable} must be a URL like https://provider.example/api; credentials travel by it"
        )
    return url
