"""The framing of OpenPGP (RFC 4880, section 4): packets of a message, in the new form and the old, in parts or whole."""

from collections.abc import Iterator
from typing import Final

from cath_dagster.core.errors import MaintenanceError

SYMMETRIC_KEY, COMPRESSED, MARKER, LITERAL, PROTECTED, CHECKSUM = 3, 8, 10, 11, 18, 19
NAMES: Final = {
    1: "a key encrypted to a public key",
    2: "a signature",
    SYMMETRIC_KEY: "a key encrypted by a password",
    4: "a signed message",
    5: "a secret key",
    6: "a public key",
    COMPRESSED: "compressed data",
    9: "encrypted data without a checksum",
    MARKER: "a marker",
    LITERAL: "literal data",
    PROTECTED: "encrypted data with a checksum",
    CHECKSUM: "a checksum",
    20: "encrypted data of GnuPG's own (OCB)",
    21: "padding",
}
_ONE_OCTET, _TWO_OCTETS, _PART = 192, 224, 255
_OLD_LENGTHS: Final = {0: 1, 1: 2, 2: 4}


class OpenPgpError(MaintenanceError):
    """A value cannot be read. The message says nothing of its content."""


class FramingError(OpenPgpError):
    """It is something else than a message of the kind that is read here; the message says what."""


class DamagedError(OpenPgpError):
    """It is a message of the right kind, and not whole."""


def name_of(tag: int) -> str:
    """Return what a packet is, in words."""
    return NAMES.get(tag, f"a packet of the kind {tag}")


def read_packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each packet's tag and body; raise `FramingError` for what is none, `DamagedError` for one cut short."""
    at = 0
    while at < len(data):
        head = data[at]
        if not head & 0x80:
            raise FramingError("it holds something that is no OpenPGP packet")
        if head & 0x40:
            body, at = _read_new(data, at + 1)
            yield head & 0x3F, body
        else:
            body, at = _read_old(data, at + 1, head & 3)
            yield head >> 2 & 0x0F, body


def write_packet(tag: int, body: bytes) -> bytes:
    """Return a packet in the new form, whole."""
    size = len(body)
    if size < _ONE_OCTET:
        length = bytes((size,))
    elif size < 8_384:  # noqa: PLR2004 - what two octets can say
        length = bytes(((size - _ONE_OCTET >> 8) + _ONE_OCTET, size - _ONE_OCTET & 0xFF))
    else:
        length = b"\xff" + size.to_bytes(4, "big")
    return bytes((0xC0 | tag,)) + length + body


def _read_new(data: bytes, at: int) -> tuple[bytes, int]:
    parts = []
    while True:
        size, at, is_last = _read_length(data, at)
        parts.append(_take(data, at, size))
        at += size
        if is_last:
            return parts[0] if len(parts) == 1 else b"".join(parts), at


def _read_length(data: bytes, at: int) -> tuple[int, int, bool]:
    """Return how long what follows is, where it begins, and whether it is the packet's last part."""
    first = _take(data, at, 1)[0]
    if first < _ONE_OCTET:
        return first, at + 1, True
    if first < _TWO_OCTETS:
        return (first - _ONE_OCTET << 8) + _take(data, at + 1, 1)[0] + _ONE_OCTET, at + 2, True
    if first < _PART:
        return 1 << (first & 0x1F), at + 1, False
    return int.from_bytes(_take(data, at + 1, 4), "big"), at + 5, True


def _read_old(data: bytes, at: int, kind: int) -> tuple[bytes, int]:
    octets = _OLD_LENGTHS.get(kind)
    if octets is None:
        # Of undetermined length: to the end of what it stands in.
        return data[at:], len(data)
    size = int.from_bytes(_take(data, at, octets), "big")
    return _take(data, at + octets, size), at + octets + size


def _take(data: bytes, at: int, size: int) -> bytes:
    taken = data[at : at + size]
    if len(taken) < size:
        raise DamagedError("it is cut short: it ends in the midst of a packet")
    return taken
