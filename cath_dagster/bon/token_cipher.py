"""The service's framing of stored tokens: base64 of IV (12 bytes), tag (16 bytes) and AES-256-GCM ciphertext."""

import base64
import binascii
import os
import re

from cath_dagster.core.errors import ConfigurationError

IV_BYTES, TAG_BYTES = 12, 16


class UnreadableTokenError(Exception):
    """A stored token was not written with this key, or is damaged."""


class TokenCipher:
    """Encrypts and decrypts tokens as the service does."""

    def __init__(self, key: str, variable: str) -> None:
        """Take the key as 64 hex digits; raise `ConfigurationError` naming `variable`, never the key."""
        if not re.fullmatch(r"[0-9a-fA-F]{64}", key):
            raise ConfigurationError(f"{variable} is no key of AES-256: it must have 64 hex digits and nothing else")
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._aead = AESGCM(bytes.fromhex(key))

    def encrypt(self, token: str) -> str:
        """Return the token as the service stores it, under an IV of its own."""
        iv = os.urandom(IV_BYTES)
        sealed = self._aead.encrypt(iv, token.encode(), None)
        # The library puts the tag last, the service second.
        return base64.b64encode(iv + sealed[-TAG_BYTES:] + sealed[:-TAG_BYTES]).decode()

    def decrypt(self, stored: str) -> str:
        """Return the token.

        Raises `UnreadableTokenError`, also for what is too short to hold a whole tag: the shorter a tag, the easier it
        is to forge.
        """
        try:
            # The service reads base64 without padding, and its URL-safe form, as well.
            text = "".join(stored.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
            framed = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise UnreadableTokenError from None
        if len(framed) < IV_BYTES + TAG_BYTES:
            raise UnreadableTokenError
        from cryptography.exceptions import InvalidTag

        iv, tag, sealed = framed[:IV_BYTES], framed[IV_BYTES : IV_BYTES + TAG_BYTES], framed[IV_BYTES + TAG_BYTES :]
        try:
            return self._aead.decrypt(iv, sealed + tag, None).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise UnreadableTokenError from None
