"""What stands in for the database in a run of a job that works on none: whoever asks it anything is told so."""

from collections.abc import Callable
from typing import NoReturn, TypeVar

import sqlalchemy as sa
from typing_extensions import override

from cath_dagster.core.errors import MaintenanceError
from cath_dagster.core.postgres.database import Database, Limits

T = TypeVar("T")


class NoDatabaseError(MaintenanceError):
    """A job asks the database something, and its specification says nothing of one."""


class NoDatabase(Database):
    """No connection is ever opened."""

    def __init__(self, job: str) -> None:
        """Name the job in what is said."""
        self._job = job

    @override
    def __exit__(self, *_: object) -> None: ...

    @override
    def lock(self, name: str) -> None:
        self._refuse()

    @override
    def transaction(
        self, work: Callable[[sa.Connection], T], *, limits: Limits | None = None, is_read_only: bool = False
    ) -> T:
        self._refuse()

    @override
    def autocommit(self, *statements: str) -> None:
        self._refuse()

    @override
    def flush(self) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NoDatabaseError(
            f"{self._job} works on no database by its specification; state what it uses: database=DatabaseWork(…)"
        )
