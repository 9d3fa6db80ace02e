"""One exchange with a provider over HTTP: no redirect, no cookie, no second attempt, a bounded answer in a bounded time.

What is sent may be secret. So it goes by https alone, or to this very machine, and no failure says anything of it.
"""

import ipaddress
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from urllib3.exceptions import HTTPError

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.untrusted_json import parse_json


class UnreachableError(Exception):
    """No answer came, or not all of it; whether the request was acted on, nobody knows."""


@dataclass(frozen=True)
class Answer:
    """An answer as it came; the names of headers in whatever case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the body's JSON, None where it is none, such as a page of HTML."""
        try:
            return parse_json(self.content)
        except ValueError:
            return None


class Exchange:
    """Connections to one provider; several threads may use it at once."""

    def __init__(self, *, timeout: float, max_bytes: int, connections: int = 4) -> None:
        """`timeout` is in seconds: to connect, for the answer to begin, and from then on to come to its end."""
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._session = requests.Session()
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=connections, max_retries=0)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, adapter)
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def close(self) -> None:
        self._session.close()

    def ask(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send one request and return the answer, whatever its status; raise `UnreachableError` where none came."""

        def authenticate(request: requests.PreparedRequest) -> requests.PreparedRequest:
            # As a function, so that no .netrc file puts another header in the place of ours.
            request.headers.update(headers)
            return request

        try:
            with self._session.request(
                method, url, data=body, auth=authenticate, timeout=self._timeout, allow_redirects=False, stream=True
            ) as response:
                return Answer(response.status_code, response.headers, self._read(response))
        except requests.ConnectTimeout:
            raise UnreachableError("cannot be reached") from None
        except requests.Timeout:
            raise UnreachableError(f"gave no answer within {self._timeout:g} s") from None
        except (requests.RequestException, HTTPError, OSError):
            raise UnreachableError("cannot be reached, or broke off") from None

    def _read(self, response: requests.Response) -> bytes:
        """Return the answer's body, all of it within the timeout, however slowly it drips."""
        until, content = time.monotonic() + self._timeout, b""
        while part := response.raw.read1(self._max_bytes, decode_content=True):
            content += part
            if len(content) > self._max_bytes:
                raise UnreachableError(f"answered more than {self._max_bytes:,} bytes")
            if time.monotonic() > until:
                raise requests.Timeout
        return content


def segment(name: str) -> str:
    """Return a name as one part of a path; raise ValueError for one that leads to another place, however it is quoted."""
    # The client goes by dots even where they are quoted: a resource of such a name would be what holds it.
    if name in {"", ".", ".."}:
        raise ValueError(f"{name!r} is no name of a resource")
    return quote(name, safe="")


def check_url(url: str, variable: str, example: str) -> str:
    """Return the URL without a slash at its end; raise `ConfigurationError` unless it is https, or leads to this machine."""
    if not is_safe(url):
        raise ConfigurationError(f"{variable} must be a URL like {example}; secrets travel by it")
    return url.rstrip("/")


def is_safe(url: str) -> bool:
    """Return whether what is sent there is seen by nobody on the way: by https, or on this very machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_local = host == "localhost"
    with suppress(ValueError):
        is_local = is_local or ipaddress.ip_address(host).is_loopback
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_local))
