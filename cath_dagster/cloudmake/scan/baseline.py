"""Findings that are known, each with a reason: a committed file of fingerprints and paths, one JSON object a line.

Its first line says what protects it. By default the fingerprints are under the key of `CLOUDMAKE_SCAN_KEY`, which stands in no
repository, so that a reader cannot try values out. A baseline of made-up values, such as a suite's, has its key in it: it
protects nothing, and whoever writes it says that there is nothing to protect.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from cath_dagster.cloudmake.scan.key import VARIABLE, ScanKey, new_key_text
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.untrusted_json import parse_json

FILE_NAME: Final = ".secrets-baseline"
VERSION: Final = 1
FIELDS: Final = ("fingerprint", "rule", "path", "reason")


@dataclass(frozen=True, order=True)
class Known:
    """A line of a baseline: a value in a file, and why it may stand there."""

    path: str
    fingerprint: str
    rule: str
    reason: str


@dataclass(frozen=True)
class Baseline:
    """What is known. `key` is the one its fingerprints are under; None where nobody here has it."""

    key: ScanKey | None
    lines: tuple[Known, ...] = ()
    made_up_key: str | None = None
    """The key of a baseline of made-up values, which stands in it."""
    complaint: str | None = None
    """Why it cannot be compared with."""

    def find(self, path: str, value: str) -> Known | None:
        """Return the line that knows a value in a file."""
        if self.key is None or not self.lines:
            return None
        return self._by_place.get((path, self.key.fingerprint(value)))

    @cached_property
    def _by_place(self) -> dict[tuple[str, str], Known]:
        return {(line.path, line.fingerprint): line for line in self.lines}

    def with_lines(self, lines: Iterable[Known]) -> "Baseline":
        return replace(self, lines=tuple(sorted(lines)))


def new_baseline(key: ScanKey, *, is_made_up: bool) -> Baseline:
    """Return an empty one; raise `ConfigurationError` where it would be under a key that the next run does not have."""
    if is_made_up:
        text = new_key_text()
        return Baseline(ScanKey(text, is_lasting=True), made_up_key=text)
    if not key.is_lasting:
        raise ConfigurationError(
            f"{VARIABLE} is not set, under which the baseline's fingerprints are kept; set it to the output of "
            "openssl rand -hex 32, here and wherever scans run. Only for values that are no secrets: --made-up"
        )
    return Baseline(key)


def read_baseline(path: Path, key: ScanKey) -> Baseline:
    """Return what a file knows; raise `ConfigurationError` for a line that is none, or has no reason."""
    try:
        rows = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"the baseline {path} cannot be read: {type(error).__name__}") from None
    head = rows[0] if rows and isinstance(rows[0], dict) else {}
    if head.get("baseline") != VERSION:
        raise ConfigurationError(f'the baseline {path} does not begin with {{"baseline": {VERSION}, …}}')
    lines = tuple(_line(path, number, row) for number, row in enumerate(rows[1:], start=2))
    if "key" in head:
        return Baseline(ScanKey(str(head["key"]), is_lasting=True), lines, made_up_key=str(head["key"]))
    if not key.is_lasting:
        return Baseline(None, lines, complaint=f"{VARIABLE} is not set, so that nothing in the baseline is known")
    if head.get("key_check") != key.check:
        return Baseline(None, lines, complaint=f"the baseline was made under another key than that of {VARIABLE}")
    return Baseline(key, lines)


def _line(path: Path, number: int, row: Any) -> Known:
    if not isinstance(row, dict) or set(row) != set(FIELDS) or not all(isinstance(row[name], str) for name in FIELDS):
        raise ConfigurationError(f"line {number} of the baseline {path} is none; it has {', '.join(FIELDS)}")
    if not row["reason"].strip():
        raise ConfigurationError(
            f"line {number} of the baseline {path} has no reason; say why the value may stand there"
        )
    return Known(**row)


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write it in place of the one that is there, whole or not at all."""
    assert baseline.key is not None  # noqa: S101 - one that cannot be compared with is not written
    head: dict[str, object] = {"baseline": VERSION}
    if baseline.made_up_key is None:
        head["key_check"] = baseline.key.check
    else:
        head |= {"values": "made up, none is a secret", "key": baseline.made_up_key}
    rows = [head, *({name: asdict(line)[name] for name in FIELDS} for line in baseline.lines)]
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows), encoding="utf-8")
    new.replace(path)
