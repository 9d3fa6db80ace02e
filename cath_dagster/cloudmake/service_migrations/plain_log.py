"""Which plain files were applied, as the service's own runner writes it down: their names, and nothing of what was in them."""

from collections.abc import Collection, Sequence

import sqlalchemy as sa

from cath_dagster.cloudmake.service_migrations.history import Decision
from cath_dagster.cloudmake.service_migrations.migration import Migration, find_obstacles
from cath_dagster.core.postgres.session import SERVICE

NAME = "_migration_log"

table = sa.Table(
    NAME,
    sa.MetaData(schema=SERVICE),
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
    sa.Column("filename", sa.Text, nullable=False, unique=True),
)
CREATE = (
    f"""
    CREATE TABLE IF NOT EXISTS {SERVICE}.{NAME} (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        filename text NOT NULL UNIQUE,
        applied_at timestamptz NOT NULL DEFAULT now()
    )""",
)


def read(connection: sa.Connection) -> list[str]:
    """Return the names of the files that were applied; the table is there."""
    return list(connection.scalars(sa.select(table.c.filename)))


def record(connection: sa.Connection, migration: Migration) -> None:
    """Write down that a file was applied, in the caller's transaction."""
    connection.execute(sa.insert(table).values(filename=migration.tag))


def decide(migrations: Sequence[Migration], applied: Collection[str]) -> Decision:
    """Return every file that was not applied yet; one that sorts before an applied one is applied all the same."""
    pending = [migration for migration in migrations if migration.tag not in applied]
    known = {migration.tag for migration in migrations}
    newest = max((tag for tag in known if tag in applied), default="")
    return Decision(
        pending=tuple(pending),
        refusals=tuple(obstacle for migration in pending for obstacle in find_obstacles(migration)),
        notes=(
            *(f"{each.tag} is applied after {newest}, which sorts behind it" for each in pending if each.tag < newest),
            *(f"{tag} was applied, and its file is not there any more" for tag in sorted(set(applied) - known)),
        ),
    )
