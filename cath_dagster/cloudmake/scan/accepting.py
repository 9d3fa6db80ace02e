"""Take what a scan finds into the baseline, with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cath_dagster.cloudmake.scan.baseline import Baseline, new_baseline, read_baseline, write_baseline
from cath_dagster.cloudmake.scan.key import ScanKey
from cath_dagster.cloudmake.scan.looking import baseline_path, look
from cath_dagster.cloudmake.scan.request import ScanRequest, What
from cath_dagster.core.errors import ConfigurationError, RefusedError


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """What became of the baseline's lines."""

    path: Path
    added: int
    kept: int
    dropped: int
    left: int
    """Findings that nobody asked to take."""


def accept(
    asked: ScanRequest,
    key: ScanKey,
    environ: Mapping[str, str],
    *,
    because: str,
    only: frozenset[str],
    is_made_up: bool,
    file: Path | None,
) -> Accepted:
    """Write the findings of a scan into the baseline, those of some files alone where any are named.

    Raises `ConfigurationError` without a reason, and where the baseline there is cannot be written on.
    """
    if not because.strip():
        raise ConfigurationError("a line of the baseline has a reason; give it by --because")
    path = file or baseline_path(asked)
    before = _there(path, key, is_made_up=is_made_up)
    looked = look(asked, key, environ, baseline=before)
    if looked.report.unread:
        raise RefusedError(f"not everything could be read: {looked.report.unread[0]}; the baseline is as it was")
    taken = [
        replace(line, reason=because.strip())
        for (file_path, _), line in looked.lines.items()
        if not only or file_path in only
    ]
    # Of a part of the repository nobody can say which lines know nothing.
    kept = looked.used if asked.what is What.ALL else before.lines
    write_baseline(path, before.with_lines((*kept, *taken)))
    return Accepted(
        path=path,
        added=len(taken),
        kept=len(kept),
        dropped=len(before.lines) - len(kept),
        left=len(looked.report.found) - len(taken),
    )


def _there(path: Path, key: ScanKey, *, is_made_up: bool) -> Baseline:
    if not path.is_file():
        return new_baseline(key, is_made_up=is_made_up)
    there = read_baseline(path, key)
    if there.complaint:
        raise ConfigurationError(f"{path} cannot be written on: {there.complaint}")
    if is_made_up != (there.made_up_key is not None):
        kind = "of made-up values" if there.made_up_key else "under a key"
        raise ConfigurationError(
            f"{path} is {kind} already; {'leave --made-up out' if is_made_up else 'say --made-up'}"
        )
    return there
