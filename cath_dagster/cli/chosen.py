"""Which code locations a command is about."""

from cath_dagster.adapters.environment import open_backends
from cath_dagster.core.errors import MissingConfigurationError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.registry import find_location, locations


def choose(name: str | None) -> tuple[CodeLocation, ...]:
    """Return the location called `name`, without one all that are in use here: those with a database."""
    if name is not None:
        return (find_location(name),)
    in_use = tuple(location for location in locations() if open_backends(location).is_configured)
    if not in_use:
        variables = ", ".join(f"{location.prefix}_DATABASE_URL" for location in locations() if not location.backends)
        raise MissingConfigurationError(f"none of {variables} is set; set that of the service you mean")
    return in_use
