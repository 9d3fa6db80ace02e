"""Collect what a scan finds: each value once a file, at the first commit that brought it, without the value."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from cath_dagster.adapters.secret_scanner import FileVersion, Found, PassedOver, SecretScanner
from cath_dagster.cloudmake.scan.baseline import Baseline, Known
from cath_dagster.cloudmake.scan.key import ScanKey
from cath_dagster.cloudmake.scan.layout import count_submodules
from cath_dagster.cloudmake.scan.report import Finding

LONGEST_NAME = 16
"""A value of so many characters or more is taken out of a path that has it; a shorter one may be a word."""
ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd")
"""How compressed files begin."""
LARGE_FILE = b"version https://git-lfs.github.com/spec/"
SNIFFED = 8_000
"""Bytes in which a zero makes a file binary, as git has it."""
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
UNREAD = {
    "max_blob_size": "larger than the limit; raise max_file_mb",
    "missing": "not in this clone, which is a partial one; clone it whole",
}


@dataclass(kw_only=True)
class Collector:
    """What was found so far, and what was not looked at."""

    scanner: SecretScanner
    key: ScanKey
    baseline: Baseline
    found: dict[tuple[str, str], tuple[int, Finding]] = field(default_factory=dict)
    """By path and fingerprint, each with the instant of its commit."""
    paths: set[str] = field(default_factory=set)
    """The files in which something was found."""
    used: set[Known] = field(default_factory=set)
    """The baseline's lines that know something."""
    lines: dict[tuple[str, str], Known] = field(default_factory=dict)
    """What a baseline would know everything by that it does not know yet."""
    seen: set[tuple[str, str]] = field(default_factory=set)
    commits: set[str] = field(default_factory=set)
    skipped: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)

    def look(self, versions: Iterable[FileVersion | PassedOver], *, commit: str = "", is_present: bool) -> None:
        """Look into file versions; those without a commit of their own are of the one that is given."""
        for version in versions:
            if isinstance(version, PassedOver):
                self.passed_over[version.why] += 1
                continue
            key = (version.path, version.blob)
            first = min(version.origins, key=lambda each: each.at, default=None)
            if key not in self.seen or not version.blob:
                self.seen.add(key)
                self._sort(version)
                for found in self.scanner.scan(version.path, version.content):
                    self._keep(found, version.path, first.commit if first else commit, first.at if first else 0)
            self.commits.update(each.commit for each in version.origins)
            if is_present:
                self._mark_present(version)

    def unread(self) -> list[str]:
        """Return what could not be read, in words."""
        return [f"{count} file versions {UNREAD.get(why, why)}" for why, count in sorted(self.passed_over.items())]

    def findings(self) -> list[Finding]:
        return sorted((each for _, each in self.found.values()), key=lambda each: (each.path, each.line, each.rule))

    def _keep(self, found: Found, path: str, commit: str, at: int) -> None:
        self.paths.add(path)
        known = self.baseline.find(path, found.value)
        fingerprint = self.key.fingerprint(found.value)
        if known:
            self.used.add(known)
        elif self.baseline.key is not None:
            line = Known(path, self.baseline.key.fingerprint(found.value), found.rule, "")
            self.lines[path, fingerprint] = line
        finding = Finding(
            rule=found.rule,
            path=path.replace(found.value, "[…]") if len(found.value) >= LONGEST_NAME else path,
            line=found.line,
            commit=commit,
            fingerprint=fingerprint,
            is_present=False,
            reason=known.reason if known else None,
        )
        before = self.found.get((path, fingerprint))
        if before is None or at < before[0]:
            self.found[path, fingerprint] = (at, finding)

    def _mark_present(self, version: FileVersion) -> None:
        """Mark what the newest tree has, at the line where it stands there."""
        for found in self._again(version):
            key = (version.path, self.key.fingerprint(found.value))
            at, finding = self.found[key]
            self.found[key] = (at, replace(finding, line=found.line, is_present=True))

    def _again(self, version: FileVersion) -> Sequence[Found]:
        return self.scanner.scan(version.path, version.content) if version.path in self.paths else ()

    def _sort(self, version: FileVersion) -> None:
        """Count what of a file the scanner does not see."""
        content = version.content
        if content.startswith(ARCHIVES):
            self.skipped["archive, not opened"] += 1
        elif content.startswith(LARGE_FILE):
            self.skipped["kept in Git LFS, not here"] += 1
        elif b"\0" in content[:SNIFFED] and not content.startswith(BYTE_ORDER_MARKS):
            self.skipped["binary, looked at as its bytes are"] += 1
        if version.path == ".gitmodules":
            self.skipped["submodule, a repository of its own"] = max(
                self.skipped["submodule, a repository of its own"], count_submodules(content)
            )
