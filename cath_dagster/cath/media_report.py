"""The weekly report on media applications: what it contains and how it is written."""

import csv
import hashlib
import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cath_dagster.cath.tables import media_application
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.instants import midnight, naive_utc

FOLDER = "media_application_report"
COLUMNS = ("Full name", "Email", "Employer", "Request date", "Status")
DATE_FORMAT = "%d-%m-%Y %H:%M:%S"
STATUSES = ("PENDING", "APPROVED", "REJECTED")
_STORED = re.compile(rf"{FOLDER}/(\d{{4}}-\d{{2}}-\d{{2}})/([^/\\\x00-\x1f\x7f]+)\.(csv|png|json)")
_FORMULA_STARTS = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Week:
    """A week of the report, from Monday 00:00 UTC."""

    monday: date

    @property
    def start(self) -> datetime:
        return midnight(self.monday)

    @property
    def end(self) -> datetime:
        return midnight(self.monday + timedelta(days=7))

    @classmethod
    def ended_before(cls, instant: datetime) -> "Week":
        """Return the last week that had ended at the instant."""
        return cls(instant.date() - timedelta(days=instant.weekday() + 7))

    @classmethod
    def of(cls, partition: str) -> "Week":
        """Return the week of a partition key; raise `ConfigurationError` unless that is a Monday."""
        try:
            monday = date.fromisoformat(partition)
        except ValueError:
            raise ConfigurationError(
                f"the partition is {partition!r}; a week is named by its Monday: 2026-01-05"
            ) from None
        if monday.weekday() != 0:
            raise ConfigurationError(
                f"the partition is {partition}, a {monday:%A}; the week's Monday is {monday - timedelta(monday.weekday())}"
            )
        return cls(monday)

    def __str__(self) -> str:
        return self.monday.isoformat()


@dataclass(frozen=True)
class Application:
    """A media application as the report shows it. `digest` changes whenever any of its fields does."""

    application_id: str
    name: str = field(repr=False)
    email: str = field(repr=False)
    employer: str = field(repr=False)
    applied_at: datetime
    status: str
    digest: int


@dataclass(frozen=True)
class Report:
    """One week's report, rendered. `counts` is by status and day and free of personal data."""

    week: Week
    applications: tuple[Application, ...]
    csv: bytes = field(repr=False)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.csv).hexdigest()

    @property
    def by_status(self) -> dict[str, int]:
        counted = Counter(application.status for application in self.applications)
        return {status: counted[status] for status in (*STATUSES, *sorted(set(counted) - set(STATUSES)))}

    def by_day(self) -> dict[str, dict[str, int]]:
        counted = Counter((application.applied_at.date(), application.status) for application in self.applications)
        days = [self.week.monday + timedelta(days=number) for number in range(7)]
        return {day.isoformat(): {status: counted[day, status] for status in self.by_status} for day in days}

    def as_json(self, run_id: str) -> bytes:
        """Return the counts, and what identifies the rows reported: ids and digests, no names or addresses."""
        content = {
            "week": str(self.week),
            "run_id": run_id,
            "csv_sha256": self.sha256,
            "applications": len(self.applications),
            "by_status": self.by_status,
            "by_day": self.by_day(),
            "rows": {application.application_id: application.digest for application in self.applications},
        }
        return json.dumps(content, indent=2).encode()


def row_digest() -> sa.ColumnElement[int]:
    """Return the hash of everything the report says about a row, and of its file."""
    table = media_application
    values = (table.c.name, table.c.email, table.c.employer, table.c.status, table.c.proof_of_id_path)
    texts = (*(sa.func.coalesce(value, "") for value in values), sa.cast(table.c.applied_date, sa.Text))
    # A separator that no text field holds, so that moving a letter across fields changes the hash.
    return sa.func.hashtextextended(sa.func.concat_ws(sa.func.chr(31), *texts), 0, type_=sa.BigInteger)


def read_applications(connection: sa.Connection, week: Week) -> tuple[Application, ...]:
    """Return the applications made in a week, oldest first."""
    table = media_application
    query = (
        sa.select(
            sa.cast(table.c.id, sa.Text),
            table.c.name,
            table.c.email,
            table.c.employer,
            table.c.applied_date,
            table.c.status,
            row_digest(),
        )
        .where(table.c.applied_date >= naive_utc(week.start), table.c.applied_date < naive_utc(week.end))
        .order_by(table.c.applied_date, table.c.id)
    )
    return tuple(Application(*row) for row in connection.execute(query))


def render(week: Week, applications: Sequence[Application]) -> Report:
    return Report(week, tuple(applications), render_csv(applications))


def render_csv(applications: Iterable[Application]) -> bytes:
    """Return the table as CSV: UTF-8, every field quoted, a header always."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(COLUMNS)
    for application in applications:
        values = (
            application.name,
            application.email,
            application.employer,
            application.applied_at.strftime(DATE_FORMAT),
            application.status,
        )
        writer.writerow([defuse(value) for value in values])
    return buffer.getvalue().encode()


def defuse(value: str) -> str:
    """Return the text so that no spreadsheet takes it for a formula."""
    stripped = value.lstrip()
    # Blanks and control characters before a formula do not stop a spreadsheet from running it.
    is_dangerous = stripped.startswith(_FORMULA_STARTS) or unicodedata.category(value[:1] or " ") == "Cc"
    return f"'{value}" if is_dangerous else value


def render_chart(report: Report) -> bytes:
    """Return a PNG: applications a day, stacked by status."""
    # Drawing brings half a second of imports with it, which no other job should pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 4))
    FigureCanvasAgg(figure)
    # Margins that its titles and labels always fit: a layout that measures them draws everything a second time.
    axes = figure.add_axes((0.08, 0.09, 0.89, 0.82))
    by_day = report.by_day()
    days = [date.fromisoformat(day).strftime("%a %d %b") for day in by_day]
    floor = [0] * len(days)
    for status in report.by_status:
        heights = [counts[status] for counts in by_day.values()]
        axes.bar(days, heights, bottom=floor, label=_printable(status.capitalize()))
        floor = [below + height for below, height in zip(floor, heights, strict=True)]
    axes.set_title(f"Media applications, week of {report.week.monday:%d %B %Y}: {len(report.applications)}")
    axes.set_ylabel("applications")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    # In one row above the bars, which leave it room.
    axes.margins(y=0.15)
    axes.legend(frameon=False, ncols=len(report.by_status), loc="upper left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


def week_of(path: str) -> date | None:
    """Return the Monday of the week that a stored file reports, None if it is no file of this report."""
    found = _STORED.fullmatch(path)
    try:
        monday = date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None
    return monday if monday is not None and monday.weekday() == 0 else None


def run_of(path: str) -> str | None:
    """Return the run that wrote a week's counts, None for another file."""
    found = _STORED.fullmatch(path)
    return found[2] if found and found[3] == "json" else None


def rows_reported(content: bytes) -> dict[str, int]:
    """Return ids and digests of the rows in a stored report; raise `ValueError` for what is none."""
    rows = _parse(content).get("rows")
    if not isinstance(rows, dict):
        raise ValueError("a report has rows")  # noqa: TRY004 - what is no report has a wrong value, whatever its type
    return {application_id: int(digest) for application_id, digest in rows.items()}


def sha256_reported(content: bytes) -> str | None:
    """Return what identifies the table that goes with a stored report, None for what is no report."""
    try:
        found = _parse(content).get("csv_sha256")
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def _parse(content: bytes) -> dict[str, Any]:
    stored = json.loads(content)
    if not isinstance(stored, dict):
        raise ValueError("a report is a JSON object")  # noqa: TRY004
    return stored
