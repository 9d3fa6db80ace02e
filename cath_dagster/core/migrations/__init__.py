"""Migrate the schema `maintenance`: our own tables, and a service's beside them, each on a branch of its own."""

import os
from pathlib import Path

import sqlalchemy as sa

from cath_dagster.core.forgetting import forget_old_keys
from cath_dagster.core.maintenance import SCHEMA
from cath_dagster.core.spec import Location, package_folder


def migrate(engine: sa.Engine, location: Location) -> tuple[str, ...]:
    """Bring the schema to the newest revisions, in one transaction; return the revisions it is at.

    Keys of rows that were deleted two years ago are forgotten on the way.

    The database's role needs CREATE on the database the first time. Alembic is imported here only: no run needs it.
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
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
        config.attributes["connection"] = connection
        command.upgrade(config, "heads")
        forget_old_keys(connection)
        version = sa.table("alembic_version", sa.column("version_num", sa.Text), schema=SCHEMA)
        return tuple(sorted(connection.scalars(sa.select(version.c.version_num))))
