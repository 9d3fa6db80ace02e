"""Words of users in GOV.UK Notify's mails, against the Markdown that it renders by."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cath_dagster.adapters import notify_words
from cath_dagster.core.ports.letters import write
from cath_dagster.core.untrusted_text import Ours
from tests.adapters.notify_rendering import render, visible

LETTER = "Dear ((name)),\n\nSign in at https://service.example/ today.\n\n((name))\n((name))\n"
MARKUP = st.sampled_from([
    "#", "# ", "*", "* ", "-", "---", "•", "^", "1.", "2) ", "=", "===", "_", "___", "`", "```", "~", "~~~", "|", "+ ", ">",
    "[", "]", "(", ")", "![", "](", "https://", "evil.example", "/", "<", "</a>", "<https://", "&lt;", "\\", "\n", "\n\n",
    "\r", "\u2028", " ", "    ", "\t", "x", "Ann", "ב", ":", "[x]: ", "[^1]", "\"t\"",
])  # fmt: skip
WORDS = st.lists(MARKUP, max_size=10).map("".join)


def test_the_rendering_is_one_that_words_of_users_could_abuse() -> None:
    told = render(LETTER, name="[x](https://evil.example/)\n\n# Pay here\n\n^ now")

    assert '<a href="https://evil.example/">x</a>' in told
    assert "<h1>Pay here" in told
    assert "<blockquote>" in told


@pytest.mark.parametrize("name", ["Anne-Marie O'Brien", "St. John (née Smith)", "Smith & Sons", "ג׳ון סטודיו"])
def test_an_ordinary_name_is_filled_in_as_it_is(name: str) -> None:
    assert notify_words.fill(name) == name


@given(WORDS)
@example("[Confirm your account](https://evil.example/)")
@example("A customer\n\n# Pay here")
@example("===")
@example("https://evil.example")
def test_words_of_a_user_are_no_link_and_no_line_or_heading_of_their_own(words: str) -> None:
    filled = notify_words.fill(words)
    told = render(LETTER, name=filled)

    assert re.findall('href="([^"]*)"', told) == ["https://service.example/"]
    assert set(re.findall("<([a-z0-9]+)", told)) <= {"p", "a", "br"}
    assert visible(told).replace(" ", "").count(filled.strip().replace(" ", "")) >= 3


@given(st.lists(WORDS.filter(lambda words: words.strip() != ""), min_size=1, max_size=4))
def test_each_item_of_a_list_is_one_item_of_words(items: list[str]) -> None:
    told = render("The artefacts:\n((items))\n\nThat is all.", items=notify_words.fill(items))

    assert "href" not in told
    assert set(re.findall("<([a-z0-9]+)", told)) <= {"p", "ul", "li", "br"}
    assert told.count("<ul>") == 1


def test_a_link_of_ours_is_one() -> None:
    link = Ours("https://service.example/verify?a=[1]")

    assert notify_words.fill(link) == link


@given(WORDS)
@example("[Confirm your account](https://evil.example/)")
def test_a_mail_of_ours_shows_the_words_it_was_written_with(words: str) -> None:
    values = {"business": words or "B", "owner": words or "O"}
    text = write("cath_dagster.bon", "reauthorisation.txt", values)

    told = render("((body))", body=notify_words.body(text))

    assert "href" not in told
    assert set(re.findall("<([a-z0-9]+)", told)) <= {"p", "br"}
    assert len(visible(told).splitlines()) <= len(text.splitlines())
