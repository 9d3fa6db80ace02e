"""The command `cath-dagster`: list, plan and run jobs, migrate and examine their databases.

Exit codes: 0 done, 1 failed or refused, 2 wrong usage, 3 restored (or restorable, in a dry run) in part only.
"""

import signal
import sys
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import Annotated, Any, NoReturn
from zoneinfo import ZoneInfo

import typer

from cath_dagster.adapters.envelope import Request, perform
from cath_dagster.adapters.environment import EnvironmentResources, open_resources
from cath_dagster.adapters.logs import JsonReporter, is_json
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.adapters.terminal import TerminalReporter, out
from cath_dagster.cli.files import app as files_app
from cath_dagster.cli.output import (
    print_error,
    print_findings,
    print_jobs,
    print_json,
    print_report_of_run,
    print_result,
    print_roles,
)
from cath_dagster.core.errors import (
    ConfigurationError,
    MaintenanceError,
    MissingConfigurationError,
    RefusedError,
    UnknownJobError,
)
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.model.outcome import RunResult, Status
from cath_dagster.core.model.settings import variable
from cath_dagster.core.run.execution import check_partition, read_config
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.registry import all_specs, find_location, find_spec, locations

FAILED, WRONG_USAGE, IN_PART, TERMINATED = 1, 2, 3, 143

app = typer.Typer(
    name="cath-dagster",
    help="Scheduled maintenance of services that live on PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
views_app = typer.Typer(help="The materialised views that refresh_views keeps.", no_args_is_help=True)
app.add_typer(views_app, name="views")
governance_app = typer.Typer(help="What the law requires to be deleted, and what became of it.", no_args_is_help=True)
app.add_typer(governance_app, name="governance")
indexes_app = typer.Typer(help="The indexes that purges need and the service lacks.", no_args_is_help=True)
app.add_typer(indexes_app, name="indexes")
roles_app = typer.Typer(help="The database roles that hold what the jobs need, and no more.", no_args_is_help=True)
app.add_typer(roles_app, name="roles")
app.add_typer(files_app, name="files")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="INSTANT", help="Measure every cutoff from this instant (ISO 8601, UTC)."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One of the job's own settings; may be given several times."),
]
Week = Annotated[
    str | None,
    typer.Option("--partition", metavar="KEY", help="The week, by its Monday, for a job that reports weeks."),
]
JobsRole = Annotated[
    str | None, typer.Option("--role", metavar="NAME", help="The role as which the location's jobs log in.")
]
RestoreRole = Annotated[
    str | None,
    typer.Option("--restore-role", metavar="NAME", help="The role as which `cath-dagster restore` logs in."),
]
LocationName = Annotated[
    str | None, typer.Argument(help="A code location; all that have a DATABASE_URL if it is left out.")
]


@app.command("jobs")
def list_jobs(
    as_json: Json = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting with its variable.")] = False,
) -> None:
    """List all jobs: when they run next, who owns them and what they do."""
    specs = all_specs()
    if settings:
        _list_settings(specs, as_json=as_json)
        return
    now = datetime.now(UTC)
    rows = [
        {
            "location": spec.location.name,
            "job": spec.name,
            "cron": spec.cron,
            "timezone": spec.location.timezone,
            "next_tick": _next_tick(spec, now),
            "owner": spec.owner,
            "summary": spec.summary,
        }
        for spec in specs
    ]
    if as_json:
        print_json(rows)
        return
    print_jobs(rows)


@app.command("run")
def run_job(
    job: Annotated[str, typer.Argument(help="The job, as `cath-dagster jobs` lists it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report what would change, and change nothing.")] = False,
    as_of: AsOf = None,
    max_rows: Annotated[int | None, typer.Option("--max-rows", help="Stop cleanly after so many rows.")] = None,
    allow_large: Annotated[
        bool, typer.Option("--allow-large", help="Let this run delete more than half of a table.")
    ] = False,
    partition: Week = None,
    settings: Set = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the result only.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show all there is to say, for jobs that say it in their own words.")
    ] = False,
) -> None:
    """Run one job now, in this process: the same work as a scheduled run, with the same guards."""
    result = _execute(
        job,
        _given(dry_run=dry_run, as_of=as_of, max_rows=max_rows, allow_large=allow_large, settings=settings),
        partition=partition,
        as_json=as_json,
        quiet=quiet,
    )
    _finish(result, as_json=as_json, verbose=verbose)


