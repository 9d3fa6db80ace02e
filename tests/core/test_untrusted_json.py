"""JSON that others wrote: what cannot be read is an error of its own kind, whatever is wrong with it."""

import pytest

from cath_dagster.adapters.exchange import Answer
from cath_dagster.core.untrusted_json import is_text, parse_json


@pytest.mark.parametrize("content", ["", "[" * 100_000, '{"a":' * 100_000, b"\xff", "nothing"])
def test_what_is_no_json_is_an_error_of_its_value(content: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting value|nested too deeply|can.t decode"):
        parse_json(content)

    sent = content if isinstance(content, bytes) else content.encode()
    assert Answer(200, {}, sent).json() is None


def test_neither_nul_nor_half_of_a_pair_is_text() -> None:
    assert [is_text(value) for value in ("a", "", "\0", "a\ud800", "\U0001f600")] == [True, True, False, False, True]
