"""Look for secrets in a repository, or in files that are in none."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from cath_dagster.adapters.secret_scanner import (
    FileVersion,
    PassedOver,
    Scope,
    SecretScanner,
    UnreadableRepositoryError,
    read_versions,
)
from cath_dagster.cloudmake.scan.baseline import FILE_NAME, Baseline, Known, read_baseline
from cath_dagster.cloudmake.scan.collecting import Collector
from cath_dagster.cloudmake.scan.key import VARIABLE, ScanKey
from cath_dagster.cloudmake.scan.layout import Layout, find_layout
from cath_dagster.cloudmake.scan.memory import Memory, circumstances
from cath_dagster.cloudmake.scan.report import STAGED, ScanReport
from cath_dagster.cloudmake.scan.request import ScanRequest, What
from cath_dagster.core.errors import ConfigurationError, RefusedError

RULES = Path(__file__).with_name("rules.yml")
"""What the bundled catalogue misses."""


@cache
def load_scanner() -> SecretScanner:
    """Return the scanner; loading its rules takes half a second, and some seconds where no process has before."""
    return SecretScanner((RULES,))


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A report, and what a baseline would know what was found by."""

    report: ScanReport
    baseline: Baseline
    baseline_path: Path
    used: frozenset[Known]
    lines: Mapping[tuple[str, str], Known]
    """By path and fingerprint, without a reason."""
    memory: Memory | None = None

    def remember(self) -> str | None:
        """Keep that all was clean, if it was; return why that could not be kept."""
        if self.memory is None or self.report.head is None or not self.report.is_clean:
            return None
        return self.memory.keep(self.report.head)


def look(asked: ScanRequest, key: ScanKey, environ: Mapping[str, str], *, baseline: Baseline | None = None) -> Looked:
    """Look at what is asked for; `baseline` in place of the file's.

    Raises `ConfigurationError` for what cannot be looked at, and `RefusedError` where it is in no state for it. What could
    not be read in part is in the report.
    """
    if not asked.path.exists():
        raise ConfigurationError(f"{asked.path} does not exist")
    try:
        layout = find_layout(asked.path) if asked.path.is_dir() else None
    except OSError as error:
        raise UnreadableRepositoryError(f"{error.filename} cannot be read ({error.strerror})") from None
    if layout is None and asked.what is not What.NEW:
        raise ConfigurationError(f"{asked.path} is in no git repository, so that it has nothing {asked.what}")
    path = baseline_path(asked)
    known = baseline or (read_baseline(path, key) if path.is_file() else Baseline(key))
    collector = Collector(scanner=load_scanner(), key=key, baseline=known)
    memory = _memory(asked, layout, path, collector)
    report = _Scan(asked, layout, collector, memory, environ).report()
    return Looked(
        report=report,
        baseline=known,
        baseline_path=path,
        used=frozenset(collector.used),
        lines=collector.lines,
        memory=memory,
    )


def baseline_path(asked: ScanRequest) -> Path:
    """Return where what is known stands, whether or not it is there; raise `ConfigurationError` for a named one that is not."""
    if asked.baseline is not None:
        if not asked.baseline.is_file():
            raise ConfigurationError(f"the baseline {asked.baseline} does not exist")
        return asked.baseline
    return _top(asked.path) / FILE_NAME


def _top(path: Path) -> Path:
    """Return from where paths are told: the repository's root, or the folder itself."""
    folder = path if path.is_dir() else path.parent
    layout = find_layout(folder)
    return layout.top if layout else folder


def _memory(asked: ScanRequest, layout: Layout | None, baseline: Path, collector: Collector) -> Memory | None:
    if asked.memory is None or layout is None or asked.what is not What.NEW:
        return None
    if not collector.key.is_lasting:
        raise ConfigurationError(
            f"{VARIABLE} is not set, and what is remembered of a clean scan is signed by it; set it, or unset "
            "CLOUDMAKE_SCAN_STATE: then each scan looks at the whole history"
        )
    known = baseline.read_bytes() if baseline.is_file() else b""
    parts = (collector.scanner.version.encode(), RULES.read_bytes(), known)
    return Memory(asked.memory, collector.key, circumstances(*parts))


