"""How OpenPGP makes a key of a password (RFC 4880, section 3.7): hashed with a salt, so often that a guess costs something."""

import hashlib
from dataclasses import dataclass
from typing import Final

from cath_dagster.cloudmake.openpgp_packets import SYMMETRIC_KEY, DamagedError, FramingError, name_of

KEY_BYTES: Final = {7: 16, 8: 24, 9: 32}
"""Of AES-128, -192 and -256, by OpenPGP's numbers."""
OTHER_CIPHERS: Final = {1: "IDEA", 2: "Triple DES", 3: "CAST5", 4: "Blowfish", 10: "Twofish"}
AES_256: Final = 9
HASHES: Final = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512", 11: "sha224"}
SHA_256: Final = 8
SIMPLE, SALTED, ITERATED = 0, 1, 3
_CHUNK: Final = 256 * 1024


@dataclass(frozen=True)
class Derivation:
    """How a key is made of a password: each message has its own salt."""

    cipher: int
    hash_name: str
    salt: bytes = b""
    count: int = 0
    encrypted_key: bytes = b""

    def derive(self, password: bytes) -> bytes:
        material = self.salt + password
        count = max(self.count, len(material))
        # In one piece where it can be: the hash lets other threads run meanwhile.
        piece = material * max(1, min(count, _CHUNK) // len(material) + 1) if material else b""
        size, derived = KEY_BYTES[self.cipher], b""
        for zeros in range(size):
            derived += self._digest(bytes(zeros), piece, count)
            if len(derived) >= size:
                break
        return derived[:size]

    def _digest(self, zeros: bytes, piece: bytes, count: int) -> bytes:
        digest = hashlib.new(self.hash_name, zeros, usedforsecurity=False)
        while count > len(piece):
            digest.update(piece)
            count -= len(piece)
        digest.update(memoryview(piece)[:count])
        return digest.digest()


def read_derivation(body: bytes) -> Derivation:
    if len(body) < 4:  # noqa: PLR2004 - version, cipher, kind of derivation and hash
        raise DamagedError("it is cut short: it does not say how its key is made")
    version, cipher, kind, hash_number = body[:4]
    if version != 4:  # noqa: PLR2004 - the version of RFC 4880
        raise FramingError(f"{name_of(SYMMETRIC_KEY)} of version {version}; version 4 is read")
    if kind not in (SIMPLE, SALTED, ITERATED):
        raise FramingError(f"its key is made of the password in the way {kind}; ways 0, 1 and 3 are read")
    if hash_number not in HASHES:
        raise FramingError(f"its key is made by the hash {hash_number}, which is not read")
    salt_ends = 4 if kind == SIMPLE else 12
    ends = salt_ends + (kind == ITERATED)
    if len(body) < ends:
        raise DamagedError("it is cut short: it does not say how its key is made")
    return Derivation(
        _check_cipher(cipher),
        HASHES[hash_number],
        salt=body[4:salt_ends],
        count=count_of(body[salt_ends]) if kind == ITERATED else 0,
        encrypted_key=body[ends:],
    )


def _check_cipher(cipher: int) -> int:
    if cipher not in KEY_BYTES:
        raise FramingError(f"it is encrypted by {OTHER_CIPHERS.get(cipher, f'the cipher {cipher}')}; AES is read")
    return cipher


def count_of(coded: int) -> int:
    """Return how many bytes are hashed; section 3.7.1.3."""
    return (16 + (coded & 15)) << ((coded >> 4) + 6)
