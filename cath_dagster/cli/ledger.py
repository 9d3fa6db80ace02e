"""What the ledger says: how much was deleted each day, and what became of one row."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from rich.table import Table

from cath_dagster.adapters.environment import open_backends
from cath_dagster.adapters.terminal import out
from cath_dagster.console.database import open_database
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.inspection.explain import GONE, Explanation, Forecast, explain
from cath_dagster.core.instants import midnight
from cath_dagster.core.ledger.days import Day, largest, read_days
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.schedule import NO_SCHEDULE
from cath_dagster.core.run.spec import load_specs, purged_tables

BAR = 20
"""Characters of the longest bar."""


def read_ledger(location: CodeLocation, *, days: int, job: str | None, now: datetime) -> list[Day]:
    """Return what the location's jobs did on the last so many days, today included."""
    since = midnight(now.date() - timedelta(days=days - 1))
    with open_database(location, "ledger") as database:
        return database.transaction(lambda connection: read_days(connection, since=since, job=job))


def explain_row(locations: Sequence[CodeLocation], table: str, key: str, *, now: datetime) -> Explanation:
    """Return what became of a row, in the one location whose jobs delete from the table."""
    having = [location for location in locations if table in purged_tables(load_specs(location))]
    if len(having) > 1:
        names = ", ".join(location.name for location in having)
        raise ConfigurationError(f"{table} is a table of several locations; say which: {names}")
    location = having[0] if having else locations[0]
    environ = open_backends(location).environ
    with open_database(location, "explain") as database:
        return explain(database, load_specs(location), table, key, now=now, environ=environ)


def days_as_json(location: CodeLocation, days: Sequence[Day]) -> list[dict[str, object]]:
    return [{"location": location.name, **asdict(day), "day": day.day.isoformat()} for day in days]


def print_days(location: CodeLocation, days: Sequence[Day]) -> None:
    """Print a row per day, job, table and rule; what did not end well stands out."""
    if not days:
        out.print(f"{location.name}: nothing in the ledger")
        return
    table = Table(title=location.name, title_justify="left")
    for name in ("day", "job", "table", "rule"):
        table.add_column(name, overflow="fold")
    # Restores are rare, and terminals narrow.
    restored = ("restored",) if any(day.restored for day in days) else ()
    counts = ("deleted", "archived", "updated", *restored, "runs")
    for name in counts:
        table.add_column(name, justify="right")
    table.add_column("ended")
    table.add_column("", width=BAR, no_wrap=True)
    most = largest(days)
    for day in days:
        numbers = [f"{getattr(day, name):,}" for name in counts]
        endings = ", ".join(f"{count} {ending}" for ending, count in day.endings.items())
        ended = f"[red]{endings}[/red]" if day.trouble else endings
        table.add_row(
            day.day.isoformat(), day.job, day.table, day.rule or "-", *numbers, ended, _bar(day.deleted, most)
        )
    out.print(table)


def _bar(count: int, most: int) -> str:
    return "█" * max(1, round(BAR * count / most)) if count else ""


def explanation_as_json(explanation: Explanation) -> dict[str, object]:
    return asdict(explanation, dict_factory=lambda items: {name: _plain(value) for name, value in items})


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value


def print_explanation(explanation: Explanation) -> None:
    """Print the answer first, then what it rests on."""
    if not explanation.exists:
        kind = "" if explanation.is_certain or not explanation.deletions else " An inference:"
        out.print(f"{explanation.table} {explanation.key} is not there.{kind} {explanation.says}.", markup=False)
    else:
        out.print(f"{explanation.table} {explanation.key}: {explanation.says}.", markup=False)
    for gone in explanation.deletions:
        cutoff = f"cutoff {gone.cutoff.isoformat()}" if gone.cutoff else "no cutoff"
        out.print(
            f"  {gone.deleted_at:%Y-%m-%d %H:%M:%S %Z}  run {gone.run_id}, {gone.job}: {gone.rule} "
            f"({cutoff}; {gone.rows:,} rows)",
            markup=False,
        )
    for back in explanation.restorations:
        out.print(
            f"  {back.restored_at:%Y-%m-%d %H:%M:%S %Z}  put back by restore {back.restored_by} from run {back.run_id}, left "
            f"alone until {back.left_alone_until:%Y-%m-%d %H:%M %Z}",
            markup=False,
        )
    for forecast in explanation.forecasts:
        when = _when(forecast)
        unmet = f"; kept, because this does not hold: {'; '.join(forecast.unmet)}" if forecast.unmet else ""
        effect = "" if forecast.effect == GONE else f", which is {forecast.effect} then"
        out.print(f"  {when}  {forecast.job}: {forecast.rule}{effect}{unmet}", markup=False)
    for job in explanation.not_foreseen:
        out.print(f"  not foreseen  {job}: only its run can tell; ask: cath-dagster plan {job}", markup=False)
    for job in explanation.switched_off:
        out.print(f"  switched off  {job}", markup=False)


def _when(forecast: Forecast) -> str:
    if forecast.at:
        return f"{forecast.at:%Y-%m-%d %H:%M %Z}"
    return "never in sight" if forecast.has_schedule else NO_SCHEDULE
