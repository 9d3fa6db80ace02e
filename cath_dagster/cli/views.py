"""Drop the views of a location, as a deployment of the service asks for."""

import importlib
from importlib.util import find_spec

from cath_dagster.adapters.environment import open_backends
from cath_dagster.core.maintenance.view import View
from cath_dagster.core.maintenance.views import drop
from cath_dagster.core.model.location import CodeLocation


def drop_all(location: CodeLocation) -> list[str]:
    """Drop the location's views that exist, all or none; return their names."""
    views = views_of(location)
    if not views:
        return []
    with open_backends(location).database("views drop") as database:
        return drop(database, views)


def views_of(location: CodeLocation) -> tuple[View, ...]:
    """Return the views that a job of the location keeps."""
    if find_spec(f"{location.package}.views") is None:
        return ()
    views: tuple[View, ...] = importlib.import_module(f"{location.package}.views").VIEWS
    return views