@dataclass
class _Scan:
    """One scan at work."""

    asked: ScanRequest
    layout: Layout | None
    collector: Collector
    memory: Memory | None
    environ: Mapping[str, str]
    _unread: list[str] = field(default_factory=list)
    _notes: list[str] = field(default_factory=list)
    _head: str | None = None

    def report(self) -> ScanReport:
        looked_at = self._look()
        collector = self.collector
        findings = collector.findings()
        if complaint := collector.baseline.complaint:
            self._notes.append(complaint)
        if findings and not collector.key.is_lasting:
            self._notes.append(f"{VARIABLE} is not set: the fingerprints hold for this run alone")
        return ScanReport(
            looked_at=looked_at,
            found=tuple(each for each in findings if each.reason is None),
            known=tuple(each for each in findings if each.reason is not None),
            files=len(collector.seen),
            commits=len(collector.commits),
            skipped=dict(sorted((why, count) for why, count in collector.skipped.items() if count)),
            unread=tuple(self._unread + collector.unread()),
            notes=tuple(self._notes),
            head=self._head,
        )

    def _look(self) -> str:
        """Look at what is asked for, and return what that was, in words."""
        if self.layout is None:
            return self._look_at_files()
        if self.asked.what is What.STAGED:
            return self._look_at_staged(self.layout)
        if self.asked.what is What.RANGE:
            return self._look_at_range(self.layout)
        return self._look_at_history(self.layout)

    def _look_at_files(self) -> str:
        root = self.asked.path
        paths = _walk(root, self._unread) if root.is_dir() else [root]
        self.collector.look((each for path in paths if (each := self._file(path))), is_present=True)
        return "the files below it, which is in no git repository" if root.is_dir() else "the file"

    def _file(self, path: Path) -> FileVersion | PassedOver | None:
        try:
            if path.is_symlink() or not path.is_file():
                self.collector.skipped["no regular file"] += 1
                return None
            if path.stat().st_size > self.asked.max_bytes:
                return PassedOver("", "max_blob_size")
            return FileVersion(_told(path, _top(self.asked.path)), "", (), path.read_bytes())
        except OSError as error:
            self._unread.append(f"{path} ({error.strerror})")
            return None

    def _look_at_staged(self, layout: Layout) -> str:
        if layout.is_bare:
            raise ConfigurationError(f"{layout.top} is a bare repository: it has no index, and nothing is staged in it")
        if not layout.index(self.environ).exists():
            return "what is staged: nothing yet"
        try:
            versions = list(self._read(layout, Scope(mode="staged")))
        except UnreadableRepositoryError as error:
            raise RefusedError(
                f"what is staged in {layout.top} cannot be read: {error}{_remedy(layout, error)}"
            ) from None
        self.collector.look(versions, commit=STAGED, is_present=True)
        return "what is staged"

    def _look_at_range(self, layout: Layout) -> str:
        scope = Scope(mode="history", refs=(self.asked.until,), since=self.asked.since or None)
        try:
            self.collector.look(self._read(layout, scope), is_present=False)
        except UnreadableRepositoryError as error:
            ends = f"{self.asked.since}..{self.asked.until}"
            raise RefusedError(
                f"the range {ends} cannot be read: {error}; see that this clone has both commits"
            ) from None
        if cut := self.collector.commits & layout.boundary:
            self._unread.append(f"the history before {min(cut)[:12]}, where this shallow clone ends; {UNSHALLOW}")
        self._mark_newest(layout, self.asked.until)
        return f"the commits {self.asked.since or 'from the first'}..{self.asked.until}"

    def _look_at_history(self, layout: Layout) -> str:
        if layout.boundary:
            self._unread.append(f"the history before this shallow clone; {UNSHALLOW}")
        newest = [] if layout.head is None else list(self._tried(layout, Scope(mode="snapshot")))
        origins = {
            origin.commit for version in newest if isinstance(version, FileVersion) for origin in version.origins
        }
        self._head = next(iter(origins), None)
        since = self.memory.recall() if self.memory else None
        if since and not self._has(layout, since):
            since = None
        self.collector.look(self._tried(layout, Scope(mode="history", refs=None, since=since)), is_present=False)
        # Of a file version that the history has brought, its commits stay; the newest tree's own is HEAD.
        self.collector.look(newest, is_present=True)
        if not self.collector.seen and not self._unread:
            self._notes.append(f"{layout.top} has no file in any commit yet")
        unused = set(self.collector.baseline.lines) - self.collector.used
        if unused and not since and self.collector.baseline.key is not None:
            self._notes.append(f"{len(unused)} lines of the baseline know nothing that is here")
        return (
            f"the history since {since[:12]}, and the newest tree"
            if since
            else "the whole history, and the newest tree"
        )

    def _mark_newest(self, layout: Layout, until: str) -> None:
        """Look which of the findings the range's last commit still has."""
        paths = {path for path, _ in self.collector.found}
        if not paths:
            return
        newest = self._read(layout, Scope(mode="snapshot", refs=(until,)))
        # Only what the range has brought: another file's secret is another scan's.
        seen = set(self.collector.seen)
        self.collector.look(
            (each for each in newest if isinstance(each, FileVersion) and (each.path, each.blob) in seen),
            is_present=True,
        )

    def _has(self, layout: Layout, commit: str) -> bool:
        try:
            next(iter(self._read(layout, Scope(mode="snapshot", refs=(commit,)))), None)
        except UnreadableRepositoryError:
            return False
        return True

    def _tried(self, layout: Layout, scope: Scope) -> Iterator[FileVersion | PassedOver]:
        """Yield what can be read; what cannot is noted, and ends it."""
        try:
            yield from self._read(layout, scope)
        except UnreadableRepositoryError as error:
            self._unread.append(f"the rest of the {scope.mode} ({error})")

    def _read(self, layout: Layout, scope: Scope) -> Iterator[FileVersion | PassedOver]:
        where = layout.git_dir if layout.is_bare else layout.top
        return read_versions(where, scope, max_bytes=self.asked.max_bytes)


UNSHALLOW = "git fetch --unshallow"


def _remedy(layout: Layout, error: UnreadableRepositoryError) -> str:
    """Return what to do about an index that cannot be read."""
    said = str(error).lower()
    if "conflict" in said and layout.operation:
        return f"; it is in the midst of {layout.operation}: resolve and add what conflicts, then scan again"
    return "; git sparse-checkout reapply --no-sparse-index" if "sparse" in said else ""


def _told(path: Path, top: Path) -> str:
    """Return a file's path from the top, which is a resolved one of a repository."""
    try:
        return str(path.relative_to(top))
    except ValueError:
        return str(path.resolve().relative_to(top.resolve()))


def _walk(root: Path, unread: list[str]) -> Iterator[Path]:
    """Yield every file, hidden ones included; folders that cannot be read are noted."""

    def note(error: OSError) -> None:
        unread.append(f"{error.filename} ({error.strerror})")

    for folder, folders, names in os.walk(root, onerror=note):
        folders.sort()
        yield from (Path(folder) / name for name in sorted(names))
