"""One migration of the service, and what in its text no transaction may hold."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from cath_dagster.cloudmake.service_migrations.sql_text import Statement, statements

BREAKPOINT = "--> statement-breakpoint"
_ENDS = frozenset({"ABORT", "BEGIN", "COMMIT", "END"})
"""First words of statements that begin or end a transaction, whatever comes after them."""


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A file of SQL. `when` is what its journal says, in milliseconds; None where no journal is kept."""

    tag: str
    content: bytes
    when: int | None = None

    @cached_property
    def text(self) -> str:
        """What is run: as Node reads it, which takes bytes that are no text for a sign of its own."""
        return self.content.decode("utf-8", errors="replace")

    @property
    def is_text(self) -> bool:
        """Whether every byte of it means something."""
        try:
            self.content.decode("utf-8")
        except UnicodeDecodeError:
            return False
        return True

    @property
    def parts(self) -> list[str]:
        """What goes to the server at a time; a part may hold several statements, and one of blanks holds none."""
        return [part for part in self.text.split(BREAKPOINT) if part.strip()]

    @property
    def hash(self) -> str:
        """The SHA-256 that drizzle-orm writes down."""
        return _hash(self.text)

    @property
    def hashes_by_line_ends(self) -> frozenset[str]:
        """The hashes that the same text has with line ends of either kind."""
        lines = self.text.replace("\r\n", "\n")
        return frozenset({_hash(lines), _hash(lines.replace("\n", "\r\n"))})

    @cached_property
    def statements(self) -> list[Statement]:
        return [statement for part in self.parts for statement in statements(part)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def find_obstacles(migration: Migration) -> list[str]:
    """Return why a migration cannot be applied whole or not at all, in words that begin with its tag."""
    found = []
    if not migration.is_text:
        found.append(
            "it is not UTF-8, and drizzle-orm would run other signs in place of what it cannot read; save it so"
        )
    if migration.text.startswith("\ufeff"):
        found.append("it begins with a byte order mark, which PostgreSQL takes for a word; save it without")
    found += dict.fromkeys(filter(None, map(_obstacle, migration.statements)))
    return [f"{migration.tag}: {each}" for each in found]


def _obstacle(statement: Statement) -> str | None:
    words = statement.words
    if not words:
        return None
    if "CONCURRENTLY" in words and words[0] != "REFRESH":
        return (
            f"it has {words[0]} … CONCURRENTLY, which no transaction may hold; run that statement by hand first, and write "
            "IF NOT EXISTS without CONCURRENTLY here"
        )
    if _is_about_transactions(words):
        return f"it has {' '.join(words[:2])}, which would end the transaction that holds all; take it out"
    return None


def _is_about_transactions(words: tuple[str, ...]) -> bool:
    first, second = words[0], words[1] if len(words) > 1 else ""
    if first == "ROLLBACK":
        return "TO" not in words[1:3]
    return first in _ENDS or (first, second) in {("START", "TRANSACTION"), ("PREPARE", "TRANSACTION")}


def enum_values_used(migrations: list[Migration]) -> Iterator[str]:
    """Yield, in words, each value added to an enumeration of which a later statement of the same transaction may make use.

    Whether it does only the server knows: another column may hold the same word.
    """
    added: dict[str, str] = {}
    for migration in migrations:
        for statement in migration.statements:
            for value in dict.fromkeys(value for value in statement.strings if value in added):
                yield f"{migration.tag}: {value!r} may be the enumeration's value that {added[value]} adds"
            if statement.words[:2] == ("ALTER", "TYPE") and "VALUE" in statement.words:
                added |= dict.fromkeys(statement.strings[:1], migration.tag)
