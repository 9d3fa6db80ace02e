"""One form for SQL expressions, whether a person wrote them or PostgreSQL: without casts, needless brackets and synonyms.

PostgreSQL keeps a parsed expression and writes it in words of its own: `x IN (1, 2)` comes back as
`(x = ANY (ARRAY[1, 2]))`. Two expressions of one form mean the same; of two forms the server has the last word.
"""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache

from cath_dagster.core.untrusted_json import parse_json

_TOKEN = re.compile(
    r"""
    (?P<string>[eE]?'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<word>[A-Za-z_\u0080-\U0010ffff][\w$]*)
    | (?P<cast>::)
    | (?P<sign>[<>=!~@\#%^&|`?*/+-]+|\S)
    """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"(-?)(\d+(?:\.\d+)?)")
_TWO_WORDS = {"character": "varying", "bit": "varying", "double": "precision"}
_CLOCKS = frozenset({"timestamp", "time"})
_TYPED_LITERALS = frozenset(
    {"interval", "date", "timestamp", "timestamptz", "time", "timetz", "json", "jsonb", "uuid", "text"}
)
_SYNONYMS = {"!=": "<>", "like": "~~", "ilike": "~~*", "current_timestamp": "now"}
_NEGATED = {"like": "!~~", "ilike": "!~~*"}

Tokens = list[str]


def canonical(text: str, *, qualifiers: Collection[str] = ()) -> str:
    """Return an expression in the one form; a name that one of the qualifiers, such as its table's, stands before is its own."""
    # A schema has the same few defaults over and over.
    return _canonical(text, frozenset(qualifiers) if "." in text else frozenset())


@lru_cache(maxsize=4_096)
def _canonical(text: str, qualifiers: frozenset[str]) -> str:
    tokens = _without_qualifiers(_without_casts(list(_words(text))), qualifiers)
    return _logic(_rewritten(tokens))


def forget() -> None:
    """Forget the forms of expressions that were seen before."""
    _canonical.cache_clear()


def _words(text: str) -> Iterator[str]:
    """Yield the tokens: words in lower case, quoted names as they are, strings with a quote before them."""
    for match in _TOKEN.finditer(text):
        kind, found = match.lastgroup, match.group()
        if kind == "string":
            yield from _literal(found[found.index("'") + 1 : -1].replace("''", "'"))
        elif kind == "quoted":
            yield found[1:-1].replace('""', '"')
        else:
            yield found.lower() if kind == "word" else found


def _literal(value: str) -> Iterator[str]:
    """Yield a string; a number in quotes is that number, and JSON has one form."""
    if number := _NUMBER.fullmatch(value):
        yield from filter(None, number.groups())
        return
    if value[:1] in ("{", "["):
        # An array in PostgreSQL's own words is none.
        with suppress(ValueError):
            value = json.dumps(parse_json(value), sort_keys=True)
    yield f"'{value}"


def _without_casts(tokens: Sequence[str]) -> Tokens:
    kept: Tokens = []
    at = 0
    while at < len(tokens):
        if tokens[at] == "::":
            at = _end_of_type(tokens, at + 1)
        elif tokens[at] in _TYPED_LITERALS and at + 1 < len(tokens) and tokens[at + 1].startswith("'"):
            at += 1
        else:
            kept.append(tokens[at])
            at += 1
    return kept


def _end_of_type(tokens: Sequence[str], at: int) -> int:
    first = tokens[at] if at < len(tokens) else ""
    at += 1
    if tokens[at : at + 1] == ["."]:
        at += 2
    if tokens[at : at + 1] == [_TWO_WORDS.get(first, "")]:
        at += 1
    at = _past(tokens, at, "(", ")")
    if first in _CLOCKS and tokens[at + 1 : at + 3] == ["time", "zone"]:
        at += 3
    while tokens[at : at + 1] == ["["]:
        at = _past(tokens, at, "[", "]")
    return at


