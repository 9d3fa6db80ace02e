"""Give a partitioned asset job the flat run config that every other job has.

Dagster builds a partitioned job's run config per partition and refuses a config mapping beside it. The two do not
contradict each other where the partition changes nothing in the config, as here. Tests run such a job from the
launchpad's, the schedule's, the backfill's and a test's side.
"""

from typing import Any, Self

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

__all__ = ["FlatPartitionedAssetJob", "UnresolvedAssetJobDefinition"]


class FlatPartitionedJob(dg.JobDefinition):
    """A partitioned job whose run config goes through a config mapping."""

    _mapping: dg.ConfigMapping

    @property
    def config_mapping(self) -> dg.ConfigMapping:
        return self._mapping

    def get_subset(self, **selection: Any) -> dg.JobDefinition:
        # Dagster hands the mapping to the subset's constructor, where the refusal is; so the subset is made without.
        return flatten(dg.JobDefinition._copy(self).get_subset(**selection), self._mapping)  # noqa: SLF001

    def as_ephemeral_job(self, *arguments: Any, **options: Any) -> dg.JobDefinition:
        # What `execute_in_process` runs; for the same reason it is made without.
        plain = dg.JobDefinition._copy(self)  # noqa: SLF001
        return flatten(plain.as_ephemeral_job(*arguments, **options), self._mapping)

    def _copy(self, **changes: Any) -> dg.JobDefinition:
        return flatten(super()._copy(**changes), self._mapping)


class FlatPartitionedAssetJob(UnresolvedAssetJobDefinition):
    """An asset job that resolves to a `FlatPartitionedJob`."""

    _mapping: dg.ConfigMapping

    @classmethod
    def of(cls, job: UnresolvedAssetJobDefinition, mapping: dg.ConfigMapping) -> Self:
        made: Self = cls.__new__(
            cls,
            name=job.name,
            selection=job.selection,
            description=job.description,
            tags=job.tags,
            executor_def=job.executor_def,
        )
        object.__setattr__(made, "_mapping", mapping)
        return made

    def resolve(self, *arguments: Any, **options: Any) -> dg.JobDefinition:
        return flatten(super().resolve(*arguments, **options), self._mapping)


def flatten(job: dg.JobDefinition, mapping: dg.ConfigMapping) -> dg.JobDefinition:
    """Return the same job, now with the mapping."""
    job.__class__ = FlatPartitionedJob
    job._mapping = mapping  # type: ignore[attr-defined]  # noqa: SLF001 - the class has just become ours
    return job
