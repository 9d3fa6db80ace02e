"""Seal what is ours under the master key: AES-256-GCM, bound to the row that it stands in.

A sealed value opens under the key that sealed it and in its own row alone: the row's identity is associated data, so that a
value that was copied into another row is refused. The key is derived from the master key's text (HKDF, RFC 5869), and named
by a fingerprint that says nothing of it. Neither key nor plaintext is in any representation.
"""

import hashlib
import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cath_dagster.core.errors import MaintenanceError

NONCE_BYTES: Final = 12
SHORTEST_KEY: Final = 32
"""Characters of a master key at least; `cath-dagster keys generate` writes 64."""
FINGERPRINT_DIGITS: Final = 8
ROUNDS: Final = 600_000
"""What OWASP asks of PBKDF2 for passwords."""


def row_identity(table: str, *key: object) -> str:
    """Return what a sealed value is bound to: its table and primary key, as `stored_secret/<project>/<environment>/<name>`."""
    return "/".join((table, *map(str, key)))


class UnopenedError(MaintenanceError):
    """A sealed value opens under none of the keys, or is not in its own row. The message says nothing of its content."""


@dataclass(frozen=True)
class Sealed:
    """A sealed value as it is stored."""

    key_id: str
    nonce: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


class MasterKey:
    """A master key: the text under which the service's own values are encrypted, and the key that ours are sealed with."""

    def __init__(self, text: str, variable: str, *, shortest: int = SHORTEST_KEY) -> None:
        """`variable` names where the text comes from; one that only reads may be as short as the service once took it.

        Raises `MaintenanceError` for one that is too short to be a key.
        """
        if len(text) < shortest:
            raise MaintenanceError(
                f"{variable} has {len(text)} characters, a master key has {SHORTEST_KEY} or more; "
                "make one with: cath-dagster keys generate --out FILE"
            )
        self.text: Final = text
        self._key = HKDF(SHA256(), 32, salt=None, info=b"cath-dagster sealed values").derive(text.encode())
        digest = Hash(SHA256())
        digest.update(b"cath-dagster fingerprint" + (self._key if len(text) >= SHORTEST_KEY else _stretch(text)))
        self.fingerprint: Final = digest.finalize().hex()[:FINGERPRINT_DIGITS]

    def __repr__(self) -> str:
        return f"MasterKey({self.fingerprint})"

    def seal(self, plaintext: bytes, identity: str) -> Sealed:
        """Seal a value for the row of an identity; see `row_identity`."""
        nonce = os.urandom(NONCE_BYTES)
        return Sealed(self.fingerprint, nonce, AESGCM(self._key).encrypt(nonce, plaintext, identity.encode()))

    def open(self, value: Sealed, identity: str) -> bytes:
        """Return what was sealed; raise `UnopenedError` where this key, or that row, is not the one it was sealed for."""
        try:
            return AESGCM(self._key).decrypt(value.nonce, value.sealed, identity.encode())
        except (InvalidTag, ValueError):
            raise UnopenedError(
                f"{identity} does not open under the master key {self.fingerprint}; it is under {value.key_id}"
            ) from None


def _stretch(text: str) -> bytes:
    """Return what names a key that could be guessed: whoever reads its fingerprint shall not try guesses by it."""
    return hashlib.pbkdf2_hmac("sha256", text.encode(), b"cath-dagster short key", ROUNDS)


@dataclass(frozen=True)
class Keyring:
    """The master key by which is written, and while a rotation lasts the old one, by which may still be read."""

    new: MasterKey
    old: MasterKey | None = None

    def seal(self, plaintext: bytes, identity: str) -> Sealed:
        """Seal under the new key."""
        return self.new.seal(plaintext, identity)

    def open(self, value: Sealed, identity: str) -> bytes:
        """Return what was sealed under either key; raise `UnopenedError` where neither opens it."""
        if self.old is not None and value.key_id == self.old.fingerprint:
            return self.old.open(value, identity)
        return self.new.open(value, identity)
