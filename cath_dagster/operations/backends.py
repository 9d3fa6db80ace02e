"""The outside of this location: the database in which Dagster keeps runs and events, and its compute logs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

import sqlalchemy as sa

from cath_dagster.adapters.environment import EnvironmentBackends
from cath_dagster.adapters.mounted import MountedEnvironment, read_unmounted
from cath_dagster.adapters.postgres import open_engine
from cath_dagster.core.errors import (
    ConfigurationError,
    DatabaseUnavailableError,
    MissingConfigurationError,
    SchemaNotCurrentError,
)
from cath_dagster.core.maintenance.migrations import migrate
from cath_dagster.core.maintenance.tables import check_current
from cath_dagster.core.ports.blobs import BlobStore, BlobStoreError, Listed, Removal, RemovalResult
from cath_dagster.operations import OPERATIONS

if TYPE_CHECKING:
    # It takes seconds to load; the command line asks for these resources without it, and the instance is the caller's.
    import dagster as dg

HOME = "DAGSTER_HOME"
LOCK = f"{OPERATIONS.name}/migrate"


def open_backends(instance: object = None) -> "InstanceBackends":
    """Return the outside as an instance has it, by default the one of `DAGSTER_HOME`."""
    return InstanceBackends(cast("dg.DagsterInstance | None", instance))


class InstanceBackends(EnvironmentBackends):
    """Takes from the instance what other locations take from their variables: nothing can point elsewhere."""

    def __init__(self, instance: "dg.DagsterInstance | None" = None) -> None:
        # The environment is not complete before the URL is known, and that is found out when it is asked for.
        self.prefix = OPERATIONS.prefix
        self._instance = instance

    @property
    def is_configured(self) -> bool:
        return self._instance is not None or bool(read_unmounted(HOME))

    @cached_property
    def instance(self) -> "dg.DagsterInstance":
        """The instance; raises `MissingConfigurationError` where nobody has said which."""
        if self._instance is not None:
            return self._instance
        if not read_unmounted(HOME):
            raise MissingConfigurationError(f"{HOME} not set; set it to the folder of the instance's dagster.yaml")
        import dagster as dg
        from dagster_postgres.utils import DagsterPostgresException

        try:
            return dg.DagsterInstance.get()
        except dg.DagsterInvalidInvocationError as error:
            raise ConfigurationError(str(error)) from None
        except DagsterPostgresException as error:
            said = str(error).splitlines()[0]
            raise DatabaseUnavailableError(f"the instance's storage cannot be reached: {said}") from None

    @property
    def url(self) -> str:
        """The libpq URL of Dagster's storage; raises `ConfigurationError` for another than PostgreSQL."""
        # It imports Dagster.
        from cath_dagster.orchestration.instance_url import postgres_url

        url = postgres_url(self.instance)
        if url is None:
            kind = type(self.instance.run_storage).__name__
            raise ConfigurationError(f"the instance keeps its runs in {kind}; {OPERATIONS.name} needs PostgreSQL")
        return url

    @property
    def environ(self) -> Mapping[str, str]:  # type: ignore[override]  # nobody assigns to it
        return MountedEnvironment(known={f"{self.prefix}_DATABASE_URL": self.url})

    def prepare(self) -> None:
        """Make our schema where it is missing or older, as Dagster makes its own tables when it needs them."""
        with self.disposed_engine("prepare") as engine, engine.begin() as connection:
            # Two sensors of a new version come here at once.
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(LOCK, 0))))
            try:
                check_current(connection, location=OPERATIONS.name, revision=OPERATIONS.revision)
            except SchemaNotCurrentError:
                migrate(engine, OPERATIONS)

    def engine(self, application_name: str) -> sa.Engine:
        return open_engine(self.url, variable="the instance's storage", application_name=application_name)

    def store(self, name: str, *, made_on_demand: bool = False) -> BlobStore:
        del name, made_on_demand  # there is one: Dagster's own
        return ComputeLogs(self.instance)


class ComputeLogs:
    """What runs printed, as a store in which a run's id is the path of all that it printed."""

    def __init__(self, instance: "dg.DagsterInstance") -> None:
        self._logs = instance.compute_log_manager

    def delete(self, paths: Sequence[str]) -> Mapping[str, RemovalResult]:
        return {path: self._delete(path) for path in paths}

    def put(self, path: str, content: bytes) -> None:
        raise BlobStoreError(f"{path}: runs alone write compute logs, not {len(content)} bytes from here")

    def replace(self, path: str, content: bytes) -> None:
        self.put(path, content)

    def get(self, path: str) -> bytes:
        raise BlobStoreError(f"{path}: compute logs are not read here")

    def list(self, prefix: str) -> Iterator[str]:
        raise BlobStoreError(f"{prefix}: compute logs are not listed here")

    def list_files(self, prefix: str) -> Iterator[Listed]:
        raise BlobStoreError(f"{prefix}: compute logs are not listed here")

    def address(self, path: str) -> str:
        return f"compute logs of run {path}"

    def check(self, container: str) -> None:
        """Do nothing: a compute log manager can only be asked for a run's logs."""

    def _delete(self, run_id: str) -> RemovalResult:
        try:
            self._logs.delete_logs(prefix=[run_id])
        except Exception as error:  # noqa: BLE001 - whatever client the manager has; the run stays queued
            return RemovalResult(Removal.FAILED, type(error).__name__)
        return RemovalResult(Removal.DELETED)
