"""Where Dagster keeps runs and events: the PostgreSQL of the environment, or nowhere for longer than one command."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, Self

import dagster as dg

from cath_dagster.adapters.history_writer import INSTANCE_URL
from cath_dagster.adapters.mounted import MountedEnvironment, hand_down, read_unmounted
from cath_dagster.orchestration.internals.storages import (
    ConfigurableClass,
    ConfigurableClassData,
    DagsterStorage,
    UserConfigSchema,
    postgres_storage,
    sqlite_storage,
)

VARIABLE = INSTANCE_URL
TEMPORARY = "CATH_DAGSTER_TEMPORARY_STORAGE"


class EnvironmentStorage(DagsterStorage, ConfigurableClass):
    """Chooses the storage when an instance is opened.

    With `DAGSTER_POSTGRES_URL` it is that database. Without it, and without `DAGSTER_HOME`, the instance is one
    that Dagster itself throws away at the end of the command (`dagster job execute` in CI), and so is its storage.
    A lasting instance without a database is refused: its queue would limit nothing and its runs would be lost.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return {}

    @classmethod
    def from_config_value(  # type: ignore[override]  # it chooses between classes
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> DagsterStorage | Self:
        del config_value
        url = MountedEnvironment().get(VARIABLE)
        if url:
            # Dagster speaks to its own storage through psycopg 2, whatever the URL's default driver is.
            driver_url = re.sub("^postgres(ql)?://", "postgresql+psycopg2://", url)
            return postgres_storage(driver_url, inst_data)
        if read_unmounted("DAGSTER_HOME"):
            raise dg.DagsterInvalidInvocationError(
                f"{VARIABLE} is not set; set it to the database that keeps Dagster's runs and events"
            )
        return sqlite_storage(_temporary_folder(), inst_data)


def _temporary_folder() -> str:
    """Return the folder that this command and the processes it starts share; its first user removes it."""
    folder = read_unmounted(TEMPORARY)
    if folder is None:
        folder = tempfile.mkdtemp(prefix="cath-dagster-")
        hand_down(TEMPORARY, folder)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
