"""Messages that a password encrypts, as OpenPGP has them: what pgcrypto's `pgp_sym_encrypt` writes and `pgp_sym_decrypt` reads.

The service's encrypted columns hold such a message as text, `\\x` and hex digits. It is written and read here and not in SQL,
so that neither key nor plaintext is in any statement. Only what is understood is read: AES, a checksum (MDC), one password.

A message does not say under which key it is. Two repeated bytes at its beginning tell a wrong key but for one in 65,536, the
checksum tells those and damage; of damage to the very first block nobody can tell it from a wrong key.
"""

import binascii
import hashlib
import hmac
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES

from cath_dagster.cloudmake.openpgp_derivation import (
    AES_256,
    HASHES,
    ITERATED,
    KEY_BYTES,
    SHA_256,
    Derivation,
    count_of,
    read_derivation,
)
from cath_dagster.cloudmake.openpgp_packets import (
    COMPRESSED,
    LITERAL,
    MARKER,
    PROTECTED,
    SYMMETRIC_KEY,
    DamagedError,
    FramingError,
    OpenPgpError,
    name_of,
    read_packets,
    write_packet,
)

TEXT: Final = "u"
"""The kind of literal data that is text in UTF-8; `pgp_sym_decrypt` takes it and `t`, and refuses `b`."""
KINDS: Final = "btu"
MOST_BYTES: Final = 16 * 1024 * 1024
"""No secret is as long; what would become longer unpacked was made to fill the memory."""
_BLOCK: Final = 16
_PREFIX: Final = _BLOCK + 2
_CHECKSUM: Final = b"\xd3\x14"
_FIRST_HEADS: Final = frozenset((0xCB, 0xC8, *range(0xAC, 0xB0), *range(0xA0, 0xA4)))
"""How literal or compressed data begins, of which one is the first in every message."""


class WrongKeyError(OpenPgpError):
    """The message is under another key."""


@dataclass(frozen=True)
class Opened:
    """What a message held: its content, and of which kind it was (text in UTF-8 `u`, text `t`, binary `b`)."""

    content: bytes = field(repr=False)
    kind: str = TEXT


def to_column(message: bytes) -> str:
    r"""Return a message as the service's columns hold it: text, `\x` and hex digits."""
    return "\\x" + message.hex()


def from_column(text: str) -> bytes:
    """Return the message that such a text holds; raise `FramingError` saying what it is instead."""
    if text.startswith("\\x"):
        try:
            return binascii.unhexlify(text[2:])
        except (binascii.Error, ValueError):
            raise FramingError("what follows \\x are no pairs of hex digits") from None
    raise FramingError(f"it is {_describe(text)}, and not \\x and hex digits")


def _describe(text: str) -> str:
    if not text.strip():
        return "empty"
    if text.lstrip().startswith("-----BEGIN"):
        return "armoured text"
    if text.lstrip().startswith("{"):
        return "JSON"
    if text.startswith("\\3"):
        return "bytea in the escape format (of a session with bytea_output = escape)"
    return f"text of {len(text)} characters"


def encrypt(content: bytes, password: str, *, kind: str = TEXT) -> bytes:
    """Return a message that AES-256 encrypts.

    The key is stretched as often as pgcrypto does it: from 65,536 to 253,952 bytes hashed, at random. Fewer would make what
    we write weaker than what the service writes itself; more would cost each of its reads what it has not asked for. The
    hash is SHA-256, which fills the key in one go; with pgcrypto's SHA-1 it takes two, for us as for whoever guesses.
    """
    coded = 0x60 | os.urandom(1)[0] & 0x1F
    salt = os.urandom(8)
    key = Derivation(AES_256, HASHES[SHA_256], salt, count_of(coded)).derive(password.encode())
    prefix = os.urandom(_BLOCK)
    literal = write_packet(LITERAL, kind.encode() + bytes(5) + content)
    plain = prefix + prefix[-2:] + literal + _CHECKSUM
    plain += hashlib.sha1(plain, usedforsecurity=False).digest()
    encryptor = Cipher(AES(key), CFB(bytes(_BLOCK))).encryptor()
    return write_packet(SYMMETRIC_KEY, bytes((4, AES_256, ITERATED, SHA_256)) + salt + bytes((coded,))) + write_packet(
        PROTECTED, b"\x01" + encryptor.update(plain) + encryptor.finalize()
    )


