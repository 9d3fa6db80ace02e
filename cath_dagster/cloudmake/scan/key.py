"""The key under which values are told apart: HMAC, so that who reads a fingerprint cannot try values out."""

import hmac
import secrets
from collections.abc import Mapping
from typing import Final

from cath_dagster.core.errors import ConfigurationError

VARIABLE: Final = "CLOUDMAKE_SCAN_KEY"
SHORTEST: Final = 32
"""Characters at least: a key that can be guessed protects nothing."""
FINGERPRINT_DIGITS: Final = 32
CHECK_DIGITS: Final = 8


class ScanKey:
    """A key; one that is `lasting` gives a value the same fingerprint in every run."""

    def __init__(self, text: str, *, is_lasting: bool) -> None:
        self._key: Final = text.encode()
        self.is_lasting: Final = is_lasting

    def __repr__(self) -> str:
        return f"ScanKey({self.check})"

    @property
    def check(self) -> str:
        """What tells this key from others, and nothing of it."""
        return self.sign("cath-dagster baseline")[:CHECK_DIGITS]

    def fingerprint(self, value: str) -> str:
        return self.sign(value)[:FINGERPRINT_DIGITS]

    def sign(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(errors="surrogateescape"), "sha256").hex()


def new_key_text() -> str:
    return secrets.token_hex(SHORTEST)


def read_key(environ: Mapping[str, str]) -> ScanKey:
    """Return the key that the environment names, else a random one for this run alone.

    Raises `ConfigurationError` for one that is too short.
    """
    text = environ.get(VARIABLE)
    if not text:
        return ScanKey(new_key_text(), is_lasting=False)
    if len(text) < SHORTEST:
        raise ConfigurationError(
            f"{VARIABLE} has {len(text)} characters, {SHORTEST} random ones are needed; make it with: openssl rand -hex 32"
        )
    return ScanKey(text, is_lasting=True)
