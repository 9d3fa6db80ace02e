"""Read a folder of migrations: Drizzle's, which a journal leads through, or plain files in the order of their names."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cath_dagster.cloudmake.service_migrations.migration import Migration
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.untrusted_json import parse_json

JOURNAL = Path("meta") / "_journal.json"
DIALECT = "postgresql"
LATEST = 2**53
"""Numbers beyond are not whole to JavaScript."""
_NUMBERED = re.compile(r"\d+_.*\.sql")
"""The names that drizzle-kit gives to files."""


@dataclass(frozen=True)
class Folder:
    """What a folder holds, in the order in which it is applied, and what of it cannot be applied."""

    migrations: tuple[Migration, ...]
    refusals: tuple[str, ...] = ()


def read_drizzle_folder(path: Path, variable: str) -> Folder:
    """Return the migrations of which the journal tells, in its order, which is drizzle-orm's.

    Raises `ConfigurationError` where there is no journal, or one that says nothing that can be followed.
    """
    entries = _entries(path, variable)
    tags = [_tag(entry, variable) for entry in entries]
    refusals = [*_repeated(tags), *_not_in_journal(path, tags)]
    migrations = []
    for entry, tag in zip(entries, tags, strict=True):
        content = _read(path / f"{tag}.sql", variable)
        if content is None:
            refusals.append(f"{tag}: {JOURNAL} names it, and there is no {tag}.sql; restore the file")
        else:
            migrations.append(Migration(tag=tag, content=content, when=entry["when"]))
    return Folder(tuple(migrations), tuple(refusals))


def read_plain_folder(path: Path, variable: str) -> Folder:
    """Return every file of SQL, by name; raise `ConfigurationError` where there is none."""
    _require_folder(path, variable)
    files = sorted(path.glob("*.sql"), key=lambda file: file.name)
    if not files:
        raise ConfigurationError(f"{variable}: {path} has no file *.sql; name the folder of the service's migrations")
    return Folder(tuple(Migration(tag=file.name, content=_read(file, variable) or b"") for file in files))


def _entries(path: Path, variable: str) -> list[dict[str, Any]]:
    _require_folder(path, variable)
    content = _read(path / JOURNAL, variable)
    if content is None:
        raise ConfigurationError(f"{variable}: {path} has no {JOURNAL}; {_other_layout(path)}")
    try:
        journal = parse_json(content)
    except ValueError:
        raise ConfigurationError(f"{variable}: {path / JOURNAL} is no JSON; restore it") from None
    entries = journal.get("entries") if isinstance(journal, dict) else None
    if not isinstance(entries, list):
        raise ConfigurationError(f"{variable}: {path / JOURNAL} has no list of entries; restore it")
    if journal.get("dialect", DIALECT) not in (DIALECT, "pg"):
        raise ConfigurationError(
            f"{variable}: {path / JOURNAL} is of the dialect {journal['dialect']!r}; a journal for {DIALECT} is needed"
        )
    return entries


def _other_layout(path: Path) -> str:
    """Return what may be meant by a folder without a journal."""
    if any(path.glob("*/migration.sql")):
        return "its folders with a migration.sql are of a newer Drizzle, whose form this version does not know"
    if any(path.glob("*.sql")):
        return "run drizzle-kit generate, or with layout files for a folder of plain files"
    return "name the folder to which drizzle-kit generates"


def _tag(entry: object, variable: str) -> str:
    """Return an entry's tag; raise `ConfigurationError` for an entry that drizzle-kit did not write."""
    tag = entry.get("tag") if isinstance(entry, dict) else None
    when = entry.get("when") if isinstance(entry, dict) else None
    if not isinstance(tag, str) or not tag or Path(tag).name != tag:
        raise ConfigurationError(f"{variable}: an entry of {JOURNAL} has the tag {tag!r}; a file's name is needed")
    if isinstance(when, bool) or not isinstance(when, int) or not 0 <= when < LATEST:
        raise ConfigurationError(f"{variable}: {tag} has the `when` {when!r} in {JOURNAL}; milliseconds are needed")
    return tag


def _repeated(tags: list[str]) -> Iterator[str]:
    for tag, count in Counter(tags).items():
        if count > 1:
            yield f"{tag}: {JOURNAL} has it {count} times, so that it would be applied as often; keep one entry"


def _not_in_journal(path: Path, tags: list[str]) -> Iterator[str]:
    for file in sorted(path.glob("*.sql")):
        if file.stem not in tags and _NUMBERED.fullmatch(file.name):
            yield (
                f"{file.stem}: {JOURNAL} does not name it, so that drizzle-orm would never apply it; add its entry, or "
                "delete the file"
            )


def _require_folder(path: Path, variable: str) -> None:
    if not path.is_dir():
        raise ConfigurationError(
            f"{variable} is {path}, which is no folder; name the folder of the service's migrations"
        )


def _read(file: Path, variable: str) -> bytes | None:
    """Return what a file holds, None if it is not there."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"{variable}: {file} cannot be read: {error.strerror}") from None