def _past(tokens: Sequence[str], at: int, opening: str, closing: str) -> int:
    """Return the place after a bracket that opens here, if one does."""
    if tokens[at : at + 1] != [opening]:
        return at
    depth = 0
    while at < len(tokens):
        depth += (tokens[at] == opening) - (tokens[at] == closing)
        at += 1
        if not depth:
            break
    return at


def _without_qualifiers(tokens: Sequence[str], qualifiers: Collection[str]) -> Tokens:
    kept: Tokens = []
    for piece in tokens:
        if len(kept) > 1 and kept[-1] == "." and kept[-2] in qualifiers:
            del kept[-2:]
        kept.append(piece)
    return kept


def _rewritten(tokens: Tokens) -> Tokens:
    """Return the tokens with IN, BETWEEN, LIKE and the like as PostgreSQL writes them."""
    kept: Tokens = []
    at = 0
    while at < len(tokens):
        piece, following = tokens[at], tokens[at + 1 : at + 2]
        if piece == "not" and following and following[0] in _NEGATED:
            kept.append(_NEGATED[following[0]])
            at += 2
        elif piece == "in" and following == ["("]:
            end = _past(tokens, at + 1, "(", ")")
            kept += _membership(kept, _rewritten(tokens[at + 2 : end - 1]))
            at = end
        elif piece == "between":
            operand = _operand(kept)
            middle = _find(tokens, at, "and")
            kept += [">=", *_rewritten(tokens[at + 1 : middle]), "and", *operand, "<="]
            at = middle + 1
        else:
            kept.append(_SYNONYMS.get(piece, piece))
            at += 1
    return kept


def _membership(before: Tokens, inside: Tokens) -> Tokens:
    """Return IN as a comparison with an array; takes a NOT off what comes before."""
    is_negated = before[-1:] == ["not"]
    if is_negated:
        before.pop()
    if inside[:1] == ["select"]:
        return [*(["not"] if is_negated else []), "in", "(", *inside, ")"]
    if "," not in inside:
        return ["<>" if is_negated else "=", *inside]
    return [*(["<>", "all"] if is_negated else ["=", "any"]), "(", "array", "[", *inside, "]", ")"]


def _operand(before: Tokens) -> Tokens:
    """Return what stands before an operator, back to the word that joins it to others."""
    depth, at = 0, len(before)
    while at:
        piece = before[at - 1]
        depth += (piece == ")") - (piece == "(")
        if depth < 0 or (not depth and piece in ("and", "or", "not")):
            break
        at -= 1
    return before[at:]


def _find(tokens: Tokens, at: int, word: str) -> int:
    depth = 0
    for place in range(at, len(tokens)):
        depth += (tokens[place] == "(") - (tokens[place] == ")")
        if not depth and tokens[place] == word:
            return place
    return len(tokens)


def _logic(tokens: Tokens) -> str:
    """Return the tokens with brackets where AND, OR and NOT need them, and nowhere else."""
    tokens = _bare(tokens)
    for joint in ("or", "and"):
        parts = _split(tokens, joint)
        if len(parts) > 1:
            return f" {joint} ".join(f"({_logic(part)})" for part in parts)
    if tokens[:1] == ["not"]:
        return f"not ({_logic(tokens[1:])})"
    return " ".join(piece for piece in tokens if piece not in ("(", ")"))


def _split(tokens: Tokens, joint: str) -> list[Tokens]:
    """Return what a word joins at this level, also where brackets that change nothing stand around some of it."""
    parts: list[Tokens] = [[]]
    depth = 0
    for piece in tokens:
        depth += (piece in ("(", "[")) - (piece in (")", "]"))
        if not depth and piece == joint:
            parts.append([])
        else:
            parts[-1].append(piece)
    if len(parts) == 1:
        return [_bare(tokens)]
    return [each for part in parts for each in _split(_bare(part), joint)]


def _bare(tokens: Tokens) -> Tokens:
    """Return tokens without a bracket that stands around all of them."""
    while tokens[:1] == ["("] and _past(tokens, 0, "(", ")") == len(tokens):
        tokens = tokens[1:-1]
    return tokens
