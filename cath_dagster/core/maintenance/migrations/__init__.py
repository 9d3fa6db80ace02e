"""Migrate the schema `maintenance`: our own tables, and a service's beside them, each on a branch of its own."""

import os
from pathlib import Path

import sqlalchemy as sa

from cath_dagster.core.maintenance.old_keys import forget_old_keys
from cath_dagster.core.maintenance.tables import SCHEMA
from cath_dagster.core.model.location import CodeLocation, package_folder
from cath_dagster.core.postgres.followers import require_writes

LOCK = f"{SCHEMA}/migrate"
PATIENCE = "10min"
"""For whoever migrates already: as long as the longest migration may take."""


def migrate(engine: sa.Engine, location: CodeLocation) -> tuple[str, ...]:
    """Bring the schema to the newest revisions, in one transaction; return the revisions it is at.

    Keys of rows that were deleted two years ago are forgotten on the way. Who comes while another is at it waits, and finds
    nothing left to do. The database's role needs CREATE on the database the first time. Alembic is imported here only: no
    run needs it.
    """
    from alembic import command
    from alembic.config import Config

    folder = Path(__file__).parent
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    versions = [folder / "versions"]
    if location.revision is not None:
        versions.append(package_folder(location.package) / "migrations")
    config.set_main_option("version_locations", os.pathsep.join(map(str, versions)))
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        require_writes(connection)
        take_turns(connection)
        connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
        config.attributes["connection"] = connection
        command.upgrade(config, "heads")
        forget_old_keys(connection)
        version = sa.table("alembic_version", sa.column("version_num", sa.Text), schema=SCHEMA)
        return tuple(sorted(connection.scalars(sa.select(version.c.version_num))))


def take_turns(connection: sa.Connection) -> None:
    """Wait until nobody else changes our objects and their privileges, and keep others from it to the transaction's end."""
    patience = connection.scalar(sa.select(sa.func.current_setting("lock_timeout")))
    is_local = sa.true()
    connection.execute(sa.select(sa.func.set_config("lock_timeout", PATIENCE, is_local)))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(LOCK, 0))))
    connection.execute(sa.select(sa.func.set_config("lock_timeout", patience, is_local)))
