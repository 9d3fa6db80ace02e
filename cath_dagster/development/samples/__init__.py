"""The samples that can be made on this machine: one of every service in the registry."""

import importlib
from functools import cache
from importlib.util import find_spec

from cath_dagster.core.model.location import CodeLocation
from cath_dagster.core.run.spec import SpecificationError
from cath_dagster.development.sample import Sample
from cath_dagster.registry import locations


def samples() -> tuple[Sample, ...]:
    """Return the sample of every location; the orchestrator's own database needs none.

    Raises `SpecificationError` for a service without one.
    """
    return tuple(sample_of(location) for location in locations() if not location.is_of_the_orchestrator)


@cache
def _sample_in(module: str) -> Sample | None:
    package = module.rpartition(".")[0]
    is_there = find_spec(package) is not None and find_spec(module) is not None
    found = getattr(importlib.import_module(module), "SAMPLE", None) if is_there else None
    return found if isinstance(found, Sample) else None


def sample_of(location: CodeLocation) -> Sample:
    """Return a location's sample; raise `SpecificationError` if there is none."""
    module = f"{__package__}.{location.name}.sample"
    sample = _sample_in(module)
    if sample is None or sample.location != location:
        path = module.replace(".", "/")
        raise SpecificationError(f"{location.name} has no sample; describe it by SAMPLE = Sample(…) in {path}.py")
    return sample
