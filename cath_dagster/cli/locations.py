"""Find jobs and code locations by the names that people type."""

import difflib

from cath_dagster.core.errors import UnknownJobError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.spec import JobSpec, load_specs
from cath_dagster.locations import LOCATIONS


def locations() -> tuple[CodeLocation, ...]:
    """Return every code location of this version."""
    return LOCATIONS


def all_specs() -> list[JobSpec]:
    """Return every job of every location."""
    return [spec for location in LOCATIONS for spec in load_specs(location)]


def find_spec(name: str) -> JobSpec:
    """Return the job called `name`, with or without its location.

    Raises `UnknownJobError` with the names that come close.
    """
    specs = {spec.key: spec for spec in all_specs()}
    found = [spec for spec in specs.values() if name in (spec.key, spec.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownJobError(f"{name} is the name of several jobs: {', '.join(spec.key for spec in found)}")
    names = [spec.name for spec in specs.values()]
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(names)}"
    raise UnknownJobError(f"there is no job {name!r}; {hint}")


def find_location(name: str) -> CodeLocation:
    """Return the location called `name`; raise `UnknownJobError` if there is none."""
    for location in LOCATIONS:
        if location.name == name:
            return location
    raise UnknownJobError(
        f"there is no code location {name!r}; there are {', '.join(location.name for location in LOCATIONS)}"
    )
