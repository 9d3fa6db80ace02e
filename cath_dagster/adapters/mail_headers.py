"""Write the headers of a mail, folded such that every reader gets back what was written.

The standard library folds an encoded header wherever a blank stands near, and loses or doubles that blank. Here a text that
needs encoding is encoded whole, blanks included, in words of at most 75 characters between which nothing counts
(RFC 2047, sections 2 and 5), and what needs none is folded at blanks that stay where they are.
"""

import base64
import re
from email.headerregistry import Address
from email.policy import EmailPolicy

from cath_dagster.core.untrusted_text import one_line

LINE = 76
"""Characters that a line has at most, of 78 that RFC 5322 recommends."""
ENCODED_WORD = "=?utf-8?b?{}?="
# Of 75 characters in all, base64 makes 45 bytes of text.
BYTES_A_WORD, BYTES_FIRST_WORD = 45, 33
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")


class HeaderPolicy(EmailPolicy):
    """Takes headers that are written already, and folds none."""

    def header_store_parse(self, name: str, value: object) -> tuple[str, str]:
        """Keep the text as it stands: to parse it would decode what looks encoded."""
        return name, str(value)


# Base64 or quoted-printable: not every server takes eight bits.
POLICY = HeaderPolicy(linesep="\r\n", cte_type="7bit", refold_source="none")


def write_text(name: str, text: str) -> str:
    """Return the value of a header that is a text for people, given on one line."""
    if not text:
        return ""
    if _is_plain(text) and all(len(word) + len(name) + 2 < LINE for word in text.split(" ")):
        return _fold(text.split(" "), len(name) + 2)
    return "\r\n ".join(_encode(text))


def write_address(address: Address) -> str:
    """Return the value of a header that names an address."""
    name = one_line(address.display_name)
    if not name:
        return address.addr_spec
    if not _is_plain(name):
        written = "\r\n ".join(_encode(name))
    elif _ATOMS.fullmatch(name):
        written = name
    else:
        written = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    return f"{written}\r\n <{address.addr_spec}>"


def _is_plain(text: str) -> bool:
    """Whether a text is printable ASCII that nobody takes for an encoded word, with single blanks inside only."""
    return text.isascii() and text.isprintable() and "=?" not in text and text.split() == text.split(" ")


def _encode(text: str) -> list[str]:
    """Return a text as encoded words of whole characters."""
    words: list[bytes] = []
    part = b""
    for character in text:
        encoded = character.encode()
        # The first shares its line with the header's name.
        if len(part) + len(encoded) > (BYTES_A_WORD if words else BYTES_FIRST_WORD):
            words.append(part)
            part = b""
        part += encoded
    return [ENCODED_WORD.format(base64.b64encode(word).decode()) for word in (*words, part)]


def _fold(words: list[str], start: int) -> str:
    """Return words on lines, each new one begun by the blank that stood before its first word."""
    lines, used = [""], start
    for word in words:
        if lines[-1] and used + 1 + len(word) > LINE:
            lines.append(word)
            used = 1 + len(word)
        else:
            lines[-1] += f" {word}" if lines[-1] else word
            used += len(word) + 1
    return "\r\n ".join(lines)
