"""Run config: flat and the same for every job, checked before a run is launched."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic.fields import FieldInfo

from cath_dagster.adapters.logs import is_json
from cath_dagster.adapters.mounted import MountedEnvironment
from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.settings import RunOptions, variable
from cath_dagster.core.run.execution import read_config
from cath_dagster.core.run.spec import JobSpec

ConfigSchema = dict[str, dg.Field]
CONSOLE = "console"
"""The name of Dagster's default logger, which ours takes the place of."""


def config_schema(spec: JobSpec) -> ConfigSchema:
    """Return the fields of a job's run config, all optional, described for the launchpad."""
    options = {name: _field(info, "") for name, info in RunOptions.model_fields.items()}
    own = {
        name: _field(info, f" Default: {spec.default_of(name)}, or {variable(spec.location.name, spec.name, name)}.")
        for name, info in spec.settings.model_fields.items()
        if name not in spec.settings.load_only
    }
    return options | own


def config_mapping(spec: JobSpec, op_names: tuple[str, ...]) -> dg.ConfigMapping:
    """Return the mapping from flat run config to the config of each op, which all get the same."""

    def to_ops(config: Mapping[str, Any]) -> dict[str, Any]:
        check_config(spec, config)
        return {"ops": {name: {"config": dict(config)} for name in op_names}, **_console_config()}

    return dg.ConfigMapping(config_fn=to_ops, config_schema=config_schema(spec))


def check_config(spec: JobSpec, config: Mapping[str, Any]) -> None:
    """Refuse what a run would refuse, before there is a run.

    Raises one of Dagster's own errors: any other would be shown as an error in the mapping.
    """
    try:
        environ = MountedEnvironment()
        is_json(environ)
        read_config(spec, config, environ=environ, now=datetime.now(UTC))
    except ConfigurationError as error:
        raise dg.DagsterInvalidInvocationError(f"{spec.key} was not run: {error}") from None


def _console_config() -> dict[str, Any]:
    """Return the part of a run's config by which our own logger prints, where the environment asks for it."""
    return {"loggers": {CONSOLE: {}}} if is_json(MountedEnvironment()) else {}


def _field(info: FieldInfo, default: str) -> dg.Field:
    kind = info.annotation if info.annotation in (bool, int) else _integer_or_text(info)
    return dg.Field(kind, is_required=False, description=f"{info.description}{default}")


def _integer_or_text(info: FieldInfo) -> type[int] | type[str]:
    return int if info.annotation == int | None else str
