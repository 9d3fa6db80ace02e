"""Make words of users fit to leave us: as one line, and without a link that somebody else chose.

Names, addresses, names of places and files are typed by people. In a mail of ours a line of theirs must not look like a
line of ours, and what they wrote must not lead anywhere. What is ours, a link above all, is marked as `Ours`.
"""

import re
import unicodedata

# Overrides and isolates that turn the direction of what follows; marks (U+200E, U+200F) are part of words.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
# What opens a link or a tag has a double that means nothing, to any program.
_DOUBLES = str.maketrans({"[": "(", "]": ")", "<": "‹", ">": "›"})
_LINE_SEPARATORS = "\u2028\u2029"
# What mail programs take for a host: labels and a last one of letters. An e-mail address is left as it is.
_ADDRESS_OR_HOST = re.compile(r"[\w.+'-]+@[\w.-]+|(?:[\w-]+\.)+[^\W\d_]{2,63}(?!\w)")


class Ours(str):
    """Text of ours or of the deployment's, which goes out as it stands: it may hold a link."""

    __slots__ = ()


def one_line(text: str) -> str:
    """Return the text as one line: what breaks lines or controls a terminal is a blank, what turns them is left out."""
    plain = "".join(" " if _is_control(character) else character for character in _TURNING.sub("", text))
    return re.sub(" {2,}", " ", plain).strip(" ")


def unlinked(text: str) -> str:
    """Return the text so that no mail program makes a link of it: with a blank where a URL or a host has none."""
    return _ADDRESS_OR_HOST.sub(_part, text.replace("://", ": //"))


def unmarked(text: str) -> str:
    """Return the text as one line in which Markdown and chat programs find no link, no mention and no tag."""
    return one_line(text).translate(_DOUBLES)


def printable(text: str) -> str:
    """Return the text so that a terminal shows it and obeys nothing in it; its lines and tabs stay."""
    return "".join(character if character in "\n\t" or not _is_control(character) else "�" for character in text)


def inert(text: str) -> str:
    """Return words of a user as a mail may have them; what is `Ours` stays as it is."""
    return text if isinstance(text, Ours) else unlinked(one_line(text))


def _part(found: re.Match[str]) -> str:
    return found[0] if "@" in found[0] else found[0].replace(".", ". ")


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc" or character in _LINE_SEPARATORS
