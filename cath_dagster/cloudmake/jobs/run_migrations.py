"""Apply the service's pending migrations, as drizzle-orm would, and refuse what drizzle-orm would silently get wrong."""

import enum
from pathlib import Path

import sqlalchemy as sa
from pydantic import Field

from cath_dagster.cloudmake import CLOUDMAKE, OWNER
from cath_dagster.cloudmake.environment import Environment, read_environment, require_confirm
from cath_dagster.cloudmake.service_migrations import applying
from cath_dagster.cloudmake.service_migrations.applying import Applier, Layout
from cath_dagster.cloudmake.service_migrations.folder import Folder, read_drizzle_folder, read_plain_folder
from cath_dagster.cloudmake.service_migrations.history import Decision
from cath_dagster.cloudmake.service_migrations.migration import Migration, enum_values_used
from cath_dagster.core.errors import ConfigurationError, PreflightError
from cath_dagster.core.model.outcome import Outcome
from cath_dagster.core.model.scalar import Scalar
from cath_dagster.core.model.settings import JobSettings
from cath_dagster.core.ports.mail import Content
from cath_dagster.core.run.job_parts import DatabaseWork
from cath_dagster.core.run.job_run import JobRun
from cath_dagster.core.run.spec import JobSpec

TARGET = "migrations"
VARIABLE = "MIGRATIONS_PATH"
RULE = "pending migrations are applied"


class LayoutName(enum.StrEnum):
    DRIZZLE = "drizzle"
    FILES = "files"


class RunMigrationsSettings(JobSettings):
    """How the folder is laid out, and what is accepted of it."""

    confirm: bool = Field(
        default=False,
        description="Apply migrations in production. Without it a run there is refused; a dry run is not.",
    )
    layout: LayoutName = Field(
        default=LayoutName.DRIZZLE,
        description="drizzle: a folder of drizzle-kit's with meta/_journal.json, all that is pending in one transaction. "
        "files: plain files in the order of their names, a transaction each, written down in public._migration_log.",
    )
    lock_timeout_seconds: int = Field(
        default=5,
        ge=1,
        le=300,
        description="Seconds that a statement waits for a lock. Who uses the table waits behind it meanwhile. The transaction "
        "is rolled back then, and tried again seven times at the most.",
    )
    accept_changed: str = Field(
        default="",
        description="Tags, with commas between, of applied migrations whose files were changed since: the hash that is "
        "written down becomes that of the file. Without it such a run is refused.",
    )

    @property
    def accepted(self) -> frozenset[str]:
        """The tags of `accept_changed`."""
        return frozenset(filter(None, (tag.strip() for tag in self.accept_changed.split(","))))


def prepare(run: JobRun, settings: RunMigrationsSettings) -> None:
    """Look at the environment and the folder."""
    read_environment(run)
    run.refuse(_read_folder(run, settings).refusals)


def run_migrations(run: JobRun, settings: RunMigrationsSettings) -> None:
    """Apply what is pending; in a dry run show its SQL."""
    # The doctor prepares as well, and has nothing to confirm.
    if read_environment(run) is Environment.PRODUCTION:
        require_confirm(run, is_given=settings.confirm, because="this is production")
    layout = _layout(_read_folder(run, settings), settings)
    decision = applying.look(run.database, layout)
    for note in decision.notes:
        run.note(note)
    pending = _within_limit(run, decision)
    run.refuse(decision.refusals)
    if run.dry_run:
        _show(run, pending, is_one_transaction=layout.is_one_transaction)
        run.record(Outcome(target=TARGET, matched=len(pending), details=_details(decision.pending, {})))
        return
    _apply(run, settings, layout, decision)


def _read_folder(run: JobRun, settings: RunMigrationsSettings) -> Folder:
    path, variable = Path(run.require(VARIABLE)[VARIABLE]), f"{CLOUDMAKE.prefix}_{VARIABLE}"
    if settings.layout is LayoutName.FILES:
        return read_plain_folder(path, variable)
    folder = read_drizzle_folder(path, variable)
    unknown = settings.accepted - {migration.tag for migration in folder.migrations}
    if unknown:
        raise ConfigurationError(
            f"accept_changed names {', '.join(sorted(unknown))}, of which the journal knows nothing"
        )
    return folder


