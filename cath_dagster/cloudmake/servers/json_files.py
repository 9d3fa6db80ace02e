"""Read the service's JSON files strictly: what is missing, double, of another type or unknown is named, and never passed over."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cath_dagster.cloudmake import CLOUDMAKE
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.untrusted_json import is_text, parse_json

T = TypeVar("T")


def load_json(path: Path, variable: str) -> Any:
    """Return what a file has that a variable, without its prefix, names."""
    try:
        return parse_json(path.read_text(encoding="utf-8-sig"), pairs=_each_once)
    except OSError as error:
        raise ConfigurationError(f"{CLOUDMAKE.prefix}_{variable} names {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON: {error}") from None


def number(given: Any, where: str) -> float:
    """Return a number from 0 on."""
    is_number = isinstance(given, int | float) and not isinstance(given, bool) and given >= 0
    return _checked(given, where, "a number from 0 on", lambda: is_number, float)


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if unusable := [repr(name) for name, value in pairs if not all(map(is_text, _texts(name, value)))]:
        raise ValueError(f"{unusable[0]} has a character that is none, NUL or half of a surrogate pair")
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return found


def _texts(name: str, value: object) -> Iterable[str]:
    """Yield the strings that stand in an object by themselves or in a list; objects in it have been looked at before."""
    values = value if isinstance(value, list) else [value]
    return (each for each in (name, *values) if isinstance(each, str))


def object_of(given: Any, where: str, known: Iterable[str]) -> dict[str, Any]:
    entry = mapping(given, where)
    unknown = sorted(set(entry) - set(known))
    if unknown:
        raise ConfigurationError(
            f"{where} has {', '.join(unknown)}, which mean nothing here; known: {', '.join(sorted(known))}"
        )
    return entry


def mapping(given: Any, where: str) -> dict[str, Any]:
    return _checked(given, where, "an object", lambda: isinstance(given, dict), dict)


def string(given: Any, where: str) -> str:
    return _checked(given, where, "a string", lambda: isinstance(given, str) and bool(given), str)


def strings(given: Any, where: str) -> list[str]:
    is_list = isinstance(given, list) and all(isinstance(each, str) for each in given)
    return _checked(given, where, "a list of strings", lambda: is_list, list)


def _checked(given: Any, where: str, wanted: str, is_fine: Callable[[], bool], kind: Callable[[Any], T]) -> T:
    if not is_fine():
        raise ConfigurationError(f"{where} must be {wanted}, and is {type(given).__name__}")
    return kind(given)
