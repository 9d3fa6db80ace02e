"""A mutant: one place of the code, what it becomes, what would be lost by it, and which tests must notice."""

from dataclasses import dataclass


class TextNotFoundError(Exception):
    """The text that a mutant changes is not in its file exactly once."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of one file. `noticed_by` are nodes of pytest, each of which must fail by it."""

    name: str
    path: str
    text: str
    becomes: str
    loses: str
    """What would be lost, in one sentence."""
    noticed_by: tuple[str, ...]

    def change(self, source: str) -> str:
        """Return the changed source; raise `TextNotFoundError` where the text is not there exactly once."""
        found = source.count(self.text)
        if found != 1:
            raise TextNotFoundError(f"{self.path} has its text {found} times, and should once")
        return source.replace(self.text, self.becomes)
