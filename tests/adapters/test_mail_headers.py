"""What is written in a mail's headers is read back as it was written, by the standard library and by readers of older rules."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cath_dagster.adapters.smtp import Server, SmtpMailer, parse_sender
from cath_dagster.core.ports.mail import Content
from cath_dagster.core.untrusted_text import one_line

SCRIPTS = 'Abc déf Île Llŷr שיווק גלרייה בע״מ — “x” ’ Ελληνικά кириллица 日本語 عربي 🏛️ 1234 (Ltd) & Co. , ; : " \\ = ? _ =?utf-8?q?x?= <a@b>'
LETTERS = st.one_of(
    st.sampled_from(
        [*SCRIPTS, *SCRIPTS.split(" "), " ", "  ", "\t", "\r\n", "\r\nBcc: x@evil.example", "a" * 90, "é" * 40]
    ),
    st.characters(exclude_categories=("Cs", "Cn"), exclude_characters="\x00"),
)
TEXTS = st.lists(LETTERS, max_size=60).map("".join)


def compose(subject: str, sender: Address | None = None, *, to: str = "owner@example.org", text: str = "t") -> bytes:
    mailer = SmtpMailer(
        Server("x", 25, is_tls=False),
        sender=sender or parse_sender("BON <noreply@bon.example>", "V"),
        now=lambda: datetime(2026, 11, 18, tzinfo=UTC),
    )
    return mailer._compose("reference", to, Content(subject=subject, text=text, html="<p>h</p>")).as_bytes()


def lines_of(raw: bytes, name: str) -> list[bytes]:
    """Return a header's lines as they went out."""
    found = re.search(rb"^" + name.encode() + rb":.*?(?=\r\n[^ ])", raw, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0].split(b"\r\n")


def as_older_readers_do(raw: bytes, name: str) -> str:
    """Return a header as a reader of RFC 2047 alone decodes it."""
    value = b"".join(lines_of(raw, name)).decode().partition(":")[2].removeprefix(" ")
    return str(make_header(decode_header(value)))


@given(TEXTS)
@example("39 חשבוניות באיחור — (Israel) A of Consulting & Ltd גלריית שיווק אור גלריית Ltd Ltd חשבונית Group")
@example("Important: “a follow-up naïve Île in – Île survey” will be deleted in 7 days")
@example("=?utf-8?q?already?=")
@example("x" * 300)
@example("")
def test_a_subject_is_read_as_it_was_written(subject: str) -> None:
    raw = compose(subject)

    assert message_from_bytes(raw, policy=policy.default)["Subject"] == one_line(subject)
    assert as_older_readers_do(raw, "Subject") == one_line(subject)


@given(TEXTS)
def test_no_line_of_a_header_is_longer_than_readers_must_take(subject: str) -> None:
    raw = compose(subject, Address(f"é{one_line(subject)}", addr_spec="noreply@bon.example"))

    for name in ("Subject", "From"):
        lines = lines_of(raw, name)
        assert all(len(line) <= 78 and line.isascii() and line.strip() for line in lines)
        assert b"??=" not in b"".join(lines)
        assert all(len(word) <= 75 for word in re.findall(rb"=\?utf-8\?b\?[^?]*\?=", b"".join(lines)))


@given(TEXTS)
def test_words_of_a_user_begin_no_header_of_their_own(subject: str) -> None:
    names = message_from_bytes(compose(f"A{subject}"), policy=policy.default).keys()

    assert sorted(names) == sorted(
        ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
    )


@given(TEXTS)
@example('The "BON", \\ Ltd')
@example("Anne-Marie")
def test_a_sender_s_name_is_read_as_it_was_written(name: str) -> None:
    written = one_line(name)
    raw = compose("s", Address(written, addr_spec="noreply@bon.example"))

    (read,) = message_from_bytes(raw, policy=policy.default)["From"].addresses
    assert read.addr_spec == "noreply@bon.example"
    # Between the encoded words of a name the standard library's reader puts blanks that nobody wrote.
    if b"".join(lines_of(raw, "From")).count(b"=?utf-8?b?") <= 1:
        assert read.display_name == written
    else:
        assert as_older_readers_do(raw, "From") == f"{written} <noreply@bon.example>"


@pytest.mark.parametrize("local", ["a" * 64, '"two words"', "o'brien+tag", "a.b.c"])
def test_a_long_address_is_written_whole(local: str) -> None:
    address = f"{local}@{'sub.' * 20}example.org"

    (read,) = message_from_bytes(compose("s", to=address), policy=policy.default)["To"].addresses

    assert read.addr_spec == address


@given(TEXTS.filter(lambda text: "\x1a" not in text))
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    raw = compose("s", text=text)

    part = message_from_bytes(raw, policy=policy.default).get_body(("plain",))
    assert part is not None
    assert raw.isascii()
    assert part.get_content().splitlines() == (text.splitlines() or [""])
