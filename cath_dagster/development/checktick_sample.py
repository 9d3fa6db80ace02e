"""Fill a CheckTick database with a deterministic sample in which both jobs find work and something to leave alone."""

from importlib import resources

import psycopg


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys and indexes; the caller owns the transaction."""
    ddl = resources.files("cath_dagster.development").joinpath("checktick_schema.sql").read_bytes()
    connection.execute(ddl)
