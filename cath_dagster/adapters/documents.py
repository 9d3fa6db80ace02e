"""Fetch a JSON document that a service serves, and say honestly why it could not be had."""

import contextlib
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from cath_dagster.adapters.exchange import Exchange, UnreachableError
from cath_dagster.core.errors import ConfigurationError

MAX_BYTES = 32 * 1024 * 1024


class DocumentError(Exception):
    """There is no document; the message goes on where a name for it stands before."""


def fetch_json(url: str, variable: str, *, timeout: float) -> Any:
    """Return the document at a URL; raise `DocumentError`, or `ConfigurationError` for what is no such URL.

    Nothing secret is sent, so that a service inside a cluster may be asked without TLS.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.username:
        raise ConfigurationError(f"{variable} must be a URL like https://api.example/openapi.json, without a user")
    with contextlib.closing(Exchange(timeout=timeout, max_bytes=MAX_BYTES)) as exchange:
        try:
            answer = exchange.ask("GET", url, headers={"Accept": "application/json"})
        except UnreachableError as error:
            raise DocumentError(str(error)) from None
    if answer.status != HTTPStatus.OK:
        raise DocumentError(f"was answered with HTTP {answer.status}")
    document = answer.json()
    if document is None:
        raise DocumentError("is no JSON, or nested too deeply")
    return document
