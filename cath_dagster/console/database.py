"""The database of a location, as commands open it that read what is ours in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from cath_dagster.adapters.environment import open_backends
from cath_dagster.core.maintenance.tables import check_current
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.postgres.database import Database


@contextmanager
def open_database(location: CodeLocation, purpose: str) -> Iterator[Database]:
    """Yield a location's database; raise `SchemaNotCurrentError` where the ledger is missing or an older one."""
    with open_backends(location).database(purpose) as database:
        database.transaction(
            lambda connection: check_current(connection, location=location.name, revision=location.revision)
        )
        yield database
