"""OpenPGP messages under a password: what is written is read, what is not understood is refused by name, never guessed."""

import hashlib
import zlib

import pytest
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from hypothesis import given
from hypothesis import strategies as st

from cath_dagster.cloudmake.openpgp import Opened, WrongKeyError, decrypt, encrypt, from_column, to_column
from cath_dagster.cloudmake.openpgp_derivation import count_of, read_derivation
from cath_dagster.cloudmake.openpgp_packets import (
    DamagedError,
    FramingError,
    OpenPgpError,
    read_packets,
    write_packet,
)

KEY, OTHER = "k" * 64, "o" * 64
# One S2K of the fewest bytes: a property is tried many times.
SKESK = bytes((4, 9, 3, 8)) + b"saltsalt" + b"\x00"
ENCRYPTED = b"\xd2\x02\x01x"


def sealed(plain: bytes, *, skesk: bytes = SKESK, password: str = KEY, tail: bytes | None = None) -> bytes:
    """Return a message around packets that nobody else writes."""
    derivation = read_derivation(skesk)
    prefix = bytes(range(16))
    body = prefix + prefix[-2:] + plain + b"\xd3\x14"
    body += hashlib.sha1(body).digest() if tail is None else tail
    cipher = Cipher(AES(derivation.derive(password.encode())), CFB(bytes(16)))
    encryptor = cipher.encryptor()
    return write_packet(3, skesk) + write_packet(18, b"\x01" + encryptor.update(body) + encryptor.finalize())


def literal(content: bytes, kind: bytes = b"u", name: bytes = b"") -> bytes:
    return write_packet(11, kind + bytes((len(name),)) + name + bytes(4) + content)


@given(st.binary(max_size=300), st.text(min_size=1, max_size=40), st.sampled_from("btu"))
def test_what_is_encrypted_is_read_under_its_key_and_no_other(content: bytes, password: str, kind: str) -> None:
    stored = to_column(encrypt(content, password, kind=kind))

    assert decrypt(from_column(stored), password) == Opened(content, kind)
    with pytest.raises(WrongKeyError):
        decrypt(from_column(stored), password + "x")


@pytest.mark.parametrize("size", [0, 1, 150, 191, 192, 8_383, 8_384, 200_000])
def test_lengths_of_every_form_come_back(size: int) -> None:
    assert decrypt(encrypt(bytes(size), KEY), KEY).content == bytes(size)


def test_two_messages_of_one_content_have_nothing_in_common() -> None:
    assert encrypt(b"same", KEY)[8:] != encrypt(b"same", KEY)[8:]


def test_a_key_costs_as_much_as_one_of_pgcrypto_s_and_is_as_long_as_aes_256_wants() -> None:
    for _ in range(40):
        ((_, skesk), _) = read_packets(encrypt(b"", KEY))
        assert skesk[:4] == bytes((4, 9, 3, 8))
        assert 65_536 <= count_of(skesk[-1]) <= 253_952


def test_neither_key_nor_content_is_in_what_is_shown_of_a_message() -> None:
    assert "planted" not in repr(decrypt(encrypt(b"planted", KEY), KEY))


@given(st.data())
def test_a_message_that_was_damaged_anywhere_is_never_read(data: st.DataObject) -> None:
    message = bytearray(sealed(literal(b"content that is longer than a block")))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(OpenPgpError):
        decrypt(bytes(message), KEY)


@given(st.data())
def test_a_message_that_is_cut_short_is_never_read(data: st.DataObject) -> None:
    message = sealed(literal(b"content"))

    with pytest.raises(OpenPgpError):
        decrypt(message[: data.draw(st.integers(0, len(message) - 1))], KEY)


@given(st.binary(max_size=80))
def test_anything_else_is_refused_in_one_way(noise: bytes) -> None:
    with pytest.raises(OpenPgpError):
        decrypt(noise, KEY)


def test_damage_is_told_from_a_wrong_key() -> None:
    damaged = bytearray(sealed(literal(b"content that is longer than a block")))
    damaged[-1] ^= 1

    with pytest.raises(DamagedError, match="checksum"):
        decrypt(bytes(damaged), KEY)
    with pytest.raises(WrongKeyError):
        decrypt(bytes(damaged), OTHER)


def test_noise_that_begins_like_the_right_key_is_still_another_key() -> None:
    """As of one wrong key in 65,536."""
    with pytest.raises(WrongKeyError):
        decrypt(sealed(b"\x00noise that no packet begins with", tail=bytes(20)), KEY)


COMPRESSORS = {1: zlib.compressobj(wbits=-15), 2: zlib.compressobj()}


def packed(method: int, plain: bytes) -> bytes:
    compressor = COMPRESSORS[method].copy()
    return compressor.compress(plain) + compressor.flush()


