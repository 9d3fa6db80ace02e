"""Cut SQL into statements, so far as to tell words from what only looks like them: strings, comments, bodies of functions."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_LETTER = r"A-Za-z_\u0080-\U0010ffff"
_TOKEN = re.compile(
    rf"""
    (?P<line_comment>--[^\n\r]*)
    | (?P<comment>/\*)
    | (?P<dollar>\$(?:[{_LETTER}][{_LETTER}0-9]*)?\$)
    | (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    | (?P<string>'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<word>[{_LETTER}][{_LETTER}0-9$]*)
    | (?P<sign>\S)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True)
class Token:
    """A piece of a statement: a `word`, a quoted `name`, a `string` or a `sign`; comments and blanks are none."""

    kind: str
    text: str


@dataclass(frozen=True)
class Statement:
    """One statement, without the semicolon at its end."""

    tokens: tuple[Token, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """Its bare words, in upper case; neither quoted names nor what stands in strings."""
        return tuple(token.text.upper() for token in self.tokens if token.kind == "word")

    @property
    def strings(self) -> tuple[str, ...]:
        """What its plain strings say."""
        return tuple(token.text for token in self.tokens if token.kind == "string")


def statements(text: str) -> list[Statement]:
    """Return the statements of a text; one that the server would not take is cut in some way."""
    found: list[Statement] = []
    current: list[Token] = []
    blocks = _Blocks()
    for token in _tokens(text):
        if token.text == ";" and token.kind == "sign" and not blocks.is_inside:
            found += [Statement(tuple(current))] if current else []
            current, blocks = [], _Blocks()
            continue
        current.append(token)
        blocks.pass_by(token)
    return [*found, *([Statement(tuple(current))] if current else [])]


class _Blocks:
    """Whether a semicolon ends the statement: not in brackets, and not in the body of a function that is no string."""

    def __init__(self) -> None:
        self._brackets = 0
        self._bodies = 0
        self._before = ""

    @property
    def is_inside(self) -> bool:
        return self._brackets > 0 or self._bodies > 0

    def pass_by(self, token: Token) -> None:
        if token.kind == "sign":
            self._brackets = max(0, self._brackets + (token.text in "([") - (token.text in ")]"))
        elif token.kind == "word":
            self._pass_word(token.text.upper())

    def _pass_word(self, word: str) -> None:
        if self._bodies:
            self._bodies += (word == "CASE") - (word == "END")
        elif word == "ATOMIC" and self._before == "BEGIN":
            self._bodies = 1
        self._before = word


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while match := _TOKEN.search(text, at):
        kind, at = match.lastgroup or "", match.end()
        if kind == "comment":
            at = _end_of_comment(text, at)
        elif kind == "dollar":
            at = _end_of_dollar(text, match.group(), at)
            yield Token("body", "")
        elif kind == "string":
            yield Token("string", match.group()[1:-1].replace("''", "'"))
        elif kind != "line_comment":
            yield Token(kind, match.group())


def _end_of_comment(text: str, at: int) -> int:
    """Return where a comment ends; they nest."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, at)):
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return at if not depth else len(text)


def _end_of_dollar(text: str, mark: str, at: int) -> int:
    end = text.find(mark, at)
    return len(text) if end < 0 else end + len(mark)