def _layout(folder: Folder, settings: RunMigrationsSettings) -> Layout:
    if settings.layout is LayoutName.FILES:
        return applying.plain_files(folder.migrations)
    return applying.drizzle(folder.migrations, accepted=settings.accepted)


def _within_limit(run: JobRun, decision: Decision) -> tuple[Migration, ...]:
    """Return what this run would apply of what is pending."""
    limit = run.request.options.max_rows
    try:
        taken = tuple(applying.take(decision.pending, limit))
    except PreflightError as error:
        run.refuse([str(error)])
        return decision.pending
    if len(taken) < len(decision.pending):
        run.note(f"max_rows reached: {len(decision.pending) - len(taken)} migrations are left for the next run")
    return taken


def _show(run: JobRun, pending: tuple[Migration, ...], *, is_one_transaction: bool) -> None:
    """Say what would be run, as it would be."""
    for migration in pending:
        run.reporter.info(f"-- {migration.tag}, {migration.hash}\n{migration.text}")
        run.account.previews[migration.tag] = Content(subject=migration.tag, text=migration.text, html="")
    groups = [list(pending)] if is_one_transaction else [[migration] for migration in pending]
    for group in groups:
        for doubt in enum_values_used(group):
            run.note(f"{doubt}; if so, PostgreSQL refuses it in the same transaction, and the run with it")


def _apply(run: JobRun, settings: RunMigrationsSettings, layout: Layout, decision: Decision) -> None:
    started = run.clock()

    def count(connection: sa.Connection, migrations: int) -> None:
        run.ledger.record_batch(connection, {TARGET: {"updated": migrations}}, rule=RULE)

    with run.open_database() as database:
        applier = Applier(
            database=database,
            layout=layout,
            lock_timeout_seconds=settings.lock_timeout_seconds,
            limit=run.request.options.max_rows,
            clock=run.clock,
            say=run.reporter.info,
            on_applied=count,
        )
        try:
            applier.apply()
        finally:
            run.record(
                Outcome(
                    target=TARGET,
                    matched=len(decision.pending),
                    updated=len(applier.applied),
                    batches=1 if layout.is_one_transaction and applier.applied else len(applier.applied),
                    seconds=run.clock() - started,
                    details=_details(decision.pending, applier.applied),
                )
            )
    for migration in decision.changed.values():
        run.note(f"{migration.tag}: the changed file is accepted, and its hash written down")


def _details(pending: tuple[Migration, ...], applied: dict[str, float]) -> dict[str, Scalar]:
    details: dict[str, Scalar] = {"pending_before": len(pending)}
    if pending:
        details["pending"] = [f"{migration.tag} {migration.hash}" for migration in pending]
    if applied:
        details["applied"] = [f"{tag} {seconds:.2f} s" for tag, seconds in applied.items()]
    return details


SPEC = JobSpec(
    location=CLOUDMAKE,
    name="run_migrations",
    owner=OWNER,
    summary="Applies the service's pending migrations, and refuses what Drizzle would silently get wrong.",
    description=(
        "Applies what is pending in CLOUDMAKE_MIGRATIONS_PATH exactly as drizzle-orm does: in the journal's order, all in one "
        "transaction, written down in drizzle.__drizzle_migrations. It holds a lock that makes drizzle-kit and drizzle-orm wait. "
        "Refused, with the migration's tag: one that came late and would be skipped for ever, an applied one whose file has "
        "changed, an applied one that the journal does not know, a missing file, CONCURRENTLY, a transaction of its own. "
        "A failure undoes all of it. To undo what was applied, write a migration that takes it back. In production it needs "
        "confirm. A dry run prints the SQL. Before the first run: cath-dagster migrate cloudmake."
    ),
    settings=RunMigrationsSettings,
    run=run_migrations,
    prepare=prepare,
    required_variables=("ENVIRONMENT", VARIABLE),
    database=DatabaseWork(targets=(TARGET,)),
)
