"""A sample of BON: its schema and, in a first approximation of a small service, its rows."""

from importlib import resources

import psycopg


def create_schema(connection: psycopg.Connection) -> None:
    """Create the service's tables, keys and indexes; the caller owns the transaction."""
    ddl = resources.files("cath_dagster.development").joinpath("bon_schema.sql").read_bytes()
    connection.execute(ddl)
