"""Drop the views of a location, as a deployment of the service asks for."""

import importlib

from cath_dagster.adapters.environment import EnvironmentResources
from cath_dagster.core.database import Database
from cath_dagster.core.spec import Location
from cath_dagster.core.views import View, drop


def drop_all(location: Location) -> list[str]:
    """Drop the location's views that exist, all or none; return their names."""
    views: tuple[View, ...] = importlib.import_module(f"{location.package}.views").VIEWS
    engine = EnvironmentResources(location.prefix).engine("views drop")
    try:
        with Database(engine) as database:
            return drop(database, views)
    finally:
        engine.dispose()