@app.command("plan")
def plan_job(
    job: Annotated[str, typer.Argument(help="The job, as `cath-dagster jobs` lists it.")],
    as_of: AsOf = None,
    partition: Week = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Show what a run would change now, with a few ids to look up. Changes nothing."""
    result = _execute(
        job,
        _given(dry_run=True, as_of=as_of, max_rows=None, allow_large=False, settings=settings),
        partition=partition,
        as_json=as_json,
        quiet=True,
    )
    _finish(result, as_json=as_json)


@app.command("migrate")
def migrate_database(
    location: LocationName = None, role: JobsRole = None, restore_role: RestoreRole = None, as_json: Json = False
) -> None:
    """Create or update the schema `maintenance` in the maintained databases.

    With --role, that role gets what the location's jobs need, loses what else it held, and owns the views that they
    refresh. Log in as the owner of the tables or a superuser; the role must exist.
    """
    from cath_dagster.cli.roles import Roles, give_roles
    from cath_dagster.core.maintenance.migrations import migrate
    from cath_dagster.core.postgres.database import translate

    roles = Roles(jobs=role, restore=restore_role)
    if roles and location is None:
        raise ConfigurationError("--role is one location's: name the location as well")
    done: dict[str, Any] = {}
    for chosen in _locations(location):
        try:
            with _resources(chosen).disposed_engine("migrate") as engine:
                done[chosen.name] = revisions = list(migrate(engine, chosen))
        except _driver_errors() as error:
            raise translate(error) from None
        if not as_json:
            out.print(f"{chosen.name}: maintenance is at {', '.join(revisions)}")
        if roles:
            changes = give_roles(chosen, roles, now=datetime.now(UTC))
            done[chosen.name] = {"revisions": revisions, "roles": [vars(change) for change in changes]}
            if not as_json:
                print_roles(changes)
    if as_json:
        print_json(done)


@app.command("doctor")
def examine(
    location: LocationName = None,
    everything: Annotated[bool, typer.Option("--all", help="Also list what is in order.")] = False,
    as_json: Json = False,
) -> None:
    """Look for what would stop or slow the jobs: connection, schema, privileges, indexes, blob store, mail.

    Each job is asked what its run asks before its first write: settings, variables, tables and their columns.
    """
    from cath_dagster.cli.doctor import examine_location
    from cath_dagster.core.model.finding import Level

    findings = [finding for chosen in _locations(location) for finding in examine_location(chosen)]
    if as_json:
        print_json([{**vars(finding), "level": finding.level.value} for finding in findings])
    else:
        print_findings(findings, everything=everything)
    if any(finding.level is Level.PROBLEM for finding in findings):
        raise typer.Exit(FAILED)


@app.command("health")
def look_at_instance(
    everything: Annotated[bool, typer.Option("--all", help="Also list what is in order.")] = False,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="First settle the alerts that were given up: somebody has read them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Look from outside whether Dagster works: daemons, ticks, runs that wait, alerts that nobody was told.

    Of the instance of DAGSTER_HOME, by its database alone: for a probe or a CronJob that is not Dagster's own.
    """
    from cath_dagster.cli.health import acknowledge as settle_given_up
    from cath_dagster.cli.health import look
    from cath_dagster.core.model.finding import Level

    if acknowledge:
        count = settle_given_up(datetime.now(UTC))
        if not as_json:
            out.print(f"{count} given up alerts acknowledged")
    findings = look(datetime.now(UTC))
    is_well = not any(finding.level is Level.PROBLEM for finding in findings)
    if as_json:
        found = [{**vars(finding), "level": finding.level.value} for finding in findings]
        print_json({"healthy": is_well, "findings": found})
    else:
        print_findings(findings, everything=everything)
    if not is_well:
        raise typer.Exit(FAILED)


@app.command("ledger")
def show_ledger(
    location: LocationName = None,
    days: Annotated[int, typer.Option(help="How many days back, today included.", min=1, max=36_500)] = 30,
    job: Annotated[str | None, typer.Option(help="Only this job.")] = None,
    as_json: Json = False,
) -> None:
    """Show how much was deleted each day, by which rule of which job, and which runs did not end well."""
    from cath_dagster.cli.ledger import days_as_json, print_days, read_ledger

    spec = find_spec(job) if job else None
    chosen = _locations(location) if spec is None or location else (spec.location,)
    now = datetime.now(UTC)
    read = [(item, read_ledger(item, days=days, job=spec.name if spec else None, now=now)) for item in chosen]
    if as_json:
        print_json({"days": days, "rows": [row for item, found in read for row in days_as_json(item, found)]})
        return
    for item, found in read:
        print_days(item, found)


@app.command("explain")
def explain_row(
    table: Annotated[str, typer.Argument(help="A table of the service, as the database names it.")],
    key: Annotated[str, typer.Argument(help="The row's key; of several columns, a JSON array of their values.")],
    location: LocationName = None,
    as_json: Json = False,
) -> None:
    """Tell which run deleted a row, by which rule; or which rule will take it and when, or why none does."""
    from cath_dagster.cli.ledger import explain_row, explanation_as_json, print_explanation

    explanation = explain_row(_locations(location), table, key, now=datetime.now(UTC))
    if as_json:
        print_json(explanation_as_json(explanation))
    else:
        print_explanation(explanation)


@app.command("restore")
def restore_deleted(
    run_id: Annotated[str, typer.Argument(help="The run whose deletions to undo, as the ledger names it.")],
    table: Annotated[str | None, typer.Option(help="Put back rows of this table only.")] = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Put back only rows for which this condition over their columns holds."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report what would come back, and change nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Put back what a run deleted, while the job's undo_days last; what exists is skipped.

    Files that wait for their deletion are taken off the queue. What was put back is left alone for as long again. Exit
    code 3 if rows cannot come back; the others do.
    """
    from cath_dagster.cli.restore import print_restore, restore_run
    from cath_dagster.core.restore.preparation import Request

    request = Request(run_id=run_id, table=table, where=where, dry_run=dry_run)
    try:
        with TerminalReporter(verbose=not as_json, quiet=True) as reporter:
            result = restore_run(locations(), request, now=datetime.now(UTC), reporter=reporter)
    except MaintenanceError as error:
        if as_json:
            status = Status.REFUSED if isinstance(error, RefusedError) else Status.FAILED
            unusable = RunResult(
                location="", job="", run_id=run_id, dry_run=dry_run, as_of=None, status=status, error=str(error)
            )
            print_json(unusable.as_json())
        raise
    if as_json:
        print_json(result.as_json())
    else:
        print_restore(result)
    if result.status is not Status.SUCCESS:
        raise typer.Exit(IN_PART if result.left_out else FAILED)


@app.command("sample")
def make_sample(
    scale: Annotated[float, typer.Option(help="1 makes about 260,000 rows.", min=0.01, max=1_000)] = 1.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Drop the sample databases and make them anew.")] = False,
) -> None:
    """Create and fill a sample database of each service on an embedded PostgreSQL, and say how to use them."""
    from cath_dagster.development.local import Local, forget_outside

    forget_outside()
    local = Local.here()
    local.start_database()
    with TerminalReporter(verbose=True) as reporter:
        local.make_samples(scale=scale, fresh=fresh, reporter=reporter)
    out.print("The samples are ready. To use them in this shell:")
    for name, value in sorted(local.shell_environment().items()):
        out.print(f"export {name}='{value}'", markup=False, soft_wrap=True)


@views_app.command("drop")
def drop_views(location: LocationName = None, as_json: Json = False) -> None:
    """Drop the views, so that the service's own migrations can change the tables below them."""
    from cath_dagster.cli.views import drop_all

    dropped = {chosen.name: drop_all(chosen) for chosen in _locations(location)}
    if as_json:
        print_json(dropped)
    else:
        for name, views in dropped.items():
            out.print(f"{name}: dropped {', '.join(views) or 'nothing, there were no views'}")


@views_app.command("create")
def create_views(as_json: Json = False) -> None:
    """Create what is missing and refresh the rest: the same as `run refresh_views`."""
    _finish(_execute("refresh_views", {}, partition=None, as_json=as_json, quiet=True), as_json=as_json)


@governance_app.command("report")
def report_governance(
    day: Annotated[str | None, typer.Option(metavar="DAY", help="A day like 2026-11-20; today by default.")] = None,
    as_json: Json = False,
) -> None:
    """Show which of CheckTick's deletions were due on a day, done, held and by whose authority, and overdue and why.

    Exit code 1 if one is overdue that nothing holds.
    """
    from cath_dagster.cli.governance import print_report, read_day, report_as_json

    report = read_day(day, now=datetime.now(UTC))
    if as_json:
        print_json(report_as_json(report))
    else:
        print_report(report)
    if report.alerts:
        raise typer.Exit(FAILED)


@roles_app.command("sql")
def print_role_sql(
    location: Annotated[str, typer.Argument(help="A code location.")],
    role: JobsRole = None,
    restore_role: RestoreRole = None,
) -> None:
    """Print the statements by which `migrate --role` would change a role, for whoever may run them. Changes nothing."""
    from cath_dagster.cli.roles import Roles, write_roles

    roles = Roles(jobs=role, restore=restore_role)
    if not roles:
        raise ConfigurationError("name the role: --role, or --restore-role")
    for change in write_roles(find_location(location), roles, now=datetime.now(UTC)):
        for statement in change.statements:
            out.print(statement, markup=False, highlight=False, soft_wrap=True)


@indexes_app.command("build")
def build_indexes(
    location: LocationName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the statements, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Build the indexes on foreign keys that doctor warns of, without locking anyone out.

    As the role of the DATABASE_URL, which must own the tables. The service's own migrations own its schema: to Prisma
    these indexes are drift, so in the long run move them into the service's migrations.
    """
    from cath_dagster.cli.indexes import build_all
    from cath_dagster.cli.output import print_builds

    builds = {chosen.name: build_all(chosen, dry_run=dry_run) for chosen in _locations(location)}
    if as_json:
        print_json({name: [build.as_json() for build in done] for name, done in builds.items()})
    else:
        for name, done in builds.items():
            print_builds(name, done, dry_run=dry_run)
    if any(build.error for done in builds.values() for build in done):
        raise typer.Exit(FAILED)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; every failure of ours becomes one line on standard error and an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(args=arguments, standalone_mode=True)
    except (ConfigurationError, UnknownJobError) as error:
        print_error(str(error))
        sys.exit(WRONG_USAGE)
    except MaintenanceError as error:
        print_error(str(error))
        sys.exit(FAILED)
    sys.exit(0)


def _execute(name: str, given: dict[str, Any], *, partition: str | None, as_json: bool, quiet: bool) -> RunResult:
    run_id = str(uuid.uuid4())
    try:
        spec = find_spec(name)
        environ = MountedEnvironment()
        read_config(spec, given, environ=environ, now=datetime.now(UTC))
        check_partition(spec, partition)
        is_json(environ)
    except (ConfigurationError, UnknownJobError) as error:
        if as_json:
            unusable = RunResult(
                location="", job=name, run_id=run_id, dry_run=given.get("dry_run", False), as_of=None,
                status=Status.FAILED, error=str(error),
            )  # fmt: skip
            print_json(unusable.as_json())
        raise
    with _reporter(spec, run_id, as_json=as_json, quiet=quiet) as reporter:
        return perform(
            Request(spec=spec, given=given, run_id=run_id, partition=partition),
            resources=_resources(spec.location),
            environ=environ,
            reporter=reporter,
        )


def _reporter(spec: JobSpec, run_id: str, *, as_json: bool, quiet: bool) -> JsonReporter | TerminalReporter:
    environ = MountedEnvironment()
    if is_json(environ):
        return JsonReporter(spec, run_id, environ, quiet=quiet)
    return TerminalReporter(verbose=not as_json, quiet=quiet)


def _finish(result: RunResult, *, as_json: bool, verbose: bool = False) -> None:
    report = find_spec(f"{result.location}/{result.job}").console_report
    if as_json:
        print_json(result.as_json())
    elif report is not None:
        print_report_of_run(report(result, verbose))
        print_result(result, outcomes=verbose, with_error=not is_json(MountedEnvironment()))
    else:
        print_result(result, with_error=not is_json(MountedEnvironment()))
    if result.status is not Status.SUCCESS:
        raise typer.Exit(FAILED)


def _given(
    *, dry_run: bool, as_of: str | None, max_rows: int | None, allow_large: bool, settings: list[str] | None
) -> dict[str, Any]:
    options = {"dry_run": dry_run, "as_of": as_of, "max_rows": max_rows, "allow_large": allow_large}
    given = {name: value for name, value in options.items() if value is not None and value is not False}
    for item in settings or []:
        key, found, value = item.partition("=")
        if not found:
            raise ConfigurationError(f"--set {item}: write it as KEY=VALUE")
        given[key.strip()] = value.strip()
    return given


def _next_tick(spec: JobSpec, now: datetime) -> str | None:
    tick = spec.next_tick(now)
    return tick.astimezone(ZoneInfo(spec.location.timezone)).isoformat() if tick else None


def _list_settings(specs: Sequence[JobSpec], *, as_json: bool) -> None:
    environ = MountedEnvironment()
    rows = [
        {
            "job": spec.key,
            "key": key,
            "variable": variable(spec.location.name, spec.name, key),
            "default": str(info.default),
            "set_to": environ.get(variable(spec.location.name, spec.name, key)),
            "description": info.description,
        }
        for spec in specs
        for key, info in spec.settings.model_fields.items()
    ]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        default = f"default {row['default']}" + (f", set to {row['set_to']}" if row["set_to"] else "")
        out.print(f"[bold]{row['variable']}[/bold]  {default}")
        out.print(f"    {row['description']}", markup=False)


def _locations(name: str | None) -> tuple[CodeLocation, ...]:
    """Return the location called `name`, without one all that are in use here: those with a database."""
    if name is not None:
        return (find_location(name),)
    in_use = tuple(location for location in locations() if _resources(location).is_configured)
    if not in_use:
        variables = ", ".join(f"{location.prefix}_DATABASE_URL" for location in locations() if not location.resources)
        raise MissingConfigurationError(f"none of {variables} is set; set that of the service you mean")
    return in_use


def _resources(location: CodeLocation) -> EnvironmentResources:
    return open_resources(location)


def _driver_errors() -> type[Exception]:
    from sqlalchemy.exc import DBAPIError

    return DBAPIError


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Turn SIGTERM into an exit, on whose way out the statement on the server is cancelled."""
    del number, frame
    raise SystemExit(TERMINATED)
