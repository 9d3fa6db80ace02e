"""Find secrets in text and in git repositories by kingfisher, offline: nothing found is tried out at its provider.

Repositories are read without a git program, so that nothing which a repository configures is ever run.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cath_dagster.core.errors import ConfigurationError, MaintenanceError

if TYPE_CHECKING:
    # An optional part, in native code.
    from kingfisher_sdk import GitInput, Scanner

ANY_NAME = "file"
"""A name that no filter knows. By a real one the catalogue passes over lock files, vendored code, pictures and markup."""
NAMED = re.compile(
    r"(?i)\.(?:php|tf|hcl|ya?ml)$|nuget\.config$|\.git[/\\]config$|\.git-credentials$|_history$"
    r"|bitwarden[ _-]*cli[\\/]+data\.json$"
)
"""Names of files for which the catalogue has rules of their own; they are looked at by their real name as well."""
INSTALL = "pip install 'cath-dagster[scan]'"
_SKIPPED = re.compile(r"Git blob (?P<blob>\w+) skipped \((?P<why>\w+)\)")


class ScannerMissingError(ConfigurationError):
    """The scanner is an optional part and is not installed."""


class UnreadableRepositoryError(MaintenanceError):
    """A repository, or a part of it, cannot be read. The message says nothing of any content."""


@dataclass(frozen=True)
class Found:
    """A value that looks like a secret."""

    rule: str
    line: int
    value: str = field(repr=False)


@dataclass(frozen=True)
class Origin:
    """A commit that brought a file version."""

    commit: str
    at: int
    """When it was committed, in seconds since 1970."""


@dataclass(frozen=True)
class FileVersion:
    """A file as a commit or the index has it."""

    path: str
    blob: str
    origins: tuple[Origin, ...]
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class PassedOver:
    """A file version that was not read."""

    blob: str
    why: str
    """`max_blob_size` or `missing`, in the library's words."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which file versions of a repository: what a history brought, what a commit has, or what is staged."""

    mode: str
    refs: tuple[str, ...] | None = ("HEAD",)
    """None for all there are."""
    since: str | None = None
    """A commit that is left out, with all before it."""


class SecretScanner:
    """The bundled rules and some of our own, compiled once; the second process finds them in the user's cache."""

    def __init__(self, rules: Sequence[Path]) -> None:
        """Raise `ScannerMissingError` where the extra is not installed."""
        self.version, self._scanner = _load(rules)

    def scan(self, path: str, content: bytes) -> list[Found]:
        """Return what is found, each value once a line, in the order of the lines."""
        from kingfisher_sdk import ScanInput

        names = (ANY_NAME, path) if NAMED.search(path) else (ANY_NAME,)
        found = {
            (finding.location["line"], finding.secret): Found(finding.rule_id, finding.location["line"], finding.secret)
            for name in names
            # Our own rules come first, so that of two for one value the bundled one, which says more, stays.
            for finding in sorted(
                self._scanner.scan_input(ScanInput(path=name, data=content)), key=lambda each: _rank(each.rule_id)
            )
            if finding.visible
        }
        return sorted(found.values(), key=lambda each: each.line)


def _rank(rule: str) -> tuple[bool, bool, str]:
    return (not rule.startswith("cloudmake.generic"), not rule.startswith("cloudmake."), rule)


def _load(rules: Sequence[Path]) -> "tuple[str, Scanner]":
    try:
        import kingfisher_sdk
    except ImportError:
        raise ScannerMissingError(f"the secret scanner is not installed; {INSTALL}") from None
    catalogue = kingfisher_sdk.Rules(rules, confidence="low")
    # A comment may not excuse what it stands beside: that is what the baseline is for, with a reason.
    policy = kingfisher_sdk.DetectionPolicy(inline_ignores=False, markup_context=False)
    return kingfisher_sdk.__version__, kingfisher_sdk.Scanner(catalogue, policy=policy)


def read_versions(repository: Path, scope: Scope, *, max_bytes: int) -> Iterator[FileVersion | PassedOver]:
    """Yield every file version of a scope once, and those that were not read.

    Raises `UnreadableRepositoryError` for what cannot be read at all, also after some were yielded.
    """
    from kingfisher_sdk import GitScope, git_inputs

    try:
        wanted = GitScope(mode=scope.mode, refs=scope.refs, since_commit=scope.since)
        sources = git_inputs(repository, scope=wanted, max_blob_size=max_bytes, skip_missing_blobs=True)
        while True:
            source, warned = _next(sources)
            yield from warned
            if source is None:
                return
            yield _version(source)
    except (RuntimeError, ValueError, OSError) as error:
        raise UnreadableRepositoryError(_first_line(error)) from None


def _next(sources: "Iterator[GitInput]") -> "tuple[GitInput | None, list[PassedOver]]":
    """Return the next file version, and those before it that the library warns of; None at the end."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source = next(sources, None)
    matches = filter(None, (_SKIPPED.match(str(warning.message)) for warning in caught))
    return source, [PassedOver(match["blob"], match["why"]) for match in matches]


def _version(source: "GitInput") -> FileVersion:
    origins = tuple(Origin(each.id, each.committer.timestamp) for each in source.origins)
    return FileVersion(source.path, source.blob_id or "", origins, source.data or b"")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
