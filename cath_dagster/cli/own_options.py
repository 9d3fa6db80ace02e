"""A job's own settings as options of the command line: `--retention-days 30` for the setting `retention_days`."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.run.spec import JobSpec

TAKES_OWN_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For a command whose options are the job's as well."""


def read_own_options(spec: JobSpec, arguments: Sequence[str]) -> dict[str, Any]:
    """Return the settings that are given as options; one that is said or not, such as `--confirm`, takes no value.

    Raises `ConfigurationError` for one that the job does not have, and for a value that is missing or too many.
    """
    return dict(_read(spec, list(arguments)))


def _read(spec: JobSpec, ahead: list[str]) -> Iterator[tuple[str, object]]:
    kinds = {name: info.annotation for name, info in spec.settings.model_fields.items()}
    while ahead:
        option, has_value, value = ahead.pop(0).partition("=")
        name = option.removeprefix("--").replace("-", "_")
        if not option.startswith("--") or name not in kinds:
            raise ConfigurationError(f"{spec.name} has no option {option}; {_advice(spec, option)}")
        if kinds[name] is bool and not has_value:
            yield name, True
        elif has_value:
            yield name, value
        elif ahead:
            yield name, ahead.pop(0)
        else:
            raise ConfigurationError(f"{option} needs a value")


def _advice(spec: JobSpec, option: str) -> str:
    own = [f"--{name.replace('_', '-')}" for name in spec.settings.model_fields if name not in spec.settings.load_only]
    close = difflib.get_close_matches(option, [*own, "--dry-run", "--as-of", "--max-rows", "--allow-large"], n=3)
    return f"did you mean {', '.join(close)}?" if close else f"of its own it has {', '.join(own) or 'none'}"
