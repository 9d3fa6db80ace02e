"""Where each secret should be at GitHub, by which name and with which value; a missing one is never another environment's."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cath_dagster.cloudmake.environment import Environment
from cath_dagster.cloudmake.github_secrets.exclusions import Exclusions
from cath_dagster.cloudmake.github_secrets.projects import Project, SecretMapping
from cath_dagster.cloudmake.github_secrets.sources import Values
from cath_dagster.cloudmake.github_secrets.store import EVERYWHERE, check_environment, find_fault
from cath_dagster.core.errors import ConfigurationError, MaintenanceError
from cath_dagster.core.ports.github import Place, Scope

SUFFIXES: Mapping[str, Environment] = {
    "_DEV": Environment.DEV,
    "_STAGING": Environment.STAGING,
    "_PROD": Environment.PRODUCTION,
    "_PRODUCTION": Environment.PRODUCTION,
}
PUBLIC = ("NEXT_PUBLIC_", "EXPO_PUBLIC_")
"""Names of what every visitor's browser gets: no environment's."""
RENAMED = {"NEON_BRANCH": "NEON_BRANCH_ID"}
SCOPES = {str(scope): scope for scope in Scope if scope is not Scope.ENVIRONMENT}
"""What a mapping may name."""
NO_VALUE = "the source has no value for it"

EnvironmentNames = Mapping[Environment, str]
"""What each environment is called at GitHub."""


@dataclass(frozen=True)
class Wanted:
    """A secret in one place at GitHub, as it should be. With a `fault` it cannot be, and stays as it is."""

    place: Place
    name: str
    value: bytes | None = field(default=None, repr=False)
    fault: str = ""
    is_missing: bool = False

    @property
    def target(self) -> str:
        return str(self.place)


@dataclass(frozen=True)
class WantedSecret:
    """A secret of a project, and all the places where it should be."""

    mapping: SecretMapping
    targets: tuple[Wanted, ...] = ()
    is_excluded: bool = False
    excluded_targets: tuple[str, ...] = ()


def read_environment_names(given: str) -> EnvironmentNames:
    """Read `production=prod, staging=stage`; what is not named is called as we call it.

    Raises `ConfigurationError` for an environment that is not there, and for two of one name.
    """
    names = {environment: str(environment) for environment in Environment}
    for part in filter(None, (each.strip() for each in given.replace(":", "=").split(","))):
        ours, _, theirs = (each.strip() for each in part.partition("="))
        environment = check_environment(ours)
        if not ours or not theirs:
            raise ConfigurationError(f"environment_names has {part!r}; write it as production=prod")
        names[Environment(environment)] = theirs
    if len(set(names.values())) < len(names):
        raise ConfigurationError(f"environment_names gives two environments one name: {given}")
    return names


def find_wanted(
    project: Project, values: Values, exclusions: Exclusions, names: EnvironmentNames
) -> list[WantedSecret]:
    """Return where each mapped secret of a project should be, the excluded ones as such."""
    found = [_find(project, mapping, values, exclusions, names) for mapping in project.mappings]
    return _without_collisions(found)


def split_suffix(name: str) -> tuple[Environment | None, str]:
    """Return the environment that a name ends with, and the name there; None and the name where it ends with none."""
    for suffix, environment in SUFFIXES.items():
        base = name.removesuffix(suffix)
        if base not in {name, ""}:
            return environment, RENAMED.get(base, base)
    return None, name


def _find(
    project: Project, mapping: SecretMapping, values: Values, exclusions: Exclusions, names: EnvironmentNames
) -> WantedSecret:
    if mapping.is_excluded or exclusions.exclude(project.project_id, mapping.name):
        return WantedSecret(mapping, is_excluded=True)
    every = (*_in_scopes(mapping, values), *_in_environments(mapping, values, names))
    excluded = [each for each in every if exclusions.exclude(project.project_id, each.name)]
    return WantedSecret(
        mapping,
        tuple(each for each in every if each not in excluded),
        excluded_targets=tuple(each.target for each in excluded),
    )


def _in_scopes(mapping: SecretMapping, values: Values) -> Iterator[Wanted]:
    value = _own_value(mapping.name, values)
    for word in mapping.scopes:
        if word in SCOPES:
            yield replace(value, place=Place(SCOPES[word]))
        else:
            # Told under the word that nobody knows, so that it is seen where the others are.
            says = f"{word!r} is no scope of GitHub; write one of {', '.join(SCOPES)} into the mapping"
            yield Wanted(Place(Scope.ACTIONS, word), mapping.name, fault=says)


def _in_environments(mapping: SecretMapping, values: Values, names: EnvironmentNames) -> Iterator[Wanted]:
    if mapping.name.startswith(PUBLIC):
        return
    environment, base = split_suffix(mapping.name)
    if environment is not None:
        yield replace(_own_value(mapping.name, values), place=Place(Scope.ENVIRONMENT, names[environment]), name=base)
        return
    for each in Environment:
        found = _read(values, each, mapping.name)
        if not found.is_missing:
            yield replace(found, place=Place(Scope.ENVIRONMENT, names[each]))


def _own_value(name: str, values: Values) -> Wanted:
    """Return the one value of a name: the project's own, or of one with a suffix that environment's."""
    environment, base = split_suffix(name)
    found = _read(values, EVERYWHERE, name)
    if environment is None or (found.fault and not found.is_missing):
        return found
    there = replace(_read(values, environment, base), name=name)
    if found.is_missing or (there.fault and not there.is_missing):
        return there
    if there.is_missing or there.value == found.value:
        return found
    return replace(found, value=None, fault=f"it has two values: as {name}, and as {base} of {environment}")


def _read(values: Values, environment: str, name: str) -> Wanted:
    unplaced = Wanted(Place(Scope.ACTIONS), name)
    try:
        value = values.get(environment, name)
    except MaintenanceError as error:
        return replace(unplaced, fault=str(error))
    if value is None:
        return replace(unplaced, fault=NO_VALUE, is_missing=True)
    fault = find_fault(value)
    return replace(unplaced, value=None if fault else value, fault=fault or "")


def _without_collisions(found: Sequence[WantedSecret]) -> list[WantedSecret]:
    """Let nothing be written where two secrets would be written in turn, such as X_PROD and X_PRODUCTION."""
    counted = Counter((each.place, each.name) for each in _targets(found))

    def judge(each: Wanted) -> Wanted:
        if counted[each.place, each.name] == 1:
            return each
        return replace(each, value=None, fault=f"several secrets would be {each.name} there", is_missing=False)

    return [replace(secret, targets=tuple(map(judge, secret.targets))) for secret in found]


def _targets(found: Iterable[WantedSecret]) -> Iterator[Wanted]:
    for secret in found:
        yield from secret.targets
