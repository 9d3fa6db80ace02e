"""What a job asks of a blob store. The first segment of a path is the container."""

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class Removal(enum.Enum):
    DELETED = enum.auto()
    MISSING = enum.auto()
    """There was no such file: what was wanted, so no error."""
    FAILED = enum.auto()


@dataclass(frozen=True)
class RemovalResult:
    removal: Removal
    error: str | None = None
    """Free of personal data and of credentials; set for FAILED only."""
    is_unusable: bool = False
    """It failed because the store can have nothing under such a path, today or ever."""


@dataclass(frozen=True)
class Listed:
    """A file as a listing has it."""

    path: str
    modified_at: datetime
    """In UTC."""


class BlobStore(Protocol):
    """A blob store below one root."""

    def delete(self, paths: Sequence[str]) -> Mapping[str, RemovalResult]:
        """Delete many files, several at a time; every path gets a result, none raises."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Write a file that does not exist yet; raise `BlobStoreError` if it does or cannot be written."""
        ...

    def replace(self, path: str, content: bytes) -> None:
        """Write a file in place of what is there, if anything is, at once and whole; raise `BlobStoreError` if it cannot."""
        ...

    def get(self, path: str) -> bytes:
        """Return a file's content; raise `BlobMissingError` if there is none, `BlobStoreError` if it cannot be read."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths below the folder `prefix`, in no particular order.

        Raises `BlobStoreError` on the way, and `BlobNameError` for a file whose name no client can use: others may have
        put anything there.
        """
        ...

    def list_files(self, prefix: str) -> Iterator[Listed]:
        """Yield the files below the folder `prefix` as `list` does, with when each was last written."""
        ...

    def address(self, path: str) -> str:
        """Return where a person finds the file, without credentials."""
        ...

    def check(self, container: str) -> None:
        """Raise `BlobStoreError` if the container cannot be listed."""
        ...


class BlobStoreError(Exception):
    """The blob store did not do what was asked; the message is free of credentials."""


class UnusablePathError(BlobStoreError):
    """No file of the store can have that path."""


class BlobNameError(BlobStoreError):
    """A file of others has a name that no client can use, and nothing beside it can be listed; the message names it."""


class BlobMissingError(BlobStoreError):
    """There is no such file."""
