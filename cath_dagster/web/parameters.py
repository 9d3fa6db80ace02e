"""What a run may be told: a job's settings as a JSON Schema, checked before anything happens, as the run itself will."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cath_dagster.core.errors import ConfigurationError
from cath_dagster.core.model.settings import RunOptions, read_run_config
from cath_dagster.core.run.spec import JobSpec
from cath_dagster.web.problems import unusable

LONGEST = 1_000
"""Of what is said about a wrong value, which is quoted."""
ALLOW_LARGE = "allow_large"


def parameters_schema(spec: JobSpec) -> dict[str, Any]:
    """Return the JSON Schema of a job's own settings, as a run may be given them."""
    schema: dict[str, Any] = spec.settings.model_json_schema()
    schema["properties"] = {
        name: each for name, each in schema.get("properties", {}).items() if name not in spec.settings.load_only
    }
    schema["additionalProperties"] = False
    schema["title"] = f"{spec.key}: settings of one run"
    # The class's docstring speaks to programmers.
    schema.pop("description", None)
    return schema


def run_config(
    spec: JobSpec,
    parameters: Mapping[str, Any],
    *,
    as_of: datetime | None,
    dry_run: bool,
    max_rows: int | None,
    now: datetime,
) -> dict[str, Any]:
    """Return the flat run config of a run, its reference time pinned; raise a `Problem` with 422 for what no run would take.

    A dry run and the run after it are to have the same reference time, whatever the queue makes of them.
    """
    if ALLOW_LARGE in parameters:
        raise unusable(
            f"{ALLOW_LARGE} is not taken here: a run that deletes more than half of a table goes by an approval, "
            "POST /api/v1/approvals with the run that was refused"
        )
    own = set(spec.settings.model_fields) - spec.settings.load_only
    if unknown := sorted(set(parameters) - own):
        known = ", ".join(sorted(own)) or "none"
        raise unusable(f"{spec.key} has no parameter {', '.join(unknown)[:LONGEST]}; it knows {known}")
    options = {"as_of": as_of or now, "dry_run": dry_run, "max_rows": max_rows}
    given = {key: value for key, value in parameters.items() if value is not None}
    try:
        read = read_run_config(
            spec.settings, {**given, **options}, location=spec.location.name, job=spec.name, environ={}, now=now
        )
    except ConfigurationError as error:
        raise unusable(str(error)[:LONGEST]) from None
    plain = read.settings.model_dump(mode="json")
    config: dict[str, Any] = {key: _as_dagster_takes_it(spec, key, plain[key]) for key in given}
    config["as_of"] = read.options.as_of.isoformat()
    config |= {"dry_run": True} if dry_run else {}
    config |= {"max_rows": max_rows} if max_rows is not None else {}
    return config


def own_parameters(spec: JobSpec, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return of a recorded run config what are settings of the job, without the options that every run has."""
    return {
        key: value
        for key, value in recorded.items()
        if key in spec.settings.model_fields and key not in RunOptions.model_fields
    }


def _as_dagster_takes_it(spec: JobSpec, key: str, value: Any) -> Any:
    """Return a value in the type that the job's run config has for it: what is no flag and no whole number is text."""
    annotation = spec.settings.model_fields[key].annotation
    return value if annotation in (bool, int, int | None) else str(value)
