"""What is asked of a run: by whoever launches it, by its job's settings and by its specification."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cath_dagster.core.archive.obstacles import UndoPolicy
from cath_dagster.core.model.settings import PurgeSettings, ResolvedOptions


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """One run of one job, before anything was done."""

    location: str
    job: str
    run_id: str
    options: ResolvedOptions
    now: datetime
    """When the run began, for what counts from the moment it is done and not from the reference time."""
    partition: str | None = None
    selection: frozenset[str] | None = None
    """The assets that are asked for, None for all of the job's."""
    is_scheduled: bool = False
    purging: PurgeSettings = field(default_factory=PurgeSettings)
    privileges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the job's specification says that its role needs."""
    file_store: str = "BLOB_URL"
    """The variable, without the prefix, of the store in which the files of deleted rows lie."""
    file_folders: tuple[str, ...] = ()
    """The folders of that store in which the service is known to keep files."""

    @property
    def undo(self) -> UndoPolicy:
        """For how long what the run deletes is archived, and why."""
        return UndoPolicy(self.purging.undo_days, self.purging.archive_personal_data_because)