@pytest.mark.parametrize(
    "plain",
    [
        literal(b"content", name=b"a file's name"),
        write_packet(8, b"\x00" + literal(b"content")),
        write_packet(8, b"\x01" + packed(1, literal(b"content"))),
        write_packet(8, b"\x02" + packed(2, literal(b"content"))),
        b"\xa3\x01" + packed(1, literal(b"content")),  # the old form, of undetermined length
        b"\xac\x0d" + literal(b"content")[2:],  # the old form, a length of one, two and four octets
        b"\xad\x00\x0d" + literal(b"content")[2:],
        b"\xae\x00\x00\x00\x0d" + literal(b"content")[2:],
        b"\xcb\xff\x00\x00\x00\x0d" + literal(b"content")[2:],
        b"\xcb\xe3u\x00\x00\x00\x00\x00co\x05ntent",  # in parts
    ],
)
def test_every_form_of_the_content_is_read(plain: bytes) -> None:
    assert decrypt(sealed(plain), KEY) == Opened(b"content", "u")


def test_a_marker_is_passed_over() -> None:
    assert decrypt(write_packet(10, b"PGP") + sealed(literal(b"content")), KEY).content == b"content"


@pytest.mark.parametrize(
    "skesk",
    [
        bytes((4, 7, 0, 2)),
        bytes((4, 8, 1, 1)) + b"saltsalt",
        bytes((4, 9, 3, 2)) + b"saltsalt\x60",
        bytes((4, 9, 3, 10)) + b"saltsalt\xa0",  # more than is hashed in one piece
    ],
)
def test_keys_made_in_other_ways_are_read(skesk: bytes) -> None:
    assert decrypt(sealed(literal(b"content"), skesk=skesk), KEY).content == b"content"


def test_a_key_that_is_encrypted_in_the_message_is_read_and_under_a_wrong_one_said_so() -> None:
    session_key = bytes(range(32))
    outer = read_derivation(SKESK)
    encryptor = Cipher(AES(outer.derive(KEY.encode())), CFB(bytes(16))).encryptor()
    skesk = SKESK + encryptor.update(b"\x09" + session_key) + encryptor.finalize()
    body = bytes(16) + bytes(2) + literal(b"content") + b"\xd3\x14"
    body += hashlib.sha1(body).digest()
    encryptor = Cipher(AES(session_key), CFB(bytes(16))).encryptor()
    message = write_packet(3, skesk) + write_packet(18, b"\x01" + encryptor.update(body) + encryptor.finalize())

    assert decrypt(message, KEY).content == b"content"
    with pytest.raises(WrongKeyError):
        decrypt(message, OTHER)


REFUSED = {
    "version 5": write_packet(3, b"\x05" + SKESK[1:]) + ENCRYPTED,
    "Twofish": write_packet(3, b"\x04\x0a" + SKESK[2:]) + ENCRYPTED,
    "the cipher 99": write_packet(3, b"\x04\x63" + SKESK[2:]) + ENCRYPTED,
    "the way 4": write_packet(3, b"\x04\x09\x04" + SKESK[3:]) + ENCRYPTED,
    "the hash 3": write_packet(3, b"\x04\x09\x03\x03" + SKESK[4:]) + ENCRYPTED,
    "version 2": write_packet(3, SKESK) + b"\xd2\x02\x02x",
    "a key encrypted by a password": write_packet(3, SKESK) * 2 + ENCRYPTED,
    "without a checksum": write_packet(3, SKESK) + write_packet(9, b"x" * 40),
    "GnuPG's own": write_packet(3, SKESK) + write_packet(20, b"x" * 40),
    "to a public key": write_packet(1, b"x" * 40),
    "literal data": literal(b"content"),
    "no OpenPGP packet": b"content",
    "is empty": b"",
    "after the encrypted data": sealed(literal(b"content")) + literal(b"more"),
    "kind 'm'": sealed(literal(b"content", b"m")),
    "a signed message": sealed(write_packet(4, b"x")),
    "beside literal data": sealed(literal(b"content") * 2),
    "compressed in the way 03": sealed(write_packet(8, b"\x03x")),
    "holds compressed data": sealed(write_packet(8, b"\x00" + write_packet(8, b"\x00" + literal(b"content")))),
    "holds nothing": sealed(b""),
    "more than 16,777,216 bytes": sealed(write_packet(8, b"\x01" + packed(1, bytes(20_000_000)))),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_is_not_understood_is_refused_by_name(says: str) -> None:
    with pytest.raises(FramingError, match=says):
        decrypt(REFUSED[says], KEY)


@pytest.mark.parametrize(
    "plain",
    [
        write_packet(8, b"\x01no deflate"),
        write_packet(8, b"\x01" + packed(1, literal(b"content"))[:-4]),
        write_packet(11, b"u"),
        b"\xcb\x7fu",
    ],
)
def test_content_that_is_not_whole_is_damage(plain: bytes) -> None:
    with pytest.raises(DamagedError):
        decrypt(sealed(plain), KEY)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("-----BEGIN PGP MESSAGE-----", "armoured text"),
        ('{"planted": 1}', "JSON"),
        ("\\303\\015\\004", "escape format"),
        ("planted", "text of 7 characters"),
        ("\\xplanted!", "no pairs of hex digits"),
        ("\\xab c", "no pairs of hex digits"),
        ("\\xabcé", "no pairs of hex digits"),
    ],
)
def test_a_column_that_holds_something_else_is_told_and_not_shown(text: str, says: str) -> None:
    with pytest.raises(FramingError, match=says) as refused:
        from_column(text)
    assert "planted" not in str(refused.value)
