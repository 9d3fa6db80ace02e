"""Compare what is declared with what is there, source by source, and keep open drift in the service's table."""

from collections import Counter
from datetime import datetime, timedelta
from functools import partial

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.cloudmake.drift.snapshots import OpenSnapshot, read_open, store
from cath_dagster.cloudmake.drift.source import Reading, Surroundings
from cath_dagster.cloudmake.drift.sources import NAMES, Looked, choose, look_at_sources
from cath_dagster.cloudmake.tables import mcp_drift_snapshots
from cath_dagster.core.model.check import Check, Severity, Verdict
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.schedule import Cron
from cath_dagster.core.model.settings import GatedSettings
from cath_dagster.core.postgres.database import Database
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

TABLE = mcp_drift_snapshots.name
RULE = "open drift is written down"
RESOLVED_WITHIN = timedelta(days=1)
"""SC-020."""
NAMES_SHOWN = 20


class SpecDriftSettings(GatedSettings):
    """Which sources are compared, and what comes of drift."""

    sources: str = Field(
        default="",
        description=f"Sources, with commas between: {', '.join(NAMES)}. By default all that are configured; one that is named "
        "and not configured is an error.",
    )


def prepare(run: JobRun, settings: SpecDriftSettings) -> None:
    """Look at which sources are asked for."""
    del run
    choose(settings.sources)


def spec_drift(run: JobRun, settings: SpecDriftSettings) -> None:
    """Look at every source, write down what is open, and judge; what cannot be read fails the run after the rest."""
    # A table that is not there, or cannot be read, is found out before servers are asked.
    run.database.transaction(read_open)
    started = run.clock()
    surroundings = Surroundings(prefix=CLOUDMAKE.prefix, environ=run.environ, database=run.database)
    looked = look_at_sources(surroundings, choose(settings.sources))
    written = 0 if run.dry_run else run.database.transaction(partial(_store, run, looked))
    still_open = run.database.transaction(read_open)
    _tell(run, looked, still_open)
    run.record(
        Outcome(
            target=TABLE,
            matched=len(looked.drifted),
            updated=written,
            seconds=run.clock() - started,
            details=_details(looked, still_open),
        )
    )
    for problem in looked.problems:
        run.fail(problem)
    if looked.is_nothing:
        run.fail("no source is configured, so that nothing was compared")
    _judge(run, settings, looked)


def _store(run: JobRun, looked: Looked, connection: sa.Connection) -> int:
    written = store(connection, looked.readings, complete=looked.complete, as_of=run.as_of)
    run.ledger.record_batch(connection, {TABLE: {"updated": written}}, rule=RULE)
    return written


def _tell(run: JobRun, looked: Looked, still_open: list[OpenSnapshot]) -> None:
    """Name what differs, what was skipped, and what an earlier run left open of it."""
    since = {each.server_name: each.detected_at for each in still_open}
    for source, lacks in looked.skipped.items():
        left = sum(each.source == source for each in still_open)
        run.note(f"{source}: skipped, {lacks}{f'; {left} open before stay so' if left else ''}")
    for note in looked.notes:
        run.note(note)
    for reading in looked.readings:
        run.record(Outcome(target=reading.server_name, matched=len(reading.difference), details=_of(reading, since)))
        if reading.difference:
            run.reporter.warning(f"{reading.server_name}: {_names(reading)}")


def _of(reading: Reading, since: dict[str, datetime]) -> dict[str, Scalar]:
    details: dict[str, Scalar] = {"declared": reading.declared, **reading.difference.counts}
    if reading.difference and reading.server_name in since:
        details["first_seen"] = since[reading.server_name].isoformat()
    return details


def _names(reading: Reading) -> str:
    told = []
    for word, names in reading.difference.as_json().items():
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        told += [f"{word} {', '.join(names[:NAMES_SHOWN])}{more}"] if names else []
    return "; ".join(told)


def _details(looked: Looked, still_open: list[OpenSnapshot]) -> dict[str, Scalar]:
    by_source = Counter(each.source for each in still_open)
    return {
        "open": len(still_open),
        **{f"open_{source}": by_source[source] for source in NAMES},
        "skipped": sorted(looked.skipped),
        "unreadable": sorted(looked.unreadable),
    }


def _judge(run: JobRun, settings: SpecDriftSettings, looked: Looked) -> None:
    """Judge by the table; a dry run, which writes nothing there, by what it has seen."""
    if run.dry_run:
        names = ", ".join(reading.server_name for reading in looked.drifted)
        found = Verdict(passed=not names, message=f"drift in {names}" if names else "")
        run.judge(NO_OPEN_DRIFT, found, gates=settings.gate)
        return
    run.judge(NO_OPEN_DRIFT, no_open_drift(run.database, run.as_of), gates=settings.gate)
    run.judge(RESOLVED_IN_TIME, resolved_within_a_day(run.database, run.as_of))


def no_open_drift(database: Database, as_of: datetime) -> Verdict:
    """Return whether anything is open."""
    del as_of
    found = database.transaction(read_open)
    names = ", ".join(each.server_name for each in found)
    details: dict[str, Scalar] = {"open": len(found)}
    if found:
        details["oldest_detected_at"] = found[0].detected_at.isoformat()
    return Verdict(passed=not found, message=f"drift in {names}" if found else "", details=details)


def resolved_within_a_day(database: Database, as_of: datetime) -> Verdict:
    """Return whether anything has been open for more than a day."""
    old = [each for each in database.transaction(read_open) if as_of - each.detected_at > RESOLVED_WITHIN]
    said = ", ".join(f"{each.server_name} since {each.detected_at:%Y-%m-%d %H:%M}" for each in old)
    return Verdict(
        passed=not old, message=f"open for more than a day: {said}" if old else "", details={"old": len(old)}
    )


NO_OPEN_DRIFT = Check(
    name="sc_008_no_open_drift",
    asset=TABLE,
    description="SC-008: what is there is what is declared, as far as the last run could see.",
    severity=Severity.ERROR,
    evaluate=no_open_drift,
)
RESOLVED_IN_TIME = Check(
    name="drift_resolved_within_a_day",
    asset=TABLE,
    description="SC-020: no drift has been open for more than a day.",
    severity=Severity.WARN,
    evaluate=resolved_within_a_day,
)

SPEC = JobSpec(
    location=CLOUDMAKE,
    name="spec_drift",
    schedule=Cron("0 * * * *"),
    owner=OWNER,
    summary="Compares what is declared with what is there: schema, routes, MCP tools, design tokens, artifacts.",
    description=(
        "Compares the newest drizzle-kit snapshot with the database, the specifications' OpenAPI files with the served document, "
        "configured MCP tools with those that servers have, the newest version of the design tokens with the tokens, and "
        "checksums of artifacts with files. Each source needs its variables, and is skipped and named without them; one that "
        "cannot be read fails the run. Drift is kept in mcp_drift_snapshots, one open row a server or source, which is resolved "
        "once it is gone. Nothing is deleted, and nothing but names of tables, routes, tools, tokens and files is kept."
    ),
    settings=SpecDriftSettings,
    run=spec_drift,
    prepare=prepare,
    timeout=timedelta(hours=1),
    is_asset=True,
    database=DatabaseWork(
        targets=(TABLE,),
        privileges={
            TABLE: ("SELECT", "INSERT", "UPDATE"),
            "design_tokens": ("SELECT",),
            "design_token_versions": ("SELECT",),
            "spec_artifacts": ("SELECT",),
        },
        # Each source says itself what it lacks.
        needs_every_table=False,
    ),
    checks=(NO_OPEN_DRIFT, RESOLVED_IN_TIME),
)
