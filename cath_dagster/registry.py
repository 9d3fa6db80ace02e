"""The one list of code locations. Whoever needs them all, or the jobs of all, asks here.

A location's package is named and not imported, so that this list lies below the services that it names. What else a
location needs is derived from here, or `development.places` says where it is missing.
"""

import difflib
import importlib
from collections.abc import Iterable
from functools import cache

from cath_dagster.core.errors import UnknownJobError
from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.spec import JobSpec, SpecificationError, load_specs

PACKAGES = (
    "cath_dagster.cath",
    "cath_dagster.bon",
    "cath_dagster.checktick",
    "cath_dagster.cloudmake",
    "cath_dagster.hay",
    "cath_dagster.operations",
)
"""In the order in which people see them."""


def locations() -> tuple[CodeLocation, ...]:
    """Return every code location of this version."""
    return tuple(map(_location_of, PACKAGES))


def all_specs() -> tuple[JobSpec, ...]:
    """Return every job of every location."""
    return _specs_of(PACKAGES)


def spec_of(key: str) -> JobSpec | None:
    """Return the job of a queue key, `<location>/<job>`; None for one that is not ours."""
    return next((spec for spec in all_specs() if spec.key == key), None)


def find_spec(name: str) -> JobSpec:
    """Return the job called `name`, with or without its location.

    Raises `UnknownJobError` with the names that come close.
    """
    specs = all_specs()
    found = [spec for spec in specs if name in (spec.key, spec.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UnknownJobError(f"{name} is the name of several jobs: {', '.join(spec.key for spec in found)}")
    names = [spec.name for spec in specs]
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(names)}"
    raise UnknownJobError(f"there is no job {name!r}; {hint}")


def find_location(name: str) -> CodeLocation:
    """Return the location called `name`; raise `UnknownJobError` if there is none."""
    there = locations()
    for location in there:
        if location.name == name:
            return location
    raise UnknownJobError(f"there is no code location {name!r}; there are {', '.join(each.name for each in there)}")


@cache
def _specs_of(packages: tuple[str, ...]) -> tuple[JobSpec, ...]:
    specs = tuple(spec for package in packages for spec in load_specs(_location_of(package)))
    check_dependencies(specs)
    return specs


def check_dependencies(specs: Iterable[JobSpec]) -> None:
    """Raise `SpecificationError` where a job comes after one that is not there, or after itself.

    Of other locations those are looked into that are named, so that one loads without those that it has nothing to do with.
    """
    for spec in specs:
        _check_path(spec, (spec.key,), set())


def _check_path(spec: JobSpec, path: tuple[str, ...], done: set[str]) -> None:
    """Follow what a job comes after, depth first; what was followed to its end leads back to nothing."""
    for name in spec.after:
        if name in path:
            circle = (*path[path.index(name) :], name)
            raise SpecificationError(f"{name} comes after itself: {' after '.join(circle)}; take one of them out")
        if name not in done:
            _check_path(_dependency(spec, name), (*path, name), done)
    done.add(spec.key)


def _dependency(spec: JobSpec, name: str) -> JobSpec:
    location, _, job = name.partition("/")
    package = next((package for package in PACKAGES if package.rpartition(".")[2] == location), None)
    there = load_specs(_location_of(package)) if package is not None else ()
    found = next((each for each in there if each.name == job), None)
    if found is None:
        near = difflib.get_close_matches(job, [each.name for each in there], n=1)
        hint = f"did you mean {location}/{near[0]}?" if near else "write location/name of a job of this version"
        raise SpecificationError(f"{spec.key} comes after {name!r}, which is no job; {hint}")
    return found


def _location_of(package: str) -> CodeLocation:
    """Return the location that a package describes, by the constant of its own name."""
    name = package.rpartition(".")[2]
    location = getattr(importlib.import_module(package), name.upper(), None)
    if not isinstance(location, CodeLocation) or (location.name, location.package) != (name, package):
        raise SpecificationError(
            f"{package} does not say which code location it is; its __init__.py needs "
            f"{name.upper()} = CodeLocation(name={name!r}, package={package!r})"
        )
    return location
