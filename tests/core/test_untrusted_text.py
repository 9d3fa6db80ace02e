"""Words of users on their way out: one line, and no link."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cath_dagster.core.untrusted_text import Ours, inert, one_line, printable, unmarked

# What mail programs make links of, told more widely than ours is: a scheme, or a dot between letters.
LINK = re.compile(r"(?i)[a-z]://|(?<![\w@-])[a-z0-9-]+\.[a-z]{2,}(?!\w)")
ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+")
PARTS = st.sampled_from(
    [
        "https://",
        "http://",
        "evil",
        ".",
        ".example",
        "/",
        "www.",
        "HTTPS://",
        "חשבון",
        "a@b.example",
        " ",
        "\n",
        "-",
        "x",
    ]
)


@pytest.mark.parametrize(
    "name",
    [
        "Anne-Marie O'Brien",
        "St. John (née Smith)",
        "Smith & Sons Ltd.",
        "Llŷr",
        "ג׳ון – סטודיו",
        "ann@example.org",
        "3.5",
    ],
)
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert inert(name) == name


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("A\r\n\r\n# Pay here", "A # Pay here"),
        ("A\u2028B\x0bC\x85D", "A B C D"),
        ("\x1b[31mred\x07", "[31mred"),
        ("total \u202e0001", "total 0001"),
        ("  A\tB ", "A B"),
    ],
)
def test_a_line_break_or_a_control_character_is_a_blank(written: str, told: str) -> None:
    assert one_line(written) == told


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("https://evil.example/x", "https: //evil. example/x"),
        ("see www.evil.example now", "see www. evil. example now"),
        ("evil.example", "evil. example"),
        ("דף.קום", "דף. קום"),
    ],
)
def test_what_looks_like_a_link_is_none(written: str, told: str) -> None:
    assert inert(written) == told


def test_a_link_of_ours_stays_one() -> None:
    assert inert(Ours("https://service.example/a_b")) == "https://service.example/a_b"


@given(st.lists(PARTS, max_size=12).map("".join))
def test_no_words_of_a_user_hold_a_link_or_a_second_line(text: str) -> None:
    told = inert(text)

    assert not LINK.search(ADDRESS.sub("", told)), told
    assert len(told.splitlines()) <= 1
    assert inert(told) == told


def test_chat_programs_and_markdown_find_no_link_mention_or_tag() -> None:
    assert unmarked("<!channel> [x](https://evil.example) <b>\nB") == "‹!channel› (x)(https://evil.example) ‹b› B"


def test_a_terminal_obeys_nothing_that_it_is_shown() -> None:
    assert printable("a\x1b[2J\x9b1m\x07\r\n\tb") == "a�[2J�1m��\n\tb"
