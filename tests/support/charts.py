"""One drawing of a chart for all tests of a process: most runs of the report are not about its picture."""

from typing import Any

import pytest

from cath_dagster.cath.jobs import media_reporting
from cath_dagster.cath.media_report import Report, render_chart


def share_drawn(patch: pytest.MonkeyPatch) -> None:
    """Let a report whose chart would show the same numbers have the picture that was drawn of them before."""
    drawn: dict[Any, bytes] = {}

    def draw_once(report: Report) -> bytes:
        by_day = {day: tuple(counts.items()) for day, counts in report.by_day().items()}
        shown = (report.week, tuple(by_day.items()), tuple(report.by_status), len(report.applications))
        if shown not in drawn:
            drawn[shown] = render_chart(report)
        return drawn[shown]

    patch.setattr(media_reporting, "render_chart", draw_once)
