"""The weekly report as it lies in the store."""

from tests.support.service import Service

JOB = "media_reporting"


WEEK = "2026-11-09"
"""The last week ended before the reference time of the fixture `service`, a Wednesday."""


FOLDER = "media_application_report"


def stored(service: Service) -> dict[str, bytes]:
    """Return all files of the report store by their paths."""
    files = [path for path in service.report_root.rglob("*") if path.is_file()]
    return {path.relative_to(service.report_root).as_posix(): path.read_bytes() for path in files}
