"""Scans as tests ask for them."""

from pathlib import Path
from typing import Any

from cath_dagster.cloudmake.scan.key import ScanKey
from cath_dagster.cloudmake.scan.looking import Looked, look
from cath_dagster.cloudmake.scan.report import Finding, ScanReport
from cath_dagster.cloudmake.scan.request import ScanRequest

KEY_TEXT = "made-up key of the tests, long enough"
KEY = ScanKey(KEY_TEXT, is_lasting=True)


def looked(path: Path, *, key: ScanKey = KEY, **asked: Any) -> Looked:
    return look(ScanRequest(path=path, **asked), key, {})


def scan(path: Path, *, key: ScanKey = KEY, **asked: Any) -> ScanReport:
    return looked(path, key=key, **asked).report


def places(report: ScanReport) -> dict[str, Finding]:
    """Return what was found by file; each of them has one."""
    assert len({each.path for each in report.found}) == len(report.found)
    return {each.path: each for each in report.found}