def decrypt(message: bytes, password: str) -> Opened:
    """Return what a message holds.

    Raises `WrongKeyError`, `DamagedError`, or `FramingError` for what is no message of this kind.
    """
    derivation, body = _read_message(message)
    key = derivation.derive(password.encode())
    if derivation.encrypted_key:
        key = _read_session_key(_decipher(key, derivation.encrypted_key))
    plain = _decipher(key, body)
    if len(plain) < _PREFIX + len(_CHECKSUM) + 20:
        raise DamagedError("it is cut short: it holds nothing")
    if plain[_BLOCK - 2 : _BLOCK] != plain[_BLOCK:_PREFIX]:
        raise WrongKeyError("it is under another key")
    expected = hashlib.sha1(plain[:-20], usedforsecurity=False).digest()
    if plain[-22:-20] != _CHECKSUM or not hmac.compare_digest(plain[-20:], expected):
        if plain[_PREFIX] not in _FIRST_HEADS:
            raise WrongKeyError("it is under another key")
        raise DamagedError("it is damaged: its checksum is wrong")
    return _read_literal(plain[_PREFIX:-22])


def _read_message(message: bytes) -> tuple[Derivation, bytes]:
    """Return how the key is made, and what is encrypted by it."""
    derivation: Derivation | None = None
    packets = _without_markers(message)
    for tag, body in packets:
        if tag == SYMMETRIC_KEY and derivation is None:
            derivation = read_derivation(body)
        elif tag == PROTECTED and derivation is not None:
            if body[:1] != b"\x01":
                raise FramingError(f"{name_of(PROTECTED)} of version {body[0] if body else 'none'}; version 1 is read")
            for extra, _ in packets:
                raise FramingError(f"after the encrypted data comes {name_of(extra)}")
            return derivation, body[1:]
        else:
            raise FramingError(f"it begins as {name_of(tag)}" if derivation is None else f"it has {name_of(tag)}")
    if derivation is None:
        raise FramingError("it is empty")
    raise DamagedError("it is cut short: what was encrypted is missing")


def _without_markers(message: bytes) -> Iterator[tuple[int, bytes]]:
    return ((tag, body) for tag, body in read_packets(message) if tag != MARKER)


def _read_session_key(plain: bytes) -> bytes:
    """Return the key that stands encrypted in the message, with its cipher; under a wrong key that is noise."""
    if KEY_BYTES.get(plain[0]) != len(plain) - 1:
        raise WrongKeyError("it is under another key, or by a cipher other than AES")
    return plain[1:]


def _decipher(key: bytes, encrypted: bytes) -> bytes:
    decryptor = Cipher(AES(key), CFB(bytes(_BLOCK))).decryptor()
    return decryptor.update(encrypted) + decryptor.finalize()


def _read_literal(plain: bytes, *, is_unpacked: bool = False) -> Opened:
    (tag, body), *others = _all_packets(plain)
    if others:
        raise FramingError(f"beside {name_of(tag)} it holds {name_of(others[0][0])}")
    if tag == COMPRESSED and not is_unpacked:
        return _read_literal(_unpack(body), is_unpacked=True)
    if tag != LITERAL:
        raise FramingError(f"it holds {name_of(tag)}")
    if len(body) < 2 or len(body) < 6 + body[1]:  # noqa: PLR2004 - kind, length of the name, the name and four bytes of a date
        raise DamagedError("it is cut short: its content is missing")
    kind = chr(body[0])
    if kind not in KINDS:
        raise FramingError(f"its content is of the kind {kind!r}; b, t and u are read")
    return Opened(body[6 + body[1] :], kind)


def _all_packets(plain: bytes) -> list[tuple[int, bytes]]:
    found = list(_without_markers(plain))
    if not found:
        raise FramingError("it holds nothing")
    return found


def _unpack(body: bytes) -> bytes:
    """Return what was compressed; section 5.6."""
    method, packed = body[:1], body[1:]
    if method == b"\x00":
        return packed
    if method not in (b"\x01", b"\x02"):
        raise FramingError(f"it is compressed in the way {method.hex() or 'none'}; zip and zlib are read")
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS if method == b"\x01" else zlib.MAX_WBITS)
    try:
        unpacked = unpacking.decompress(packed, MOST_BYTES)
    except zlib.error:
        raise DamagedError("it cannot be unpacked") from None
    if unpacking.unconsumed_tail:
        raise FramingError(f"unpacked it has more than {MOST_BYTES:,} bytes")
    if not unpacking.eof:
        raise DamagedError("it cannot be unpacked: it is cut short")
    return unpacked
