"""What the law required of CheckTick on a day: read, and shown to people or machines."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from functools import partial

from rich import box
from rich.markup import escape
from rich.table import Table

from cath_dagster.adapters.terminal import err, out
from cath_dagster.checktick import CHECKTICK
from cath_dagster.checktick.jobs.data_governance import SPEC
from cath_dagster.checktick.report import Deletion, RetentionReport, day_of, last_tick, read_report
from cath_dagster.console.database import open_database
from cath_dagster.core.errors import ConfigurationError


def read_day(day: str | None, *, now: datetime) -> RetentionReport:
    """Return the report on a day, today if none is given; raise `ConfigurationError` for what is no day that has come."""
    try:
        chosen, at = day_of(day, now)
    except ValueError as error:
        raise ConfigurationError(f"--day {day}: {error}; write it like 2026-11-20") from None
    with open_database(CHECKTICK, "governance report") as database:
        return database.transaction(partial(read_report, day=chosen, at=at, tick=last_tick(SPEC.cron, at)))


def report_as_json(report: RetentionReport) -> dict[str, object]:
    """Return the report with stable keys, instants in ISO 8601."""
    lists = {
        "due": report.due,
        "done": report.done,
        "held": report.held,
        "overdue": report.overdue,
        "waiting": report.waiting,
    }
    return {
        "day": report.day.isoformat(),
        "at": report.at.isoformat(),
        "last_run_due_at": report.tick.isoformat(),
        "warnings": report.warnings,
        "alerts": len(report.alerts),
        "undated": list(report.strays.undated),
        "returned": list(report.strays.returned),
        "files_by_hand": report.strays.files_by_hand,
        **{name: [_plain(deletion) for deletion in deletions] for name, deletions in lists.items()},
    }


def _plain(deletion: Deletion) -> dict[str, object]:
    return asdict(deletion, dict_factory=lambda items: {name: _value(value) for name, value in items})


def _value(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def print_report(report: RetentionReport) -> None:
    """Print what was due, done, held and overdue; what nobody holds stands out."""
    out.print(f"CheckTick, deletions on {report.day}, as it stood at {report.at:%Y-%m-%d %H:%M} UTC")
    counts = {"due": report.due, "done": report.done, "held": report.held, "overdue": report.overdue}
    out.print(", ".join(f"{len(deletions)} {name}" for name, deletions in counts.items()), end="")
    out.print(f", {len(report.waiting)} for the next run")
    sent = ", ".join(f"{count} ({name})" for name, count in report.warnings.items())
    out.print(f"warnings on that day: {sent or 'none'}")
    for title, deletions in (
        ("done", report.done),
        ("held", report.held),
        ("overdue", report.overdue),
        ("for the next run", report.waiting),
    ):
        if deletions:
            out.print(_table(title, deletions))
    for says in report.strays.told():
        err.print(f"warning: {says}", style="yellow")
    if report.alerts:
        ids = ", ".join(str(deletion.survey_id) for deletion in report.alerts)
        err.print(
            f"error: {len(report.alerts)} deletions are overdue and nothing holds them: surveys {ids}", style="red"
        )


def _table(title: str, deletions: Sequence[Deletion]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("survey", justify="right")
    for name in ("deletion", "due", title):
        table.add_column(name, overflow="fold")
    for deletion in deletions:
        table.add_row(
            str(deletion.survey_id), deletion.phase.value, f"{deletion.due_at:%Y-%m-%d %H:%M}", _says(deletion)
        )
    return table


def _says(deletion: Deletion) -> str:
    if deletion.hold is not None:
        by = f", placed by user {deletion.hold.placed_by_id}" if deletion.hold.placed_by_id is not None else ""
        return escape(f"{deletion.hold.authority}, since {deletion.hold.placed_at:%Y-%m-%d}{by}")
    if deletion.done_at is not None:
        run = f", run {deletion.run_id}" if deletion.run_id else ""
        return f"{deletion.done_at:%Y-%m-%d %H:%M}{run}"
    return escape(deletion.why or "")
