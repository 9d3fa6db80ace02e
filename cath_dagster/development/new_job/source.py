"""Where the service's schema is read from: its own database if one is configured, else the schema of its sample."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from cath_dagster.adapters.environment import EnvironmentBackends, open_backends
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.development.local import Local
from cath_dagster.development.samples import sample_of


@contextmanager
def catalogue_of(location: CodeLocation) -> Iterator[tuple[sa.Connection, str]]:
    """Yield a connection whose catalogue has the service's tables, and in words where that is. Changes nothing."""
    backends = open_backends(location)
    if backends.is_configured:
        with backends.disposed_engine("new-job") as engine, engine.connect() as connection:
            yield connection, f"the database of {location.prefix}_DATABASE_URL"
        return
    sample = sample_of(location)
    cluster = Local.here().postgres
    cluster.start()
    own = EnvironmentBackends("SAMPLE", {"SAMPLE_DATABASE_URL": cluster.url("postgres")})
    # What a transaction makes and rolls back leaves nothing, also if it is killed.
    with own.disposed_engine("new-job") as engine, engine.connect() as connection, connection.begin() as transaction:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)  # noqa: S101 - by our engine
        sample.create_schema(driver)
        yield connection, f"the sample's schema, on the embedded PostgreSQL in {cluster.home}"
        transaction.rollback()
