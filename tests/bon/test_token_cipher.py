"""The service's framing of tokens."""

import base64

import pytest

from cath_dagster.bon.token_cipher import TokenCipher, UnreadableTokenError
from cath_dagster.core.errors import ConfigurationError

CIPHER = TokenCipher("a" * 64, "BON_SHAAM_ENCRYPTION_KEY")
STORED = "AAECAwQFBgcICQoLcT6SAUq745/Hb67Uzo37MOi9toaR/5nLwyltA5ARLXBagwzAa9o="
TOKEN = "refresh-token-שלום"


def test_reads_what_the_service_wrote() -> None:
    assert CIPHER.decrypt(STORED) == TOKEN


def test_reads_an_empty_token() -> None:
    assert CIPHER.decrypt("AAECAwQFBgcICQoLLkOeieZMi3v82NC1O4yNLw==") == ""


def test_reads_the_key_in_either_case() -> None:
    assert TokenCipher("A" * 64, "KEY").decrypt(STORED) == TOKEN


@pytest.mark.parametrize("form", [STORED.rstrip("="), STORED.replace("/", "_"), f" {STORED[:20]}\n{STORED[20:]} "])
def test_reads_base64_as_leniently_as_the_service(form: str) -> None:
    assert CIPHER.decrypt(form) == TOKEN


def test_writes_what_it_reads_each_time_under_another_iv() -> None:
    first, second = CIPHER.encrypt(TOKEN), CIPHER.encrypt(TOKEN)

    assert first != second
    assert base64.b64decode(first)[:12] != base64.b64decode(second)[:12]
    assert CIPHER.decrypt(first) == CIPHER.decrypt(second) == TOKEN
    assert len(base64.b64decode(first)) == 12 + 16 + len(TOKEN.encode())


@pytest.mark.parametrize("length", [0, 12, 16, 27])
def test_rejects_what_has_no_room_for_a_whole_tag(length: int) -> None:
    cut = base64.b64encode(base64.b64decode(STORED)[:length]).decode()

    with pytest.raises(UnreadableTokenError):
        CIPHER.decrypt(cut)


@pytest.mark.parametrize("position", [0, 12, 27, 28, -1])
def test_rejects_what_was_changed_anywhere(position: int) -> None:
    framed = bytearray(base64.b64decode(STORED))
    framed[position] ^= 1

    with pytest.raises(UnreadableTokenError):
        CIPHER.decrypt(base64.b64encode(bytes(framed)).decode())


@pytest.mark.parametrize("stored", ["", "not base64!", "plain-token"])
def test_rejects_what_is_not_framed_at_all(stored: str) -> None:
    with pytest.raises(UnreadableTokenError):
        CIPHER.decrypt(stored)


def test_rejects_what_was_written_with_another_key() -> None:
    with pytest.raises(UnreadableTokenError):
        TokenCipher("b" * 64, "KEY").decrypt(STORED)


@pytest.mark.parametrize("key", ["", "a" * 63, "a" * 65, "g" * 64, f"{'a' * 64}\n", "planted"])
def test_refuses_what_is_no_key_without_showing_it(key: str) -> None:
    with pytest.raises(ConfigurationError, match="BON_SHAAM_ENCRYPTION_KEY") as caught:
        TokenCipher(key, "BON_SHAAM_ENCRYPTION_KEY")

    assert "planted" not in str(caught.value)
