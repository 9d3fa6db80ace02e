"""The interface of a storage class, and the storages that there are."""

from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData

__all__ = ["ConfigurableClass", "ConfigurableClassData", "DagsterStorage", "UserConfigSchema"]


def postgres_storage(url: str, inst_data: ConfigurableClassData | None) -> DagsterStorage:
    from dagster_postgres import DagsterPostgresStorage

    storage: DagsterStorage = DagsterPostgresStorage(url, inst_data=inst_data)
    return storage


def sqlite_storage(folder: str, inst_data: ConfigurableClassData | None) -> DagsterStorage:
    from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

    return DagsterSqliteStorage(folder, inst_data=inst_data)
